"""What the clients that run all day may load: a test, because one import more is easily made and costs every session."""

import subprocess
from collections.abc import Sequence

import pytest

from client_kit.programs import HOT, MESH
from client_kit.scripted import Scripted, says
from mesh_clients.install.programs import SCRIPT, hot_command

THIN = {"_socket", "mesh_clients", "mesh_clients.thin"}
RELAY = THIN | {
    "select",
    "mesh_clients.build",
    "mesh_clients.mcp",
    "mesh_clients.mcp.exchange",
    "mesh_clients.mcp.lines",
    "mesh_clients.mcp.relay",
}


def loaded(command: Sequence[str], environ: dict[str, str], text: bytes = b"{}") -> set[str]:
    """The modules that a run imports."""
    done = subprocess.run(command, env=environ, input=text, capture_output=True, timeout=20, check=True)
    names = {line.rpartition("|")[2].strip() for line in done.stderr.decode().splitlines() if "|" in line}
    return names - {"imported package"}


def bare(python: Sequence[str], environ: dict[str, str]) -> set[str]:
    return loaded([*python, "-X", "importtime", "-c", "pass"], environ)


@pytest.mark.parametrize("verb", ["statusline", "hook"])
def test_a_thin_client_loads_builtins_and_its_socket_only(scripted: Scripted, environ: dict, verb: str) -> None:
    scripted.on_request[verb] = says(b"ok")
    scripted.start()
    python = HOT[:2]
    mine = loaded([*python, "-X", "importtime", HOT[2], verb], environ) - bare(python, environ)
    assert mine - {"_signal"} == THIN
    assert [request.method for request in scripted.requests] == [verb]


def test_a_hook_as_settings_name_it_loads_no_more(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["hook"] = says(b"ok")
    scripted.start()
    python, flags, *words = hot_command("hook", "")
    mine = loaded([python, flags, "-X", "importtime", *words], environ) - bare([python, flags], environ)
    assert mine - {"_signal"} == THIN
    assert [request.method for request in scripted.requests] == ["hook"]


@pytest.mark.parametrize("gone", ["/gone/mesh_clients/hot.py", "/dev/null/mesh_clients/hot.py"])
def test_a_hook_whose_files_are_gone_ends_with_0_and_says_nothing(environ: dict, gone: str) -> None:
    words = [gone if word.endswith(SCRIPT) else word for word in hot_command("hook", environ["MESH_HOME"])]
    done = subprocess.run(words, env=environ, input=b"{}", capture_output=True, timeout=20, check=False, cwd="/")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("verb", ["statusline", "hook"])
def test_the_mesh_script_loads_no_more_for_them(scripted: Scripted, environ: dict, verb: str) -> None:
    scripted.on_request[verb] = says(b"ok")
    scripted.start()
    python = MESH[:1]
    mine = loaded([*python, "-X", "importtime", MESH[1], verb], environ) - bare(python, environ)
    assert mine - {"_signal"} == THIN


@pytest.mark.parametrize("command", [HOT, MESH], ids=["hot.py", "mesh"])
def test_the_relay_loads_neither_json_nor_anything_large(
    scripted: Scripted, environ: dict, command: tuple[str, ...]
) -> None:
    scripted.on_line = lambda talker, message: talker.line({"jsonrpc": "2.0", "id": message["id"], "result": {}})
    scripted.start()
    *python, script = command
    asked = b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}\n'
    mine = loaded([*python, "-X", "importtime", script, "mcp"], environ, asked) - bare(python, environ)
    assert mine - {"_signal"} == RELAY
    assert [message["id"] for message in scripted.lines] == [1]
