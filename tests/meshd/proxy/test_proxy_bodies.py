"""What requests and answers say, stored where a person asked for it: sealed, bounded, and gone when it is deleted."""

import gzip
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from mesh_protocol.keys import BadCiphertext
from meshd.services.proxy import bodies as module
from meshd.services.proxy.bodies import ANSWER, DAY_MS, NAME, REQUEST, Bodies, Keep
from meshd.services.proxy.exchanges import Copy, Exchange, Room
from meshd.services.proxy.heads import Head
from proxy_kit.stage import KEY, SEAMS, Hearing, Stage, open_stage, read_request, until

SECRET = b'{"model":"m","messages":[{"role":"user","content":"a canary in its cage"}]}'
SAID = (
    b'{"type":"message","id":"msg_1","content":[{"type":"text","text":"it sings a secret"}],"usage":{"input_tokens":1}}'
)
HEAD = Head(b"POST", b"/v1/messages", b"1.1", (), chunked=False, last=False)


def exchange(number: int, said: bytes = b"question", told: bytes = b"answer", at: int = 1_000) -> Exchange:
    room = Room()
    made = Exchange(number, HEAD, b"/v1/messages", Copy(room, wanted=True), 0.0, at)
    made.answer = Copy(room, wanted=True)
    made.asked.feed(said)
    made.answer.feed(told)
    return made


