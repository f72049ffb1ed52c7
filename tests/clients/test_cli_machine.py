"""The commands about meshes and this machine, against a scripted daemon or none."""

import json
import os
import pty
import subprocess
import time

import pytest

from client_kit.answers import ID, result
from client_kit.programs import MESH, mesh
from client_kit.scripted import Scripted
from mesh_clients.build import BUILD


def test_new_and_join_name_the_person_by_his_login_unless_told(scripted: Scripted, environ: dict) -> None:
    import pwd

    login = pwd.getpwuid(os.getuid()).pw_name
    made = {"id": ID, "mesh": "team", "me": "me", "broker": "local:"}
    scripted.on_request["mesh.new"] = result(made)
    scripted.on_request["mesh.join"] = result(
        {"id": ID, "mesh": "team", "me": "me", "state": "pending", "waiting_for": "ann"}
    )
    scripted.start()
    assert b"Made the mesh team; you are me in it." in mesh(environ, "new", "team").stdout
    assert scripted.requests[-1].params == {"name": "team", "me": login}
    assert json.loads(mesh(environ, "new", "team", "--name", "al", "--json").stdout) == made
    assert scripted.requests[-1].params == {"name": "team", "me": "al"}
    done = mesh(environ, "join", "mesh://x", "--wait", "1")
    assert done.returncode == 0
    assert b"Asked to join team as me; waiting for ann." in done.stdout
    assert scripted.requests[-1].params == {"url": "mesh://x", "me": login, "wait_s": 1.0}


