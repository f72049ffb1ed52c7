"""What passes through the proxy, byte for byte, and how its two sides see each other end."""

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from meshd.services.proxy.service import MAX_CONNECTIONS
from meshd.services.proxy.store import read_settings
from proxy_kit.stage import Hearing, answering, open_stage, read_request, until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def test_a_request_goes_on_as_it_came_but_for_target_and_host(tmp_path: Path) -> None:
    heard: list[bytes | None] = []

    async def play(stream: trio.SocketStream) -> None:
        heard.append(await read_request(stream, bytearray()))
        await stream.send_all(OK)

    async with open_stage(tmp_path, play) as stage:
        client = await stage.client()
        body = b'{"b":  1,\n "a": "\xc3\xa4"}'
        more = "X-B: 1\r\nx-a:  two  words \r\nX-B: 2\r\nAnthropic-Beta: a,b\r\nAccept-Encoding: gzip, br\r\nTE: trailers\r\n"
        await client.send(stage.request("/v1/messages?beta=true&x=%2F", body, more=more))
        assert await client.until(b"ok") == OK
    assert heard == [
        b"POST /v1/messages?beta=true&x=%2F HTTP/1.1\r\n"
        + f"Host: 127.0.0.1:{stage.upstream.port}\r\n".encode()
        + b"X-B: 1\r\nx-a: two  words \r\nX-B: 2\r\nAnthropic-Beta: a,b\r\nAccept-Encoding: gzip, br\r\nTE: trailers\r\n"
        + b"content-length: %d\r\n\r\n" % len(body)
        + body
    ]


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        b"HTTP/1.1 529 \r\nx: 1\r\nX: 2\r\ncontent-length: 3\r\nRequest-Id: req_1\r\n\r\n{}\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: br\r\nContent-Length: 4\r\n\r\n\x00\xff\r\n",
        STREAM + chunk(b"event: ping\ndata: {}\n\n") + b"3;x=y\r\nabc\r\n" + b"0\r\nTrailer: 1\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK,
    ],
)
async def test_an_answer_comes_back_as_it_is(tmp_path: Path, answer: bytes) -> None:
    async with open_stage(tmp_path, answering(answer)) as stage:
        client = await stage.client()
        for count in (1, 2):
            await client.send(stage.request("/v1/messages", b"{}"))
            assert await client.until(answer * count) == answer * count
        assert stage.service.recorder.counts.requests == 2
        await stage.recorded(2)


async def test_a_body_in_chunks_arrives_whole_with_its_trailers(tmp_path: Path) -> None:
    heard: list[bytes] = []

    async def play(stream: trio.SocketStream) -> None:
        heard.append(await Hearing(stream).until(b"mine\r\n\r\n"))
        await stream.send_all(OK)

    async with open_stage(tmp_path, play) as stage:
        client = await stage.client()
        head = f"POST {stage.path}/v1/x HTTP/1.1\r\nHost: {stage.host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        await client.send(head + chunk(b"first") + b"6")
        await client.send(b"\r\nsecond\r\n0\r\nX-Check: 1\r\nAuthorization: mine\r\n\r\n")
        assert await client.until(b"ok") == OK
    trailers = b"0\r\nX-Check: 1\r\nAuthorization: mine\r\n\r\n"
    assert heard[0].partition(b"\r\n\r\n")[2] == chunk(b"first") + chunk(b"second") + trailers


async def test_each_frame_comes_through_before_the_next_is_sent(tmp_path: Path) -> None:
    """The upstream sends a frame only when the client has the one before it: what is kept back would stop both."""
    seen = trio.Semaphore(0)
    frames = [chunk(b'event: content_block_delta\ndata: {"n":%d}\n\n' % number) for number in range(20)]

    async def play(stream: trio.SocketStream) -> None:
        await read_request(stream, bytearray())
        await stream.send_all(STREAM)
        for frame in frames:
            await seen.acquire()
            await stream.send_all(frame)
        await stream.send_all(b"0\r\n\r\n")

    async with open_stage(tmp_path, play) as stage:
        client = await stage.client()
        await client.send(stage.request("/v1/messages", b"{}"))
        await client.until(STREAM)
        for frame in frames[:-1]:
            seen.release()
            await client.until(frame)
        seen.release()
        assert await client.until(b"0\r\n\r\n") == STREAM + b"".join(frames) + b"0\r\n\r\n"


