"""What is recorded of what passes, and that recording never stands in its way."""

import gzip
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing

from mesh_protocol.io.sqlite import ThreadWorker
from meshd.services.proxy import recorder
from meshd.services.proxy.reports import list_limits
from proxy_kit.stage import SEAMS, Stage, open_service, open_stage, read_request, until
from proxy_kit.streams import message

HEADERS = "x-api-key: sk-ant-secret\r\nX-Claude-Code-Session-Id: session-1\r\nUser-Agent: claude-cli/2.1.329\r\n"
USAGE = {"input_tokens": 1_000, "output_tokens": 1}
ASKED = json.dumps({"model": "claude-opus-5-5", "messages": [{"role": "user", "content": "hi"}]}).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def streamed(*, coding: str = "", more: str = "", body: bytes = b"") -> bytes:
    """A whole answer as the API sends it: 1000 tokens in, 100 out."""
    body = body or message(USAGE, [{"output_tokens": 100}], texts=["hello", "world"])
    if coding:
        body = gzip.compress(body, mtime=0)
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nrequest-id: req_9\r\n"
    head += f"Content-Encoding: {coding}\r\n" if coding else ""
    pieces = b"".join(chunk(body[start : start + 100]) for start in range(0, len(body), 100))
    return (head + more + "\r\n").encode() + pieces + b"0\r\n\r\n"


def playing(answer: bytes):
    async def play(stream: trio.SocketStream) -> None:
        buffer = bytearray()
        while await read_request(stream, buffer) is not None:
            await stream.send_all(answer)

    return play


async def ask(stage: Stage, body: bytes = ASKED, *, more: str = HEADERS, end: bytes = b"0\r\n\r\n") -> bytes:
    client = await stage.client()
    await client.send(stage.request("/v1/messages?beta=true", body, more=more))
    return await client.until(end)


@pytest.mark.parametrize("coding", ["", "gzip"])
async def test_a_request_is_recorded_with_all_that_is_known_of_it(tmp_path: Path, coding: str) -> None:
    async with open_stage(tmp_path, playing(streamed(coding=coding))) as stage:
        assert await ask(stage) == streamed(coding=coding)
        (row,) = await stage.recorded(1)
    assert (row["input"], row["output"], row["model"], row["kind"]) == (1_000, 100, "claude-opus-5-5", "turn")
    assert row["cost"] == 4_000_000 + 2_000_000
    assert (row["session"], row["source"], row["linked"]) == ("session-1", "header", "header")
    assert (row["request_id"], row["message_id"], row["stop_reason"]) == ("req_9", "msg_1", "end_turn")
    assert (row["status"], row["outcome"], row["partial"], row["unaccounted"]) == (200, "complete", 0, "")
    assert 0 < float(str(row["first_byte_ms"])) <= float(str(row["first_token_ms"])) <= float(str(row["total_ms"]))
    assert str(row["account"]).startswith("key-")
    assert "sk-ant-secret" not in repr(row)


async def test_a_coding_that_cannot_be_read_passes_and_is_marked(tmp_path: Path) -> None:
    async with open_stage(tmp_path, playing(streamed(more="Content-Encoding: exotic\r\n"))) as stage:
        await ask(stage)
        (row,) = await stage.recorded(1)
        assert row["unaccounted"] == "no decoder for 'exotic'"
        found = stage.service.db.reader.execute("SELECT requests, unaccounted FROM total").fetchall()
        assert found == [(1, 1)]


async def test_the_windows_that_the_api_tells_are_kept(tmp_path: Path) -> None:
    more = "".join(
        f"anthropic-ratelimit-unified-{name}: {value}\r\n"
        for name, value in [
            ("5h-utilization", "0.83"),
            ("5h-status", "allowed_warning"),
            ("5h-reset", "1763600000"),
            ("7d-utilization", "0.1"),
        ]
    )
    async with open_stage(tmp_path, playing(streamed(more=more))) as stage:
        await ask(stage)
        await stage.recorded(1)
        limits = {limit.window: limit for limit in list_limits(stage.service.db.reader)}
    assert (limits["5h"].used, limits["5h"].status, limits["5h"].until_ms) == (0.83, "allowed_warning", 1763600000000)
    assert limits["7d"].used == 0.1


