"""docs/cli.md says which keys each command's --json document has; here the commands say it themselves."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from homes import Home, open_home, wait_until
from mesh_clients.cli import own

pytestmark = pytest.mark.slow

MANUAL = Path(__file__).parents[2] / "docs" / "cli.md"
TEXT_ONLY = {"help", "mcp", "statusline", "hook"}


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Home, Home, str]]:
    """Two machines with nothing on them yet, and a broker's URL."""
    program = subprocess.Popen(
        [sys.executable, "-m", "mesh_broker", "run", "--listen", "127.0.0.1:0", "--data", tmp_path / "broker"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert program.stdout is not None
    try:
        url = program.stdout.readline().split()[-1]
        with open_home(tmp_path, "alice") as alice, open_home(tmp_path, "bob") as bob:
            yield alice, bob, url
    finally:
        program.terminate()
        program.wait(20)
        program.stdout.close()


def documented() -> dict[str, set[str]]:
    """Verb → keys, those of rows behind their list's name."""
    found: dict[str, set[str]] = {}
    for section in re.split(r"^### mesh ", MANUAL.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        verb = section.split()[0]
        if verb not in TEXT_ONLY:
            found[verb] = {*re.findall(r"^\| `([\w.\[\]]+)` \|", section.partition("\n## ")[0], re.MULTILINE)}
    return found


def keys_of(document: dict[str, object]) -> set[str]:
    found: set[str] = set()
    for key, value in document.items():
        rows = value if isinstance(value, list) else []
        if any(isinstance(row, dict) for row in rows):
            assert all(row.keys() == rows[0].keys() for row in rows), f"the rows of {key} differ in their keys"
            found |= {f"{key}[].{name}" for name in rows[0]}
        else:
            found.add(key)
    return found


def test_every_document_has_the_keys_that_its_manual_names(pair: tuple[Home, Home, str]) -> None:
    alice, bob, url = pair
    said: dict[str, dict[str, object]] = {"up": alice.json("up")}
    said["new"] = alice.json("new", "team", "--name", "alice", "--broker", url)
    said["invite"] = alice.json("invite")
    said["join"] = bob.json("join", str(said["invite"]["url"]), "--name", "bob", "--wait", "20")
    said["send"] = alice.json("send", "bob", "hello", "--wait", "stored", "--timeout", "20")
    said["inbox"] = bob.json("inbox", "--wait", "10")
    wait_until(lambda: len(alice.json("peers")["peers"]) == 2)
    for verb in ("list", "peers", "status", "unlock", "version"):
        said[verb] = alice.json(verb)
    said["message"] = alice.json("message", str(said["send"]["id"]))
    said["doctor"] = alice.json("doctor")
    said["down"] = alice.json("down")
    manual = documented()
    assert said.keys() == manual.keys()
    assert {verb: keys_of(document) for verb, document in said.items()} == manual
    assert manual.keys() | TEXT_ONLY == {name for _, names in own.ORDER for name in names}


def test_a_failure_is_a_document_too(tmp_path: Path) -> None:
    with open_home(tmp_path, "alice") as alice:
        done = alice.run("list", "--no-start", "--json")
    assert done.returncode == 69
    error = json.loads(done.stdout)["error"]
    assert error.keys() == {"code", "message", "data"}
    assert done.stderr.count("\n") == 1
