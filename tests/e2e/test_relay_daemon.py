"""`mesh mcp` between a session and the real daemon: restarts that nobody notices, and nothing sent twice."""

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from homes import MESH, Home, StandIn, open_home, wait_until
from mcp import Client, StdioServerParameters

pytestmark = pytest.mark.slow

SEED = random.SystemRandom().randrange(2**32)
KILLS = 8


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A machine in a mesh of its own."""
    with open_home(tmp_path, "alice") as home:
        home.json("new", "team", "--name", "alice")
        yield home


async def test_the_mcp_sdks_client_speaks_with_the_daemon_through_the_relay(home: Home) -> None:
    folder = home.folder / "pulling"
    folder.mkdir()
    server = StdioServerParameters(command=str(MESH), args=["mcp"], env=home.environ, cwd=folder)
    with trio.fail_after(60):
        async with Client(server) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            peers = await client.call_tool("list_peers", {})
            await trio.to_thread.run_sync(home.json, "send", "alice/pulling", "for the agent")
            pulled = await client.call_tool("check_messages", {})
            again = await client.call_tool("check_messages", {})
    assert {"send_message", "list_peers", "message_status", "check_messages"} <= names
    assert '"to":"alice"' in peers.content[0].text
    assert "for the agent" in pulled.content[0].text
    assert "for the agent" not in again.content[0].text


async def test_the_sdks_client_outlives_a_restart_of_the_daemon(home: Home) -> None:
    server = StdioServerParameters(command=str(MESH), args=["mcp"], env=home.environ)
    with trio.fail_after(60):
        async with Client(server) as client:
            await client.call_tool("list_peers", {})
            await trio.to_thread.run_sync(home.kill)
            # Nobody starts one but the relay, when it is asked.
            peers = await client.call_tool("list_peers", {})
    assert '"to":"alice"' in peers.content[0].text


def test_a_session_sends_reads_and_is_seen(home: Home) -> None:
    with StandIn(home, [MESH, "mcp"]) as session:
        session.greet()
        wait_until(lambda: "alice/web" in [peer["to"] for peer in home.json("peers")["peers"]])
        told = session.call(1, "send_message", {"to": "alice", "message": "from the session"})
        assert not told["isError"], told
        assert home.texts() == ["from the session"]
        home.json("send", "alice/web", "to the session")
        text = session.call(2, "check_messages", {})["content"][0]["text"]
        assert "\nto the session\n---" in text
        assert "from alice (human)" in text
        assert "No messages" in session.call(3, "check_messages", {})["content"][0]["text"]


@pytest.mark.parametrize("ids", ["tool use ids", "json-rpc ids only"])
def test_kills_of_the_daemon_in_the_middle_of_calls_lose_nothing_and_send_nothing_twice(home: Home, ids: str) -> None:
    chance = random.Random(SEED)
    over = threading.Event()

    def rage() -> None:
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.0, 0.25))
            try:
                home.kill()
            except AssertionError:
                continue  # it was just starting
        over.set()

    sent: list[str] = []
    with StandIn(home, [MESH, "mcp"]) as session:
        session.greet()
        # The same ids through the whole session: the relay's process is what gives them their meaning.
        killer = threading.Thread(target=rage)
        killer.start()
        try:
            number = 0
            while not over.is_set():
                number += 1
                meta = {"claudecode/toolUseId": f"toolu_{number}"} if ids == "tool use ids" else {}
                told = session.call(number, "send_message", {"to": "alice", "message": f"n{number}"}, **meta)
                if told["isError"]:
                    # A daemon killed while it starts is not started again at once; then this must be true.
                    assert told["content"][0]["text"].startswith("Nothing was done"), (SEED, told)
                else:
                    sent.append(f"n{number}")
        finally:
            killer.join()
    assert len(sent) > 3
    came: list[str] = []

    def all_came() -> bool:
        came.extend(home.unread_texts())
        return came[-1:] == sent[-1:]

    try:
        # What the last kill left in the outbox is still on its way.
        wait_until(all_came)
    finally:
        assert came == sent, SEED
