"""Groups by `mesh` commands on two real daemons and a real broker: joined here, written to there, read as one thread."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from homes import MESH, Home, StandIn, open_broker, open_home, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Home, Home]]:
    """Two machines in one mesh at a broker of their own."""
    with open_broker(tmp_path) as url, open_home(tmp_path, "alice") as alice, open_home(tmp_path, "bob") as bob:
        alice.json("new", "team", "--name", "alice", "--broker", url)
        joined = bob.json("join", alice.json("invite")["url"], "--name", "bob", "--wait", "20")
        assert joined["state"] == "joined"
        yield alice, bob


def test_a_group_of_two_machines(two: tuple[Home, Home]) -> None:
    alice, bob = two
    with StandIn(alice, [MESH, "mcp"], "web") as web, StandIn(bob, [MESH, "mcp"], "docs") as docs:
        web.greet()
        docs.greet()
        joined = docs.call(1, "join_group", {"name": "team/docs", "role": "writer"})
        assert "team/docs (writer)" in joined["content"][0]["text"]
        assert alice.json("group", "join", "Team", "--session", "web")["groups"] == ["Team"]
        assert alice.refusal("group", "join", "no group", "--session", "web") == (2, "bad_group")

        def known(home: Home) -> bool:
            return [row["to"] for row in home.json("group", "list")["members"]] == ["alice/web", "bob/docs"]

        wait_until(lambda: known(alice) and known(bob))
        assert "team/docs  bob/docs" in alice.run("group", "list").stdout
        wait_until(
            lambda: [row["to"] for row in bob.json("peers", "--group", "@team")["peers"]] == ["alice/web", "bob/docs"]
        )

        said = alice.run("send", "@team,bob", "who has the build?", "--wait", "stored")
        assert said.returncode == 0, said.stderr
        assert "alice/@team" in said.stdout
        sent = alice.json("send", "@TEAM/docs", "and the docs?", "--wait", "stored")
        assert [row["to"] for row in sent["recipients"]] == ["bob/@TEAM/docs"]
        assert "groups as of" not in said.stdout
        waiting = docs.call(2, "check_messages", {})["content"][0]["text"]
        assert "who has the build?" in waiting
        assert "and the docs?" in waiting
        docs.call(3, "send_message", {"to": "alice", "message": "@alice: here they are", "reply_to": sent["id"]})
        (row,) = alice.json("inbox", "--wait", "20")["messages"]
        assert (row["sender"], row["mentions_you"], row["thread"]) == ("bob/docs", True, sent["id"])
        thread = alice.run("thread", row["id"][:8]).stdout
        assert thread.index("and the docs?") < thread.index("here they are")

        assert alice.json("send", "*", "to everybody", "--wait", "stored")["state"] == "stored"
        wait_until(lambda: "to everybody" in bob.texts())
        assert bob.refusal("send", "@nobody", "x") == (2, "unknown_recipient")

    # The session ended and the daemon is down: what is known of its groups is said with its time, and the mail waits.
    assert bob.json("down")["stopped"] is True
    wait_until(lambda: not any(each["online"] for each in alice.json("peers")["peers"] if not each["me"]))
    told = alice.run("send", "@team/docs", "for later", "--wait", "accepted")
    assert told.returncode == 0, told.stderr
    assert "groups as of: bob 20" in told.stdout
    bob.json("up")
    kept = bob.json("group", "list")["members"]
    assert [(each["to"], each["online"]) for each in kept if each["group"] == "team/docs"] == [("bob/docs", False)]
