"""What one answer used, read from the copy of it."""

import base64
import gzip
import json
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshd.services.proxy.answers import MAX_JSON
from meshd.services.proxy.codings import Unreadable, open_decoder, readable_codings
from meshd.services.proxy.sse import MAX_EVENT, EventReader
from meshd.services.proxy.usage import Tokens, Usage
from proxy_kit.streams import account, event, facts, message, split

START = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 300,
    "cache_read_input_tokens": 4_000,
    "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
    "output_tokens": 1,
    "service_tier": "standard",
}
WHOLE = Tokens(input=10, cache_write_5m=100, cache_write_1h=200, cache_read=4_000, output=55, thinking=20)
DELTA = {"output_tokens": 55, "output_tokens_details": {"thinking_tokens": 20}}
PLACES = st.lists(st.integers(0, 100_000), max_size=30)
COUNTS = st.integers(0, 2**40)


def test_start_and_delta_are_combined_and_nothing_is_added_up() -> None:
    made = account([message(START, [{"output_tokens": 30}, DELTA], texts=["hello"])])
    assert made.usage.tokens() == WHOLE
    assert (made.message_id, made.model, made.stop_reason) == ("msg_1", "claude-opus-5-5", "end_turn")
    assert made.finished


def test_what_a_delta_names_anew_replaces_what_the_start_said() -> None:
    delta = {
        "output_tokens": 5,
        "input_tokens": 12,
        "cache_read_input_tokens": None,
        "cache_creation_input_tokens": 250,
    }
    tokens = account([message(START, [delta])]).usage.tokens()
    assert tokens == Tokens(input=12, cache_write_5m=50, cache_write_1h=200, cache_read=4_000, output=5)


def test_a_stream_that_breaks_off_counts_as_far_as_it_went() -> None:
    made = account([message(START, texts=["hello"], ended=False)])
    assert made.usage.tokens() == WHOLE._replace(output=1, thinking=0)
    assert not made.finished


def test_an_error_in_the_middle_of_a_stream_is_noted() -> None:
    error = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    made = account([message(START, ended=False) + error])
    assert (made.error, made.finished) == ("overloaded_error", False)


def test_tools_and_the_prompts_of_sub_tasks_are_noted() -> None:
    tools = [("Bash", {"command": "ls"}), ("Task", {"prompt": "look under the carpet", "description": "x"})]
    made = account([message(START, [DELTA], texts=["a"], tools=tools, stop="tool_use")])
    assert made.tools == ["Bash", "Task"]
    assert made.prompts == ["look under the carpet"]


def test_an_answer_in_one_piece_is_read_the_same() -> None:
    content = [{"type": "text", "text": "hi"}, {"type": "tool_use", "name": "Agent", "input": {"prompt": "dig"}}]
    document = {
        "type": "message",
        "id": "msg_1",
        "model": "m",
        "stop_reason": "tool_use",
        "content": content,
        "usage": {**START, **DELTA},
    }
    made = account([json.dumps(document).encode()], "application/json")
    assert made.usage.tokens() == WHOLE
    assert (made.stop_reason, made.tools, made.prompts, made.finished) == ("tool_use", ["Agent"], ["dig"], True)


def test_a_count_of_tokens_is_no_use_of_them() -> None:
    made = account([b'{"input_tokens": 1234}'], "application/json")
    assert made.input_tokens == 1234
    assert not made.usage.known


def test_an_error_document_is_noted() -> None:
    made = account([b'{"type":"error","error":{"type":"rate_limit_error","message":"x"}}'], "application/json")
    assert made.error == "rate_limit_error"


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xfe",
        b"{",
        b"[]",
        b'{"type":"message"}',
        b'{"type":"message","usage":{"input_tokens":-5,"output_tokens":"7","cache_read_input_tokens":true}}',
        b'{"type":"message","usage":[1],"content":"x","model":7}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_answer_of_the_api_gives_no_account_and_no_error(body: bytes) -> None:
    for made in (account([body], "application/json"), account([b"data: " + body + b"\n\n"])):
        assert made.usage.tokens() == Tokens()


def test_an_answer_that_is_too_large_to_be_kept_is_marked() -> None:
    made = account([b'{"type":"message",', b" " * MAX_JSON, b"}"], "application/json")
    assert made.unreadable == "too large"


@given(START=st.fixed_dictionaries({"input_tokens": COUNTS, "output_tokens": COUNTS}), places=PLACES, data=st.data())
@settings(max_examples=200, deadline=None)
def test_any_split_of_a_stream_gives_the_same_account(
    START: dict[str, int], places: list[int], data: st.DataObject
) -> None:
    texts = data.draw(st.lists(st.text(max_size=20), max_size=4))
    deltas = data.draw(st.lists(st.fixed_dictionaries({"output_tokens": COUNTS}), max_size=3))
    tools = data.draw(st.lists(st.sampled_from([("Task", {"prompt": 'é\n"x'}), ("Bash", {})]), max_size=2))
    stream = message(START, deltas, texts=texts, tools=tools)
    ending = data.draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    stream = stream.replace(b"\n", ending)
    whole = account([stream])
    assert whole.usage.tokens().output == (deltas[-1]["output_tokens"] if deltas else START["output_tokens"])
    assert facts(account(split(stream, places))) == facts(whole)
    packed = gzip.compress(stream, mtime=0)
    assert facts(account(split(packed, places), coding="gzip")) == facts(whole)


