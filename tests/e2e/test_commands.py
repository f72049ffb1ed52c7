"""The `mesh` commands on real daemons and a real broker: two people meet, write, and see how far it got."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from homes import MESH, Home, StandIn, is_gone, open_broker, open_home, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    """The URL of a broker of its own."""
    with open_broker(tmp_path) as url:
        yield url


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Home]:
    """One machine in a mesh of its own."""
    with open_home(tmp_path, "alice", measured=True) as home:
        home.json("new", "team", "--name", "alice")
        yield home


@pytest.fixture
def two(tmp_path: Path, broker: str) -> Iterator[tuple[Home, Home]]:
    """Two machines in one mesh at a broker, joined by a link that was read from standard input."""
    with open_home(tmp_path, "alice", measured=True) as alice, open_home(tmp_path, "bob", measured=True) as bob:
        made = alice.run("new", "team", "--name", "alice", "--broker", "-", "--json", text=f"{broker}\n")
        assert json.loads(made.stdout)["broker"].startswith("ws://")
        link = alice.json("invite")["url"]
        joined = bob.run("join", "-", "--name", "bob", "--wait", "20", "--json", text=f"{link}\n")
        assert json.loads(joined.stdout)["state"] == "joined", joined
        wait_until(lambda: len(bob.json("peers")["peers"]) == 2 and len(alice.json("peers")["peers"]) == 2)
        yield alice, bob


def test_two_people_write_to_each_other_and_see_how_far_it_got(two: tuple[Home, Home]) -> None:
    alice, bob = two
    sent = alice.json("send", "bob", "are you there?", "--wait", "stored", "--timeout", "20")
    assert sent["state"] == "stored"
    (row,) = bob.json("inbox", "--wait", "10")["messages"]
    assert (row["sender"], row["message"], row["unread"]) == ("alice", "are you there?", True)
    wait_until(lambda: alice.json("message", sent["id"][:8])["state"] == "shown")
    assert bob.json("inbox")["messages"] == []
    (reached,) = alice.json("message", sent["id"])["recipients"]
    assert 0 < reached["accepted_ms"] <= reached["stored_ms"] <= reached["shown_ms"]
    human = alice.run("message", sent["id"]).stdout
    assert "accepted" in human
    assert "(known by: " in human
    steps = bob.run("send", "alice", "yes", "--wait", "stored").stdout.splitlines()
    assert steps[-1].strip().startswith("stored")


def test_a_message_to_a_machine_that_is_down_waits_and_says_so(two: tuple[Home, Home]) -> None:
    alice, bob = two
    assert bob.json("down")["stopped"] is True
    assert alice.refusal("send", "bob", "later", "--wait", "stored", "--timeout", "1") == (75, "timeout")
    human = alice.run("send", "bob", "later too", "--wait", "stored", "--timeout", "1")
    assert human.returncode == 75
    assert "it goes on in the background" in human.stderr
    assert "accepted: the broker has it" in human.stdout
    assert bob.json("up")["started"] is True
    wait_until(lambda: bob.texts() == ["later", "later too"])


def test_one_key_sends_one_message(two: tuple[Home, Home]) -> None:
    alice, bob = two
    ids = {alice.json("send", "bob", "once", "--idempotency-key", "k")["id"] for _ in range(3)}
    assert len(ids) == 1
    assert alice.refusal("send", "bob", "other", "--idempotency-key", "k") == (65, "idempotency_conflict")
    wait_until(lambda: bob.texts() == ["once"])


def test_refusals_have_their_codes_and_statuses(alone: Home, tmp_path: Path) -> None:
    assert alone.refusal("send", "bbo", "hi") == (2, "unknown_recipient")
    assert alone.refusal("message", "ffffffff") == (1, "not_found")
    assert alone.refusal("peers", "--mesh", "nope") == (2, "unknown_mesh")
    assert alone.refusal("join", "https://example.org/") == (65, "bad_invite")
    assert alone.refusal("invite") == (78, "mesh_local_only")
    assert alone.refusal("new", "x", "--name", "not a name!") == (2, "bad_name")
    with open_home(tmp_path, "fresh", measured=True) as fresh:
        assert fresh.refusal("send", "bob", "hi") == (78, "no_mesh")


def test_up_and_down_are_what_they_say(tmp_path: Path) -> None:
    with open_home(tmp_path, "alice", measured=True) as home:
        first = home.json("up")
        assert first["started"] is True
        again = home.json("up")
        assert (again["started"], again["pid"]) == (False, first["pid"])
        assert home.json("down") == {"stopped": True, "pid": first["pid"]}
        assert is_gone(first["pid"])
        assert home.json("down") == {"stopped": False, "pid": None}
        # Its lock is free: the next one starts at once.
        assert home.json("up")["pid"] != first["pid"]


def test_text_from_a_peer_cannot_play_with_the_terminal(alone: Home) -> None:
    alone.run("send", "alice", "-", text="red \x1b[31m alert\r\n\u202eevil\x07\n")
    out = alone.run("inbox").stdout
    assert "    red [31m alert\n    evil\n" in out
    assert "\x1b" not in out
    assert "\u202e" not in out


def test_follow_prints_each_message_as_it_comes(alone: Home) -> None:
    follower = subprocess.Popen(
        [MESH, "inbox", "--follow", "--json"], env=alone.environ, stdout=subprocess.PIPE, text=True
    )
    assert follower.stdout is not None
    with follower.stdout:
        for number in range(3):
            alone.json("send", "alice", f"number {number}")
            assert json.loads(follower.stdout.readline())["message"] == f"number {number}"
        follower.send_signal(signal.SIGINT)
        assert follower.wait(20) == 130
    wait_until(lambda: alone.json("inbox")["messages"] == [])


def test_an_unread_message_outlives_the_daemons_sudden_death(alone: Home) -> None:
    alone.json("send", "alice", "first")
    alone.kill()
    assert alone.texts() == ["first"]


def test_the_status_line_and_hooks_answer_from_the_real_daemon(alone: Home) -> None:
    line = alone.run("statusline", text='{"session_id":"x","cwd":"/"}')
    assert (line.returncode, line.stderr) == (0, "")
    assert "team" in line.stdout or "mesh" in line.stdout
    assert "no daemon" not in line.stdout
    hook = alone.run("hook", text='{"hook_event_name":"Stop"}')
    assert (hook.returncode, hook.stdout, hook.stderr) == (0, "", "")


def test_an_agent_may_send_but_not_invite(alone: Home) -> None:
    hello = '{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}'
    script = (
        f"echo '{hello}' | {MESH} mcp; {MESH} send alice 'from the agent' --json; {MESH} invite --json; "
        f"{MESH} new other --json"
    )
    with StandIn(alone, ["/bin/sh", "-c", script]) as session:
        greeted, sent, invited, made = (session.hear() for _ in range(4))
    assert greeted["result"]["serverInfo"]["name"] == "meshd"
    assert sent["state"] == "stored"
    assert {invited["error"]["code"], made["error"]["code"]} <= {"guarded", "not_allowed"}
    assert alone.texts() == ["from the agent"]


def test_an_old_daemons_end_is_waited_for_even_when_it_is_busy(alone: Home) -> None:
    waiter = subprocess.Popen([MESH, "inbox", "--wait", "60"], env=alone.environ, stdout=subprocess.DEVNULL)
    wait_until(lambda: alone.json("status")["pid"] > 0)
    pid = alone.pid
    assert alone.json("down")["pid"] == pid
    assert is_gone(pid)
    assert waiter.wait(20) in (69, 75)
    assert os.listdir(alone.data)
