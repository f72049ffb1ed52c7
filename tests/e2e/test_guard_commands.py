"""The guard with real processes: a script with and without a token, a kill, and an agent that has both."""

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from homes import MESH, SECONDS, Home, StandIn, open_home

pytestmark = pytest.mark.slow

SECRET = "a long passphrase"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with open_home(tmp_path, "ann") as home:
        yield home


def script(home: Home, *arguments: str, token: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Run without a controlling terminal."""
    more = {"MESH_TOKEN_FILE": str(token)} if token is not None else {}
    return subprocess.run(
        [MESH, *arguments],
        env={**home.environ, **more},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        start_new_session=True,
    )


def test_a_guarded_command_needs_the_token_until_the_guard_is_off(home: Home, tmp_path: Path) -> None:
    home.json("new", "team", "--name", "ann")
    assert home.run("guard", "on", text=f"{SECRET}\n").returncode == 0
    refused = script(home, "grants")
    assert (refused.returncode, "mesh guard is on" in refused.stderr) == (77, True)
    assert script(home, "status").returncode == 0
    made = opened(home, SECRET)
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text(made)
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert script(home, "grants", token=token).returncode == 0
    assert script(home, "guard", "off", token=token).returncode == 77
    home.kill()
    assert script(home, "grants").returncode == 77
    assert script(home, "grants", token=token).returncode == 0
    hello = '{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}'
    commands = f"echo '{hello}' | {MESH} mcp; MESH_TOKEN_FILE={token} {MESH} grants --json"
    with StandIn(home, ["/bin/sh", "-c", commands]) as session:
        greeted, answer = session.hear(), session.hear()
    assert greeted["result"]["serverInfo"]["name"] == "meshd"
    assert answer["error"]["code"] == "guarded", "an agent is refused with the token too"
    for data in (path.read_bytes() for path in home.data.rglob("*") if path.is_file()):
        assert SECRET.encode() not in data
        assert made.encode() not in data


def opened(home: Home, passphrase: str) -> str:
    """A token, made by a client that proves the passphrase itself, as the command does at a terminal."""
    from mesh_clients.discover import connect

    client = connect({**os.environ, **home.environ}, may_start=False)
    try:
        client.call("guard.open", {"passphrase": passphrase}, timeout=SECONDS)
        made, _ = client.call("token.create", {"name": "nightly"}, timeout=SECONDS)
    finally:
        client.close()
    assert isinstance(made, dict)
    return str(made["token"])