@given(st.binary(max_size=300), PLACES)
@settings(max_examples=300, deadline=None)
def test_any_split_of_any_bytes_gives_the_same_events(data: bytes, places: list[int]) -> None:
    one, other = EventReader(lambda name: True), EventReader(lambda name: True)
    assert [found for piece in split(data, places) for found in one.feed(piece)] == [*other.feed(data)]


@pytest.mark.parametrize("pieces", [1, 7])
def test_an_event_without_end_is_passed_over_and_costs_no_memory(pieces: int) -> None:
    data = b"event: message_start\ndata: " + b"x" * (2 * MAX_EVENT) + b"\n\nevent: error\ndata: {}\n\n"
    reader = EventReader(lambda name: True)
    found = [each for piece in split(data, range(0, len(data), len(data) // pieces)) for each in reader.feed(piece)]
    assert [each.name for each in found] == [b"error"]
    assert reader.passed_over == 1
    assert len(reader._rest) < MAX_EVENT


def test_usage_that_is_not_a_number_is_left_out() -> None:
    usage = Usage()
    usage.take({"input_tokens": 2**60, "output_tokens": 1.5, "cache_creation": {"ephemeral_1h_input_tokens": 7}})
    assert usage.tokens() == Tokens(cache_write_1h=7)


# Compressed copies. The samples were made with brotli 1.2.1 and zstandard 0.25.0.

SAMPLE = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","model":"m",'
    b'"usage":{"input_tokens":7,"output_tokens":1}}}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":5}}'
    b'\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n'
)
PACKED = {
    "gzip": gzip.compress(SAMPLE, mtime=0),
    "deflate": zlib.compress(SAMPLE),
    "br": base64.b64decode(
        "Gy0BAJwFdiy2thwQmXoyZg3Kbd0SL7QFEdbKl4lYVJgmS6GvRVh0+gSI1s7hmdrugsYFYRBFH1iapIlm6TYR9FOEsEGj0Rmx2WcSPJX95p9r"
        "uQlAwZmjz4yec8gQBrCOvCIPSbFfUpP9bj3ZQ4VPy46AYFwjR959pIcn+gqJc3AsD95Vh9B0S/nhpQ4="
    ),
    "zstd": base64.b64decode(
        "KLUv/QBYVQQAcggZGIC3bbYjUjJpkR/h9ZVkYOUwrhokoLoCC6UsJ036BSwnon5Qos2pe4icpF8nZuO7gaiUtRZxpTYB8yYO9OcqpbKxgUgP"
        "GxOn2MNmJHBiNrYZU+FOBrsfKkfue7C4XTwGeyIBAw0AfbPpjuTw6OGEMWNlHKjLAqgVpitr8lBUZSC0mQQmONQT"
    ),
}


@pytest.mark.parametrize("coding", PACKED)
def test_a_compressed_copy_is_read_or_marked(coding: str) -> None:
    made = account(split(PACKED[coding], range(0, 200, 7)), coding=coding)
    if coding in readable_codings():
        assert made.usage.tokens() == Tokens(input=7, output=5)
        assert made.finished
    else:
        assert made.unreadable == f"no decoder for {coding!r}"


def test_gzip_and_deflate_are_always_read() -> None:
    assert {"gzip", "deflate"} <= {*readable_codings()}


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", gzip.compress(SAMPLE[:50], mtime=0) + gzip.compress(SAMPLE[50:], mtime=0)),
        ("deflate", zlib.compress(SAMPLE)[2:-4]),
        ("GZIP ", gzip.compress(SAMPLE, mtime=0)),
    ],
    ids=["two members", "without its header", "written large"],
)
def test_odd_forms_of_a_coding_are_read(coding: str, packed: bytes) -> None:
    assert account([packed], coding=coding).usage.tokens() == Tokens(input=7, output=5)


@pytest.mark.parametrize(
    ("coding", "packed"),
    [("gzip", b"no gzip"), ("gzip, br", b""), ("x", b""), ("gzip", PACKED["gzip"][:-8] + b"\0" * 8)],
    ids=["no gzip", "two codings", "an unknown one", "a wrong checksum"],
)
def test_a_copy_that_cannot_be_read_is_marked(coding: str, packed: bytes) -> None:
    made = account([packed], coding=coding)
    assert made.unreadable
    assert made.usage.tokens() == Tokens()


def test_a_small_copy_that_pretends_to_be_endless_is_given_up() -> None:
    packer = zlib.compressobj(wbits=31)
    packed = b"".join(packer.compress(bytes(1_000_000)) for _ in range(80)) + packer.flush()
    assert len(packed) < 100_000
    with pytest.raises(Unreadable, match="too large"):
        open_decoder("gzip").feed(packed)