async def test_an_answer_may_begin_before_the_request_is_whole(tmp_path: Path) -> None:
    async def play(stream: trio.SocketStream) -> None:
        hearing = Hearing(stream)
        await hearing.until(b"\r\n\r\nhalf")
        await stream.send_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async with open_stage(tmp_path, play) as stage:
        client = await stage.client()
        await client.send(stage.request("/v1/messages", b"half" + b"x" * 100)[:-100])
        assert (await client.rest()).startswith(b"HTTP/1.1 413 ")


async def test_a_client_that_leaves_ends_its_upstream_request(tmp_path: Path) -> None:
    left = trio.Event()

    async def play(stream: trio.SocketStream) -> None:
        await read_request(stream, bytearray())
        await stream.send_all(STREAM + chunk(b": hello\n\n"))
        with trio.fail_after(60):
            assert await stream.receive_some(1) == b""
        left.set()

    async with open_stage(tmp_path, play) as stage:
        client = await stage.client()
        await client.send(stage.request("/v1/messages", b"{}"))
        await client.until(b"hello\n\n\r\n")
        await client.stream.aclose()
        with trio.fail_after(60):
            await left.wait()
        (row,) = await stage.recorded(1)
        assert (row["outcome"], row["partial"]) == ("client_left", 1)


@pytest.mark.parametrize("reset", [False, True])
async def test_an_answer_that_breaks_off_breaks_off(tmp_path: Path, reset: bool) -> None:
    async def play(stream: trio.SocketStream) -> None:
        await read_request(stream, bytearray())
        await stream.send_all(STREAM + chunk(b": half\n\n"))
        await received.wait()
        if reset:
            import socket
            import struct

            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    received = trio.Event()
    async with open_stage(tmp_path, play) as stage:
        client = await stage.client()
        await client.send(stage.request("/v1/messages", b"{}"))
        await client.until(b"half\n\n\r\n")
        received.set()
        if reset:
            with pytest.raises(trio.BrokenResourceError):
                await client.rest()
        else:
            assert (await client.rest()).endswith(b"half\n\n\r\n")
        (row,) = await stage.recorded(1)
        assert row["outcome"] == ("upstream_reset" if reset else "upstream_closed")


async def test_garbage_reaches_the_client_as_it_is(tmp_path: Path) -> None:
    garbage = b"\x00\x01 no HTTP at all\r\n\xff"

    async def play(stream: trio.SocketStream) -> None:
        await read_request(stream, bytearray())
        await stream.send_all(garbage)

    async with open_stage(tmp_path, play) as stage:
        client = await stage.client()
        await client.send(stage.request("/v1/messages", b"{}"))
        assert await client.rest() == garbage
        (row,) = await stage.recorded(1)
        assert row["outcome"] == "garbage"


async def test_an_answer_that_ends_with_its_connection_is_whole(tmp_path: Path) -> None:
    async def play(stream: trio.SocketStream) -> None:
        await read_request(stream, bytearray())
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{}")

    async with open_stage(tmp_path, play) as stage:
        client = await stage.client()
        await client.send(stage.request("/v1/messages", b"{}"))
        assert (await client.rest()).endswith(b"\r\n\r\n{}")
        (row,) = await stage.recorded(1)
        assert row["outcome"] == "complete"


