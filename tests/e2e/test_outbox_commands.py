"""`mesh outbox`, `cancel`, `requeue`, `mode` and `sessions` on real daemons, with a broker that goes and comes back."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from homes import MESH, Home, StandIn, open_home, wait_until

pytestmark = pytest.mark.slow


class Broker:
    """A broker process that can be stopped and started again at the same address."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._listen = "127.0.0.1:0"
        self._program: subprocess.Popen[str] | None = None
        self.url = self.start()

    def start(self) -> str:
        self._program = subprocess.Popen(
            [sys.executable, "-m", "mesh_broker", "run", "--listen", self._listen, "--data", self._data],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._program.stdout is not None
        line = self._program.stdout.readline()
        assert line.startswith("mesh-broker ready on ")
        url = line.split()[-1]
        self._listen = url.partition("//")[2].rstrip("/")
        return url.replace("http", "ws")

    def stop(self) -> None:
        if self._program is not None and self._program.stdout is not None:
            self._program.terminate()
            self._program.wait(20)
            self._program.stdout.close()
        self._program = None


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    program = Broker(tmp_path / "broker")
    yield program
    program.stop()


def test_what_waits_is_seen_taken_back_and_sent_once_more(tmp_path: Path, broker: Broker) -> None:
    with open_home(tmp_path, "alice") as alice, open_home(tmp_path, "bob") as bob:
        alice.json("new", "team", "--name", "alice", "--broker", broker.url)
        bob.json("join", alice.json("invite")["url"], "--name", "bob", "--wait", "20")
        assert alice.run("outbox").stdout == "nothing waits\n"
        alice.json("send", "bob", "before", "--wait", "stored")
        broker.stop()
        wait_until(lambda: alice.json("list")["meshes"][0]["link"] != "online")
        sent = alice.json("send", "bob", "a mistake, or not")
        (row,) = alice.json("outbox")["waiting"]
        assert (row["id"], row["to"], row["state"], row["code"]) == (sent["id"], "bob", "queued", "offline")
        human = alice.run("outbox").stdout
        assert human.startswith(f"{sent['id'][:8]} to bob on device ")
        assert "the broker cannot be reached" in human
        assert "| a mistake, or not" in human
        taken = alice.run("outbox", "cancel", sent["id"][:8])
        assert (taken.returncode, "cancelled" in taken.stdout) == (0, True)
        assert alice.run("outbox", "cancel", sent["id"][:8]).returncode == 1, "there is nothing left to take back"
        assert [row["id"] for row in alice.json("outbox", "--failed")["waiting"]] == [sent["id"]]
        again = alice.json("outbox", "requeue", sent["id"][:8])
        assert (again["instead_of"], again["recipients"]) == (sent["id"], ["bob"])
        assert alice.refusal("outbox", "requeue", "ffffffff") == (1, "not_found")
        assert broker.start() == broker.url
        wait_until(lambda: bob.texts() == ["before", "a mistake, or not"])
        wait_until(lambda: alice.json("outbox")["waiting"] == [])
        assert alice.json("message", sent["id"])["state"] == "cancelled"


def test_two_words_are_found_and_explained(tmp_path: Path) -> None:
    with open_home(tmp_path, "alice") as alice:
        helped = [alice.run("help", "outbox", "cancel").stdout, alice.run("outbox", "cancel", "--help").stdout]
        assert helped[0] == helped[1]
        assert helped[0].startswith("usage: mesh outbox cancel ID\n")
        assert "mesh outbox requeue" in alice.run("help", "outbox").stdout
        missing = alice.run("outbox", "cancel")
        assert (missing.returncode, "ID is missing" in missing.stderr) == (2, True)


def test_a_session_of_this_machine_is_listed_and_its_mode_is_set(tmp_path: Path) -> None:
    with open_home(tmp_path, "alice") as alice:
        alice.json("new", "team", "--name", "alice")
        assert alice.run("sessions").stdout == "no sessions\n"
        assert alice.refusal("mode", "off") == (1, "no_session")
        hello = '{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}'
        script = f"echo '{hello}' | {MESH} mcp; {MESH} mode inbox --json; {MESH} sessions --json; read line"
        with StandIn(alice, ["/bin/sh", "-c", script]) as session:
            _, mine, listed = (session.hear() for _ in range(3))
            assert mine["mode"] == "inbox"
            assert [row["session"] for row in listed["sessions"]] == [mine["session"]]
            done = alice.run("mode", "off", "--session", mine["session"])
            assert (done.returncode, "off" in done.stdout) == (0, True)
            (row,) = alice.json("sessions")["sessions"]
            assert row["mode"] == "off"
            check = next(c for c in alice_checks(alice) if c["name"] == f"session {mine['session']}")
            assert check["fix"] == f"mesh mode push --session {mine['session']}"


def alice_checks(home: Home) -> list[dict[str, str]]:
    checks: list[dict[str, str]] = json.loads(home.run("doctor", "--json").stdout)["checks"]
    return checks
