"""The plugin folder says the same as an install does."""

import json
import re
from pathlib import Path

from mesh_clients.build import BUILD
from mesh_clients.install import claude
from mesh_protocol.registry import load_operations

PLUGIN = Path(__file__).parents[2] / "plugin"
SKILL = PLUGIN / "skills/peer/SKILL.md"
CHARS_PER_TOKEN = 3.5
"""Of English prose about 4; taken low, so that the estimate is high."""


def read(name: str) -> dict:
    found = json.loads((PLUGIN / name).read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def test_its_version_is_the_programs() -> None:
    assert read(".claude-plugin/plugin.json")["version"] == BUILD


def test_it_takes_the_events_that_an_install_takes() -> None:
    hooks = read("hooks/hooks.json")["hooks"]
    installed = claude.add_settings({}, "")["hooks"]
    assert isinstance(installed, dict)
    assert hooks.keys() == installed.keys()
    for event, groups in hooks.items():
        expected = {**installed[event][0]["hooks"][0], "command": "mesh", "args": ["hook"]}
        assert groups == [{"hooks": [expected]}], event


def test_it_brings_the_same_server() -> None:
    assert read(".mcp.json") == {"mcpServers": {claude.SERVER: {"command": "mesh", "args": ["mcp"]}}}


def test_an_install_knows_when_the_plugin_is_there_too() -> None:
    (offered,) = read(".claude-plugin/marketplace.json")["plugins"]
    assert offered["name"] == read(".claude-plugin/plugin.json")["name"] == "mesh"
    assert (PLUGIN / offered["source"] / ".claude-plugin/plugin.json").exists()


def test_the_skill_is_short() -> None:
    assert len(SKILL.read_text(encoding="utf-8")) / CHARS_PER_TOKEN < 1500


def test_every_tool_that_the_skill_names_exists() -> None:
    tools = {operation.tool.name for operation in load_operations().values() if operation.tool}
    named = {*re.findall(r"`([a-z]+_[a-z]+)`", SKILL.read_text(encoding="utf-8"))}
    named -= {"reply_to", "turn_started", "no_such_session", "no_such"}
    assert named <= tools
    assert len(named) > 5
