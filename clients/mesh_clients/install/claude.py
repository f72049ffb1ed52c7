"""What stands in Claude Code's files for us, put in and taken out again. Pure: values in, values out.

Facts from Claude Code 2.1.329: hooks with `args` run without a shell; an async hook does not hold up the turn; a status
line that fails or prints nothing is blank, and each refresh ends the run before it; user-wide MCP servers are the
top-level `mcpServers` of `.claude.json`.
"""

import os
import shlex
from typing import NamedTuple

from mesh_clients.install import programs
from mesh_protocol.wire.errors import MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mesh_protocol.wire.codec import JsonValue

EVENTS: "dict[str, bool]" = {
    "SessionStart": False,
    "UserPromptSubmit": False,
    "PostToolUse": True,
    "PermissionRequest": True,
    "Notification": True,
    "Stop": False,
    "StopFailure": False,
    "SubagentStart": True,
    "SubagentStop": True,
    "SessionEnd": False,
}
"""The events we use, and whether Claude Code need not wait for us."""
TIMEOUT_S = 5
"""Claude Code's patience with a hook, whose own limit is `thin.SECONDS`."""
REFRESH_S = 1
CHAINED_REFRESH_S = 5
"""Beside somebody else's command, which may be slow: what takes longer than a refresh is never shown."""
SHARE_MS = 600
"""Of each second of a refresh, what the user's command may take: the rest is for ours and for the start of both."""
MOST_MS = 3000
SERVER = "mesh"


class Paths(NamedTuple):
    """Claude Code's files of one configuration."""

    settings: str
    state: str


def find_paths(environ: "Mapping[str, str]") -> Paths:
    """Below CLAUDE_CONFIG_DIR, or in the home. Raises `MeshError`."""
    config = environ.get("CLAUDE_CONFIG_DIR", "")
    if config:
        config = os.path.abspath(config)
        return Paths(f"{config}/settings.json", f"{config}/.claude.json")
    home = environ.get("HOME", "")
    if not home.startswith("/"):
        raise MeshError("bad_request", what="HOME is not set: set it, or CLAUDE_CONFIG_DIR")
    return Paths(f"{home}/.claude/settings.json", f"{home}/.claude.json")


# settings.json: hooks and the status line.


def add_settings(settings: "Mapping[str, JsonValue]", home: str) -> "dict[str, JsonValue]":
    """`settings` (without us) with our hooks behind whatever is there, and our status line. Raises `MeshError`.

    What a person wrote to run `mesh hook` or `mesh statusline` by name gives way to it.
    """
    found = dict(settings)
    hooks = found.get("hooks", {})
    if not isinstance(hooks, dict):
        raise MeshError("bad_settings", path="settings.json", why="holds hooks that are no object")
    hooks = {event: drop_handlers(groups, programs.is_named_command) for event, groups in hooks.items()}
    for event, in_background in EVENTS.items():
        groups = hooks.get(event, [])
        if not isinstance(groups, list):
            raise MeshError("bad_settings", path="settings.json", why=f"holds hooks.{event} that is no list")
        hooks[event] = [*groups, {"hooks": [handler(home, in_background)]}]
    found["hooks"] = hooks
    found["statusLine"] = status_line(found.get("statusLine"), home)
    return found


def handler(home: str, in_background: bool) -> "dict[str, JsonValue]":
    command, *args = programs.hot_command("hook", home)
    made: dict[str, JsonValue] = {"type": "command", "command": command, "args": [*args], "timeout": TIMEOUT_S}
    return made | ({"async": True} if in_background else {})


def status_line(former: "JsonValue", home: str) -> "dict[str, JsonValue]":
    """Ours, below what the user's own command prints, whose other settings stay."""
    ours = programs.hot_command("statusline", home)
    theirs = former.get("command") if isinstance(former, dict) else None
    alone = programs.is_named_command(programs.words_of(former), "statusline")
    if alone or not isinstance(former, dict) or not isinstance(theirs, str) or not theirs.strip():
        layout = read_layout(former) if alone else ""
        command = shlex.join([*ours, *(["--layout", layout] if layout else [])])
        return {"type": "command", "command": command, "padding": 0, "refreshInterval": REFRESH_S}
    refresh = former.get("refreshInterval", CHAINED_REFRESH_S)
    within = min(MOST_MS, int(refresh * SHARE_MS)) if isinstance(refresh, int | float) and refresh >= 1 else SHARE_MS
    command = shlex.join([*ours, "--chain", theirs, "--within", str(within)])
    return {"refreshInterval": CHAINED_REFRESH_S, **former, "command": command}


def read_layout(line: "JsonValue") -> str:
    """The layout that a status line's command names; empty for none."""
    return option_of(programs.words_of(line), "--layout")