async def test_a_large_request_is_hashed_in_a_thread_and_recorded_all_the_same(tmp_path: Path) -> None:
    threads: list[int] = []

    async def counted(work):
        threads.append(1)
        return await trio.to_thread.run_sync(work)

    large = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 300_000}]}).encode()
    async with open_stage(tmp_path, playing(streamed()), seams=replace(SEAMS, threads=counted)) as stage:
        await ask(stage, large)
        (row,) = await stage.recorded(1)
        assert row["branch"] == "main"
        assert threads == [1]
        assert stage.service.recorder._room.left == type(stage.service.recorder._room)().left


class SlowDisk(ThreadWorker):
    """Commits only while it is let."""

    held = False

    def kick(self) -> None:
        if not self.held:
            super().kick()


@pytest.mark.parametrize("bound", ["ENTRIES", "LINKS"])
async def test_more_requests_than_can_be_recorded_pass_and_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    """Of each history here one hash waits."""
    monkeypatch.setattr(recorder, bound, 1)
    disks: list[SlowDisk] = []

    def disk(name: str) -> SlowDisk:
        disks.append(SlowDisk(name))
        return disks[0]

    async with open_stage(tmp_path, playing(streamed()), seams=replace(SEAMS, worker=disk)) as stage:
        await trio.testing.wait_all_tasks_blocked(0.05)
        disks[0].held = True
        for _ in range(6):
            assert await ask(stage) == streamed()
        counts = stage.service.recorder.counts
        await until(lambda: counts.lost == 4, "one is being written, one waits, the others are lost")
        assert "faster" in counts.trouble
        disks[0].held = False
        disks[0].kick()
        assert len(await stage.recorded(2)) == 2


async def test_what_gathered_is_written_in_several_transactions_in_the_order_of_its_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "BATCH", 2)
    disks: list[SlowDisk] = []

    def disk(name: str) -> SlowDisk:
        disks.append(SlowDisk(name))
        return disks[0]

    async with open_stage(tmp_path, playing(streamed()), seams=replace(SEAMS, worker=disk)) as stage:
        await trio.testing.wait_all_tasks_blocked(0.05)
        disks[0].held = True
        for _ in range(6):
            assert await ask(stage) == streamed()
        disks[0].held = False
        disks[0].kick()
        rows = await stage.recorded(6)
        numbers = [int(str(row["number"])) for row in rows]
        assert numbers == sorted(numbers)
        assert stage.service.recorder.counts.lost == 0


async def test_a_full_disk_costs_the_record_and_not_the_requests(tmp_path: Path) -> None:
    async with open_stage(tmp_path, playing(streamed())) as stage:
        await ask(stage)
        await stage.recorded(1)
        pages = stage.service.db.reader.pragma("page_count")
        await stage.service.db.write(lambda tx: tx.pragma("max_page_count", pages))
        for _ in range(200):
            assert await ask(stage) == streamed()
            if stage.service.recorder.counts.lost:
                break
        counts = stage.service.recorder.counts
        assert counts.lost
        assert counts.trouble == "the disk is full: free some space"
        await stage.service.db.write(lambda tx: tx.pragma("max_page_count", 1_000_000))
        before = stage.count()
        assert await ask(stage) == streamed()
        await until(lambda: stage.count() > before, "a request after there is room again")
        sums = stage.service.db.reader.execute("SELECT sum(requests) FROM total").get
        assert sums == stage.count()


