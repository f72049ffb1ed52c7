"""Requests and answers out of any pieces of bytes, good and hostile."""

import random
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from meshd.services.proxy.exchanges import Answers, Copy, Exchange, Outcome, Room
from meshd.services.proxy.heads import (
    MAX_HEAD,
    BadRequest,
    End,
    Head,
    RequestReader,
    write_end,
    write_head,
    write_piece,
)
from proxy_kit.stage import open_stage, read_request
from proxy_kit.streams import facts, message, split

PLACES = st.lists(st.integers(0, 100_000), max_size=20)
TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABC-0123456789", min_size=1, max_size=12).map(lambda text: f"x-{text}")
VALUE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=30)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def passed_on(pieces: list[bytes]) -> bytes:
    """What goes on of a client's bytes, with every body in one piece."""
    reader, out, chunked, body = RequestReader(), bytearray(), False, bytearray()
    for piece in pieces:
        for event in reader.feed(piece):
            if isinstance(event, bytes):
                body += event
            elif isinstance(event, End):
                if body:
                    out += write_piece(bytes(body), chunked=chunked)
                out += write_end(event, chunked=chunked)
                body.clear()
            else:
                chunked = event.chunked
                out += write_head(event, event.target, b"the upstream")
    return bytes(out)


@given(st.lists(st.tuples(TOKEN, VALUE), max_size=8), st.binary(max_size=200), st.booleans(), PLACES)
@settings(max_examples=200, deadline=None)
def test_any_split_of_requests_passes_the_same_on(
    headers: list[tuple[str, str]], body: bytes, chunked: bool, places: list[int]
) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers).encode()
    framing = b"Transfer-Encoding: chunked\r\n" if chunked else b"Content-Length: %d\r\n" % len(body)
    framed = (chunk(body) if body else b"") + b"0\r\n\r\n" if chunked else body
    one = b"POST /v1/messages?x HTTP/1.1\r\nHost: here\r\n" + lines + framing + b"\r\n" + framed
    assert passed_on(split(one + one, places)) == (one + one).replace(b"Host: here", b"Host: the upstream")


@given(
    st.binary(max_size=400),
    st.sampled_from([b"", b"GET / HTTP/1.1\r\n", b"POST /x HTTP/1.1\r\nContent-Length: 9\r\n"]),
    PLACES,
)
@settings(max_examples=500, deadline=None)
def test_no_bytes_of_a_client_do_more_than_be_refused(data: bytes, begin: bytes, places: list[int]) -> None:
    reader = RequestReader()
    try:
        for piece in split(begin + data, places):
            for event in reader.feed(piece):
                if isinstance(event, Head):
                    assert b"\r" not in write_head(event, b"/", b"h").replace(b"\r\n", b"")
    except BadRequest:
        pass


@pytest.mark.parametrize("piece", [b"x: " + b"y" * 5000 + b"\r\n", b"y" * 5000])
def test_a_head_without_end_is_refused_before_it_fills_the_memory(piece: bytes) -> None:
    reader = RequestReader()
    reader.feed(b"GET / HTTP/1.1\r\nx: ")
    with pytest.raises(BadRequest):
        for _ in range(2 * MAX_HEAD // len(piece)):
            assert reader.feed(piece) == []


def exchange(method: bytes = b"POST") -> Exchange:
    return Exchange(1, Head(method, b"/", b"1.1", (), False, False), b"/", Copy(Room(), wanted=False), 0.0, 0)


STREAM = message({"input_tokens": 5}, [{"output_tokens": 7}], texts=["a", "b"], tools=[("Task", {"prompt": "x"})])
ANSWERS = {
    "chunks": b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"".join(chunk(STREAM[start : start + 37]) for start in range(0, len(STREAM), 37))
    + b"0\r\n\r\n",
    "a length": b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(STREAM)
    + STREAM,
    "until closed": b"HTTP/1.1 200 OK\r\nCONTENT-TYPE: text/event-stream\r\n\r\n" + STREAM,
}


@given(st.sampled_from([*ANSWERS]), PLACES)
@settings(max_examples=200, deadline=None)
def test_any_split_of_an_answer_gives_the_same_account(name: str, places: list[int]) -> None:
    found = []
    for pieces in (split(ANSWERS[name], places), [ANSWERS[name]]):
        done: list[Exchange] = []
        answers = Answers(done.append)
        answers.expect(exchange())
        for number, piece in enumerate(pieces):
            answers.feed(piece, float(number))
        answers.close(Outcome.UPSTREAM_CLOSED, 99.0)
        (one,) = done
        assert one.account is not None
        found.append((one.outcome, one.status, facts(one.account)))
    assert found[0] == found[1]
    assert found[0][0] is Outcome.COMPLETE
    assert found[0][2][0].output == 7  # type: ignore[attr-defined]


@given(st.binary(max_size=300), st.integers(1, 3), PLACES)
@settings(max_examples=300, deadline=None)
def test_no_bytes_of_an_upstream_do_more_than_end_the_observation(data: bytes, waiting: int, places: list[int]) -> None:
    done: list[Exchange] = []
    answers = Answers(done.append)
    for _ in range(waiting):
        answers.expect(exchange())
    for piece in split(b"HTTP/1.1 200 OK\r\n" + data, places):
        answers.feed(piece, 1.0)
    answers.close(Outcome.UPSTREAM_CLOSED, 2.0)
    assert len(done) == waiting
    assert not answers.pending


@pytest.mark.parametrize("seed", range(6))
async def test_a_stream_in_any_pieces_comes_out_as_the_same_bytes(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    answer = ANSWERS["chunks"] * 2

    async def play(stream: trio.SocketStream) -> None:
        await read_request(stream, bytearray())
        for piece in split(answer, [dice.randrange(len(answer)) for _ in range(30)]):
            await stream.send_all(piece)
            if dice.random() < 0.5:
                await trio.sleep(0.001)
        await stream.receive_some(1)

    async with open_stage(tmp_path, play) as stage:
        client = await stage.client()
        await client.send(stage.request("/v1/messages", b"{}") + stage.request("/v1/messages", b"{}"))
        while len(client.got) < len(answer):
            client.got += await client.stream.receive_some(65536)
        assert bytes(client.got) == answer
        rows = await stage.recorded(2)
        assert [(row["input"], row["output"], row["outcome"]) for row in rows] == [(5, 7, "complete")] * 2
