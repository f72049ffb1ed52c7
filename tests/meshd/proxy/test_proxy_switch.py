"""What comes in quick succession: the proxy off and on again, a client that is gone before the API is reached."""

from pathlib import Path

import pytest
import trio

from meshd.services.proxy.upstreams import Door
from proxy_kit.stage import answering, open_stage, read_request, until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
HALF = b"8\r\n: half\n\n\r\n"


async def test_switched_off_and_on_at_once_it_keeps_its_address(tmp_path: Path) -> None:
    async with open_stage(tmp_path, answering(OK)) as stage:
        url = stage.service.url
        for _ in range(5):
            await stage.service.turn_off()
            await stage.service.turn_on("", 0, new_token=False)
        assert stage.service.url == url
        client = await stage.client()
        await client.send(stage.request("/v1/messages", b"{}"))
        assert await client.until(b"ok") == OK


async def test_back_to_a_port_that_it_has_just_left(tmp_path: Path) -> None:
    async with open_stage(tmp_path, answering(OK)) as stage:
        first = stage.service.settings.port
        other = trio.socket.socket()
        with other:
            await other.bind(("127.0.0.1", 0))
            second = other.getsockname()[1]
        await stage.service.turn_on("", second, new_token=False)
        await stage.service.turn_on("", first, new_token=False)
        client = await stage.client()
        await client.send(stage.request("/v1/messages", b"{}"))
        assert await client.until(b"ok") == OK


async def test_what_is_still_answered_is_what_is_under_way_and_no_idle_connection(tmp_path: Path) -> None:
    go = trio.Event()

    async def play(stream: trio.SocketStream) -> None:
        await read_request(stream, bytearray())
        await stream.send_all(STREAM + HALF)
        await go.wait()
        await stream.send_all(b"0\r\n\r\n")
        await stream.receive_some(1)

    async with open_stage(tmp_path, play) as stage:
        client, _ = await stage.client(), await stage.client()
        await client.send(stage.request("/v1/messages", b"{}"))
        await client.until(HALF)
        await until(lambda: stage.service.connections == 2, "both connections")
        assert stage.service.answering == 1
        go.set()
        await client.until(b"0\r\n\r\n")
        await until(lambda: stage.service.answering == 0, "the answer's end")


async def test_a_client_that_leaves_before_the_api_is_reached_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[bytes] = []
    reached, go = trio.Event(), trio.Event()
    connect = Door.open

    async def slowly(door: Door) -> trio.abc.Stream:
        reached.set()
        await go.wait()
        return await connect(door)

    monkeypatch.setattr(Door, "open", slowly)
    async with open_stage(tmp_path, answering(OK, heard)) as stage:
        client = await stage.client()
        await client.send(stage.request("/v1/messages", b"{}"))
        await reached.wait()
        await client.stream.aclose()
        go.set()
        (row,) = await stage.recorded(1)
        assert row["outcome"] == "client_left"
        await until(lambda: stage.service.connections == 0, "the connection's end")
    assert heard == []