PROGRAM = """
import sys, trio
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from proxy_kit.stage import open_service
async def main():
    async with open_service(Path(sys.argv[2])) as service:
        await service.turn_on(sys.argv[3], 0, new_token=False)
        print(service.url, flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


async def test_what_was_under_way_when_the_daemon_was_killed_is_counted_as_far_as_it_went(tmp_path: Path) -> None:
    """In a process of its own, killed with SIGKILL while it streams."""
    tmp_path.chmod(0o700)
    half = streamed(body=message(USAGE, texts=["hello"], ended=False))[:-5]

    async def play(stream: trio.SocketStream) -> None:
        await read_request(stream, bytearray())
        await stream.send_all(half)
        await stream.receive_some(1)

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            try:
                await play(stream)
            except trio.BrokenResourceError:
                pass

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        port = listeners[0].socket.getsockname()[1]
        kit = str(Path(__file__).parents[1])
        argv = [sys.executable, "-c", PROGRAM, kit, str(tmp_path), f"http://127.0.0.1:{port}"]
        process = await trio.lowlevel.open_process(argv, stdout=subprocess.PIPE, env=dict(os.environ))
        assert process.stdout is not None
        with trio.fail_after(60):
            url = (await process.stdout.receive_some(4096)).decode().strip()
            place = url.removeprefix("http://127.0.0.1:")
            listening, _, path = place.partition("/")
            client = await trio.open_tcp_stream("127.0.0.1", int(listening))
            head = f"POST /{path}/v1/messages HTTP/1.1\r\nHost: 127.0.0.1:{listening}\r\n{HEADERS}"
            await client.send_all(f"{head}Content-Length: {len(ASKED)}\r\n\r\n".encode() + ASKED)
            got = b""
            while len(got) < len(half):
                got += await client.receive_some(65536)
            assert got == half
            await until(lambda: noted(tmp_path) == 1, "the note of what is under way")
            process.kill()
            await process.wait()
            await client.aclose()
            await process.stdout.aclose()
        nursery.cancel_scope.cancel()
    async with open_service(tmp_path) as service:
        found: list[tuple[object, ...]] = []

        def recorded() -> bool:
            found[:] = service.db.reader.execute(
                "SELECT input, output, partial, outcome, session FROM request"
            ).fetchall()
            return bool(found)

        await until(recorded, "the request of the daemon before")
        assert found == [(1_000, 1, 1, "stopped", "session-1")]
        assert service.db.reader.execute("SELECT sum(requests), sum(partial) FROM total").fetchall() == [(1, 1)]
        assert service.db.reader.execute("SELECT count(*) FROM under_way").get == 0


def noted(folder: Path) -> int:
    import apsw

    db = apsw.Connection(str(folder / "proxy.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        found = db.execute("SELECT count(*) FROM under_way").get
    finally:
        db.close()
    assert isinstance(found, int)
    return found


async def test_two_hundred_streams_at_once_lose_no_frame(tmp_path: Path) -> None:
    frames = [chunk(b'event: ping\ndata: {"n":%d}\n\n' % number) for number in range(64)]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    whole = head + b"".join(frames) + b"0\r\n\r\n"

    async def play(stream: trio.SocketStream) -> None:
        await read_request(stream, bytearray())
        await stream.send_all(head)
        for frame in frames:
            await stream.send_all(frame)
            await trio.sleep(0.02)
        await stream.send_all(b"0\r\n\r\n")
        await stream.receive_some(1)

    async with open_stage(tmp_path, play) as stage:
        answers: list[bytes] = []

        async def one() -> None:
            answers.append(await ask(stage))

        async with trio.open_nursery() as nursery:
            for _ in range(200):
                nursery.start_soon(one)
        assert answers == [whole] * 200
        rows = await stage.recorded(200)
        assert {row["outcome"] for row in rows} == {"complete"}
        assert stage.service.recorder.counts.lost == 0


async def test_a_record_that_is_broken_costs_the_record_and_not_the_requests(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_stage(tmp_path, playing(streamed())) as stage:
        await stage.service.budgets.add("day", "", "usd", 10**12)
        await stage.service.db.write(lambda tx: tx.execute("DROP TABLE day_total").fetchall())
        assert await ask(stage) == streamed()
        await until(lambda: stage.service.recorder.counts.lost == 1, "it is counted as lost")
        assert "see the log" in stage.service.recorder.counts.trouble
        assert await ask(stage) == streamed()
        assert "a budget could not be looked at" in caplog.messages