def keep_layout(settings: "Mapping[str, JsonValue]", wanted: "dict[str, JsonValue]") -> "dict[str, JsonValue]":
    """`wanted` with the layout that a person wrote into our command in `settings`."""
    there, line = settings.get("statusLine"), wanted.get("statusLine")
    layout = read_layout(there) if is_our_line(there) else ""
    if not layout or not isinstance(line, dict) or read_layout(line):
        return wanted
    words = programs.words_of(line)
    place = words.index("statusline") + 1
    command = shlex.join([*words[:place], "--layout", layout, *words[place:]])
    return {**wanted, "statusLine": {**line, "command": command}}


def option_of(words: "list[str]", name: str) -> str:
    """The value behind `name` in an argument list; empty where it has none."""
    return words[words.index(name) + 1] if name in words[:-1] else ""


def former_command(command: str) -> str:
    """The user's command inside a chained one; empty when there is none. An earlier version chained by a shell's line."""
    words = programs.split_words(command)
    return option_of(words, "-c" if words[:1] == ["in=$(cat);"] else "--chain")


def strip_settings(
    settings: "Mapping[str, JsonValue]", before: "Mapping[str, JsonValue] | None" = None
) -> "dict[str, JsonValue]":
    """`settings` without us. `before` are the settings as they were; without them, what ours was chained to comes back."""
    found = dict(settings)
    before = before or {}
    hooks = found.get("hooks")
    if isinstance(hooks, dict):
        earlier = before.get("hooks")
        kept = {event: drop_handlers(groups, programs.is_hot_command) for event, groups in hooks.items()}
        known = earlier if isinstance(earlier, dict) else {}
        left = {event: groups for event, groups in kept.items() if groups or not hooks[event] or event in known}
        found["hooks"] = left
        if hooks and not left and earlier is None:
            del found["hooks"]
    line = found.get("statusLine")
    if isinstance(line, dict) and is_our_line(line):
        theirs = former_command(str(line["command"]))
        if "statusLine" in before:
            found["statusLine"] = before["statusLine"]
        elif theirs:
            found["statusLine"] = {**line, "command": theirs}
        else:
            del found["statusLine"]
    return found


def drop_handlers(groups: "JsonValue", drop: "Callable[[list[str], str], bool]") -> "JsonValue":
    """One event's groups without the handlers that `drop` names, and without groups that held nothing else."""
    if not isinstance(groups, list):
        return groups
    kept: list[JsonValue] = []
    for group in groups:
        handlers = group.get("hooks") if isinstance(group, dict) else None
        if isinstance(group, dict) and isinstance(handlers, list):
            others = [each for each in handlers if not drop(programs.words_of(each), "hook")]
            if others or not handlers:
                kept.append({**group, "hooks": others})
        else:
            kept.append(group)
    return kept


def is_our_line(line: "JsonValue") -> bool:
    return programs.is_hot_command(programs.words_of(line), "statusline")


# .claude.json: the MCP server.


def add_server(state: "Mapping[str, JsonValue]", home: str) -> "dict[str, JsonValue]":
    """`state` (without us) with our MCP server, in place of one that a person added. Raises `MeshError` for a stranger's."""
    servers = state.get("mcpServers", {})
    if not isinstance(servers, dict):
        raise MeshError("bad_settings", path=".claude.json", why="holds mcpServers that is no object")
    if SERVER in servers and not programs.is_named_command(programs.words_of(servers[SERVER]), "mcp"):
        raise MeshError(
            "bad_request", what=f"another MCP server is called {SERVER}: claude mcp remove {SERVER} -s user, then again"
        )
    command, *args = programs.hot_command("mcp", home)
    entry: dict[str, JsonValue] = {"type": "stdio", "command": command, "args": [*args], "env": {}}
    return {**state, "mcpServers": {**servers, SERVER: entry}}


def strip_server(
    state: "Mapping[str, JsonValue]", before: "Mapping[str, JsonValue] | None" = None
) -> "dict[str, JsonValue]":
    """`state` without our MCP server; one that a person had added `before` comes back."""
    found = dict(state)
    servers = found.get("mcpServers")
    if not isinstance(servers, dict) or not programs.is_hot_command(programs.words_of(servers.get(SERVER)), "mcp"):
        return found
    earlier = (before or {}).get("mcpServers")
    known = earlier if isinstance(earlier, dict) else {}
    left = {name: known.get(name) if name == SERVER else entry for name, entry in servers.items()}
    if SERVER not in known:
        del left[SERVER]
    found["mcpServers"] = left
    if not left and earlier is None:
        del found["mcpServers"]
    return found