@pytest.fixture
async def bodies(tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[Bodies]:
    made = Bodies(tmp_path, replace(SEAMS, clock=lambda: 2_000), KEY, Keep(14, 1))
    made.on = True
    nursery.start_soon(made.run)
    yield made
    nursery.cancel_scope.cancel()
    made.db.close()


async def test_what_was_taken_can_be_read_and_is_sealed_on_the_disk(bodies: Bodies, tmp_path: Path) -> None:
    bodies.take(exchange(7, SECRET, SAID))
    await bodies.drained()
    assert await bodies.read(7, 1_000, REQUEST) == SECRET
    assert await bodies.read(7, 1_000, ANSWER) == SAID
    assert await bodies.read(7, 1_001, ANSWER) is None
    assert await bodies.read(8, 1_000, ANSWER) is None
    assert bodies.sizes([7, 8]) == {7: len(SECRET) + len(SAID)}
    assert bodies.stored.requests == 1
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        assert b"canary" not in content, path
        assert b"secret" not in content, path
        assert path.stat().st_mode & 0o077 == 0, path


async def test_an_answer_that_the_api_compressed_is_read_plain(bodies: Bodies) -> None:
    made = exchange(1, SECRET, gzip.compress(SAID))
    made.told = {b"content-encoding": b"gzip"}
    bodies.take(made)
    other = exchange(2, SECRET, b"in a coding of tomorrow")
    other.told = {b"content-encoding": b"tomorrow"}
    bodies.take(other)
    await bodies.drained()
    assert await bodies.read(1, 1_000, ANSWER) == SAID
    assert await bodies.read(2, 1_000, ANSWER) == b"in a coding of tomorrow"


async def test_a_body_of_another_place_is_not_opened(bodies: Bodies) -> None:
    bodies.take(exchange(1, SECRET, SAID))
    await bodies.drained()
    await bodies.db.write(lambda tx: tx.execute("UPDATE body SET part = 'x' WHERE part = ?", (REQUEST,)))
    await bodies.db.write(lambda tx: tx.execute("UPDATE body SET part = ? WHERE part = ?", (REQUEST, ANSWER)))
    with pytest.raises(BadCiphertext):
        await bodies.read(1, 1_000, REQUEST)


async def test_what_was_deleted_is_in_no_file_any_more(bodies: Bodies, tmp_path: Path) -> None:
    """Not even sealed: whoever gets the key later must find nothing."""
    bodies.take(exchange(1, SECRET, SAID))
    await bodies.drained()
    ((sealed,),) = bodies.db.reader.execute("SELECT sealed FROM body WHERE part = ?", (ANSWER,))
    assert any(sealed[30:60] in path.read_bytes() for path in tmp_path.iterdir())
    assert await bodies.forget() == 1
    await until(
        lambda: not any(sealed[30:60] in path.read_bytes() for path in tmp_path.iterdir()), "the log to be emptied"
    )
    assert (bodies.stored.requests, bodies.stored.size) == (0, 0)
    assert await bodies.read(1, 1_000, ANSWER) is None


async def test_only_what_is_older_is_deleted(bodies: Bodies) -> None:
    for number, at in ((1, 100), (2, 5_000), (3, 200)):
        bodies.take(exchange(number, at=at))
    await bodies.drained()
    assert await bodies.forget(before_ms=1_000) == 2
    assert set(bodies.sizes([1, 2, 3])) == {2}
    assert bodies.stored.requests == 1


async def test_what_is_too_old_goes_by_itself(tmp_path: Path) -> None:
    now = [DAY_MS]
    made = Bodies(tmp_path, replace(SEAMS, clock=lambda: now[0]), KEY, Keep(14, 1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.run)
        made.take(exchange(1, at=DAY_MS))
        await made.drained()
        assert made.stored.requests == 1
        nursery.cancel_scope.cancel()
    now[0] = 16 * DAY_MS
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.run)
        await until(lambda: made.stored.requests == 0, "the old ones to go")
        nursery.cancel_scope.cancel()
    made.db.close()


async def test_the_oldest_make_room_for_the_newest(bodies: Bodies) -> None:
    noise = SEAMS.rng
    for number in range(1, 11):
        bodies.take(exchange(number, noise(200 * 1024)))
        await bodies.drained()
    assert bodies.stored.size <= module.MIB
    kept = set(bodies.sizes(range(1, 11)))
    assert kept == set(range(11 - len(kept), 11))
    assert 3 <= len(kept) <= 5
    assert bodies.stored.requests == len(kept)


async def test_what_does_not_fit_is_counted_and_nothing_waits(tmp_path: Path) -> None:
    """Nothing stores here: the queue fills."""
    made = Bodies(tmp_path, SEAMS, KEY, Keep(14, 1))
    made.on = True
    for number in range(module.QUEUE + 5):
        made.take(exchange(number))
    assert made.stored.lost == 5
    large = exchange(1_000)
    large.asked.release()
    made.take(large)
    assert (made.stored.lost, made.stored.trouble) == (6, "bodies were too large")
    made.db.close()


async def test_bytes_that_wait_have_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING", 100)
    made = Bodies(tmp_path, SEAMS, KEY, Keep(14, 1))
    made.take(exchange(1, b"x" * 60))
    second = exchange(2, b"x" * 60)
    made.take(second)
    assert made.stored.lost == 1
    assert len(second.asked) == 0
    made.db.close()


# Through the proxy.


async def answer(stream: trio.SocketStream) -> None:
    heard = Hearing(stream)
    await heard.until(SECRET)
    await stream.send_all(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(SAID)
    )
    await stream.send_all(SAID)


async def ask(stage: Stage, count: int) -> dict[str, object]:
    """One request through the proxy; its row."""
    client = await stage.client()
    await client.send(stage.request("/v1/messages", SECRET, more="x-api-key: sk-ant-canary\r\n"))
    await client.until(SAID)
    row = (await stage.recorded(count))[-1]
    if stage.service.bodies is not None:
        await stage.service.bodies.drained()
    return row


async def test_nothing_is_stored_unless_it_was_asked_for(tmp_path: Path) -> None:
    async with open_stage(tmp_path, answer) as stage:
        row = await ask(stage, 1)
        assert await stage.service.said(int(str(row["row"])), REQUEST) is None
    assert not (tmp_path / NAME).exists()
    for path in tmp_path.iterdir():
        assert b"canary" not in path.read_bytes()


async def test_bodies_of_a_proxied_request_are_stored_until_that_is_switched_off(tmp_path: Path) -> None:
    async with open_stage(tmp_path, answer) as stage:
        await stage.service.keep("bodies", 0, 0, 0)
        first = int(str((await ask(stage, 1))["row"]))
        assert await stage.service.said(first, REQUEST) == SECRET
        assert await stage.service.said(first, ANSWER) == SAID
        await stage.service.keep("nothing", 0, 0, 0)
        second = int(str((await ask(stage, 2))["row"]))
        assert await stage.service.said(second, REQUEST) is None
        assert await stage.service.said(first, REQUEST) == SECRET
        assert stage.service.bodies is not None
        assert await stage.service.bodies.forget() == 1
        assert await stage.service.said(first, REQUEST) is None
    for path in tmp_path.iterdir():
        assert b"canary" not in path.read_bytes(), path


async def test_what_is_under_way_when_storing_is_switched_off_is_not_stored(tmp_path: Path) -> None:
    go = trio.Event()

    async def play(stream: trio.SocketStream) -> None:
        await read_request(stream, bytearray())
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(SAID))
        await go.wait()
        await stream.send_all(SAID)

    async with open_stage(tmp_path, play) as stage:
        await stage.service.keep("bodies", 0, 0, 0)
        client = await stage.client()
        await client.send(stage.request("/v1/messages", SECRET))
        await client.until(b"\r\n\r\n")
        await stage.service.keep("nothing", 0, 0, 0)
        go.set()
        await client.until(SAID)
        (row,) = await stage.recorded(1)
        assert stage.service.bodies is not None
        await stage.service.bodies.drained()
        assert await stage.service.said(int(str(row["row"])), REQUEST) is None
        assert stage.service.bodies.stored.requests == 0


async def test_a_disk_that_takes_no_bodies_costs_no_request(tmp_path: Path) -> None:
    async with open_stage(tmp_path, answer) as stage:
        await stage.service.keep("bodies", 0, 0, 0)
        assert stage.service.bodies is not None
        bodies = stage.service.bodies
        pages = bodies.db.reader.pragma("page_count")
        await bodies.db.write(lambda tx: tx.pragma("max_page_count", pages))
        bodies.take(exchange(1, SEAMS.rng(100_000)))
        await bodies.drained()
        assert bodies.stored.lost == 1
        await ask(stage, 1)
        assert stage.service.recorder.counts.recorded == 1
        assert "disk" in bodies.stored.trouble