async def test_a_head_that_is_asked_for_alone_is_answered_without_waiting_for_a_body(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 50\r\n\r\n"

    async def play(stream: trio.SocketStream) -> None:
        buffer = bytearray()
        await read_request(stream, buffer)
        await stream.send_all(answer)
        await read_request(stream, buffer)
        await stream.send_all(OK)

    async with open_stage(tmp_path, play) as stage:
        client = await stage.client()
        await client.send(stage.request("/api/hello", method="HEAD"))
        assert await client.until(answer) == answer
        await client.send(stage.request("/v1/messages", b"{}"))
        assert await client.until(b"ok") == answer + OK
        rows = await stage.recorded(2)
        assert [(row["status"], row["outcome"]) for row in rows] == [(404, "complete"), (200, "complete")]


async def test_a_slow_client_holds_up_nobody_but_itself(tmp_path: Path) -> None:
    piece = chunk(b": " + b"x" * 60_000 + b"\n")
    sent: list[int] = []

    async def play(stream: trio.SocketStream) -> None:
        request = await read_request(stream, bytearray())
        assert request is not None
        if b"/slow" not in request:
            await stream.send_all(OK)
            return
        await stream.send_all(STREAM)
        for _ in range(2_000):  # far more than any socket's buffer
            await stream.send_all(piece)
            sent.append(1)

    async with open_stage(tmp_path, play) as stage:
        slow = await stage.client()
        await slow.send(stage.request("/slow", b"{}"))
        await until(lambda: len(sent) > 3, "the stream")
        for _ in range(5):
            quick = await stage.client()
            await quick.send(stage.request("/quick", b"{}"))
            assert await quick.until(b"ok") == OK
        before = -1
        while len(sent) != before:  # as far as the buffers go
            before = len(sent)
            await trio.sleep(0.3)
        assert before < 1_500, "the upstream was read faster than its client reads"


async def test_an_upstream_that_cannot_be_reached_is_said(tmp_path: Path) -> None:
    async with open_stage(tmp_path, answering(OK)) as stage:
        await stage.service.turn_on("http://127.0.0.1:1", 0, new_token=False)
        client = await stage.client()
        await client.send(stage.request("/v1/messages", b"{}"))
        said = await client.rest()
        assert said.startswith(b"HTTP/1.1 502 ")
        assert b'"api_error"' in said
        (row,) = await stage.recorded(1)
        assert (row["outcome"], row["status"]) == ("unreachable", 0)


async def test_switched_off_it_answers_what_is_under_way_and_nothing_else(tmp_path: Path) -> None:
    go = trio.Event()

    async def play(stream: trio.SocketStream) -> None:
        await read_request(stream, bytearray())
        await stream.send_all(STREAM + chunk(b": half\n\n"))
        await go.wait()
        await stream.send_all(chunk(b": whole\n\n") + b"0\r\n\r\n")
        await stream.receive_some(1)

    async with open_stage(tmp_path, play) as stage:
        client, idle = await stage.client(), await stage.client()
        await client.send(stage.request("/v1/messages", b"{}"))
        await client.until(b"half\n\n\r\n")
        await until(lambda: stage.service.connections == 2, "both connections")
        await stage.service.turn_off()
        assert await idle.rest() == b""
        with pytest.raises(OSError, match="connect"):
            await stage.client()
        go.set()
        assert (await client.rest()).endswith(b"whole\n\n\r\n0\r\n\r\n")


async def test_two_changes_at_once_are_both_kept(tmp_path: Path) -> None:
    async with open_stage(tmp_path, answering(OK)) as stage:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.service.turn_off)
            nursery.start_soon(stage.service.keep, "", 3, 0, 0)
        assert (stage.service.settings.on, stage.service.settings.keep_days) == (False, 3)
        assert read_settings(stage.service.db.reader) == stage.service.settings


async def test_a_request_lives_however_long_its_answer_takes(tmp_path: Path, mock_clock: MockClock) -> None:
    """An hour before its first byte, and an hour in the middle of its stream."""
    mock_clock.rate = 1.0
    go, heard = trio.Semaphore(0), trio.Event()
    last = chunk(b"data: the end\n\n") + b"0\r\n\r\n"

    async def play(stream: trio.SocketStream) -> None:
        await read_request(stream, bytearray())
        heard.set()
        for part in (STREAM, last):
            await go.acquire()
            await stream.send_all(part)

    async with open_stage(tmp_path, play) as stage:
        client = await stage.client()
        await client.send(stage.request("/v1/messages", b"{}"))
        await heard.wait()
        for part, whole in ((STREAM, STREAM), (last, STREAM + last)):
            mock_clock.jump(3600)
            await wait_all_tasks_blocked()
            go.release()
            assert await client.until(part) == whole
        (row,) = await stage.recorded(1)
        assert row["outcome"] == "complete"


async def test_a_request_that_is_held_does_not_hold_the_one_before_it(tmp_path: Path) -> None:
    heard: list[bytes] = []
    async with open_stage(tmp_path, answering(OK, heard)) as stage:
        await stage.service.budgets.add("day", "", "usd", 0)
        client = await stage.client()
        await client.send(stage.request("/v1/models", method="GET") + stage.request("/v1/messages", b"{}"))
        assert await client.until(OK) == OK
        await until(lambda: bool(stage.service.budgets.held), "the second one is held")
        assert len(heard) == 1


async def test_pipelined_requests_are_answered_in_their_order(tmp_path: Path) -> None:
    async with open_stage(tmp_path, answering(OK)) as stage:
        client = await stage.client()
        await client.send(stage.request("/v1/a", b"{}") + stage.request("/v1/b", b"{}"))
        assert await client.until(OK + OK) == OK + OK
        assert MAX_CONNECTIONS > 200