def test_secrets_are_read_from_standard_input(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["mesh.new"] = result({"id": ID, "mesh": "team", "me": "me", "broker": "wss://b"})
    scripted.on_request["mesh.join"] = result({"id": ID, "mesh": "team", "me": "me", "state": "joined"})
    scripted.start()
    mesh(environ, "join", "-", text=b"  mesh://secret\n")
    assert scripted.requests[-1].params["url"] == "mesh://secret"
    done = mesh(environ, "new", "team", "--broker", "-", text=b"wss://b#TOKEN\n")
    assert scripted.requests[-1].params["broker"] == "wss://b#TOKEN"
    assert b"TOKEN" not in done.stdout
    empty = mesh(environ, "join", "-")
    assert (empty.returncode, b"standard input" in empty.stderr) == (2, True)


def test_on_a_terminal_the_link_is_asked_for_and_not_shown(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["mesh.join"] = result({"id": ID, "mesh": "team", "me": "me", "state": "joined"})
    scripted.start()
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(MESH[0], [*MESH, "join", "-"], environ)
    seen = b""
    deadline = time.monotonic() + 20
    try:
        while b"not shown" not in seen:
            assert time.monotonic() < deadline
            seen += os.read(terminal, 1000)
        os.write(terminal, b"mesh://secret\n")
        while b"Joined team" not in seen:
            assert time.monotonic() < deadline
            seen += os.read(terminal, 1000)
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)
    assert b"secret" not in seen
    assert scripted.requests[-1].params["url"] == "mesh://secret"


def test_an_invite_is_a_link_alone_on_the_first_line(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["mesh.invite"] = result({"id": ID, "mesh": "team", "url": "mesh://x", "expires_ms": 1})
    scripted.start()
    done = mesh(environ, "invite", "--expires", "60", "--role=admin")
    assert done.stdout.startswith(b"mesh://x\n")
    assert scripted.requests[-1].params == {"expires_s": 60, "role": "admin"}


@pytest.mark.parametrize(("verdicts", "status"), [(["ok", "warn"], 0), (["ok", "bad"], 1), ([], 0)])
def test_doctor_ends_with_1_when_something_is_bad(
    scripted: Scripted, environ: dict, verdicts: list[str], status: int
) -> None:
    checks = [{"name": "keys", "ok": verdict, "text": "said", "fix": "mesh unlock"} for verdict in verdicts]
    scripted.on_request["daemon.status"] = result({"pid": 7, "version": BUILD})
    scripted.on_request["daemon.doctor"] = result({"checks": checks})
    scripted.start()
    scripted.path.chmod(0o600)
    done = mesh(environ, "doctor")
    assert done.returncode == status
    assert done.stdout.count(b"mend: mesh unlock") == len([v for v in verdicts if v != "ok"])
    as_json = mesh(environ, "doctor", "--json")
    told = json.loads(as_json.stdout)["checks"]
    assert (as_json.returncode, told[len(told) - len(checks) :]) == (status, checks)
    assert all({*check} == {"name", "ok", "text", "fix"} for check in told)


def test_status_says_what_stops_a_mesh(scripted: Scripted, environ: dict) -> None:
    status = {
        "version": "0.1.0",
        "pid": 7,
        "home": "/h",
        "up_s": 7200,
        "state": "locked",
        "keys": "file",
        "device": "3f",
        "unread": 2,
        "sessions": 1,
        "meshes": [
            {
                "mesh": "team",
                "me": "al",
                "state": "pending",
                "link": "offline",
                "members": 1,
                "online": 0,
                "waiting_out": 3,
                "trouble": "the broker does not answer",
                "waiting_for": "bob to let you in",
            }
        ],
    }
    scripted.on_request["daemon.status"] = result(status)
    scripted.start()
    text = mesh(environ, "status").stdout.decode()
    assert "up 2 h" in text
    assert "unread    2 (mesh inbox)" in text
    assert "mesh unlock" in text
    assert "team: the broker does not answer\n" in text
    assert "team: waiting for bob to let you in\n" in text
    assert json.loads(mesh(environ, "status", "--json").stdout) == status


def test_status_does_not_call_a_locked_daemon_one_without_a_mesh(scripted: Scripted, environ: dict) -> None:
    status = {"version": "0.1.0", "pid": 7, "home": "/h", "up_s": 1, "keys": "file", "device": "", "meshes": []}
    scripted.on_request["daemon.status"] = result({**status, "state": "locked", "unread": 0, "sessions": 0})
    scripted.start()
    text = mesh(environ, "status").stdout.decode()
    assert text.endswith("The keys are locked: nothing is sent or shown until mesh unlock.\n")


def test_down_without_a_daemon_is_no_error(environ: dict, home: object) -> None:
    done = mesh(environ, "down")
    assert (done.returncode, done.stdout) == (0, b"no daemon runs\n")
    assert json.loads(mesh(environ, "down", "--json").stdout) == {"stopped": False, "pid": None}
    assert os.listdir(home) == []


def test_a_mesh_flag_where_it_means_nothing_is_refused(environ: dict) -> None:
    done = mesh(environ, "--mesh", "team", "status")
    assert (done.returncode, done.stderr) == (2, b"mesh status: status takes no --mesh\n")


def test_claude_codes_verbs_run_also_with_a_flag_before_them(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["statusline"] = lambda talker, request: talker.answer(request, {"exit": 0}, b"line")
    scripted.start()
    assert mesh(environ, "--no-start", "statusline").stdout == b"line"
    scripted.on_line = lambda talker, message: talker.line({"jsonrpc": "2.0", "id": message["id"], "result": {}})
    ping = b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n'
    assert json.loads(mesh(environ, "--no-start", "--mesh", "team", "mcp", text=ping).stdout)["id"] == 1
    assert scripted.requests[-1].params["env"]["MESH"] == "team"


def test_output_that_nobody_reads_is_no_traceback(scripted: Scripted, environ: dict) -> None:
    peers = [{"to": "bob" * 100, "status": "idle", "online": True, "summary": "x" * 500} for _ in range(40)]
    scripted.on_request["peer.list"] = result({"peers": peers}, "peers[].summary")
    scripted.start()
    command = subprocess.Popen([*MESH, "peers"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    command.stdout.close()
    with command.stderr:
        assert command.stderr.read() == b""
    assert command.wait(20) == 1
