import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshd.mcp.jsonrpc import (
    MAX_DEPTH,
    MAX_ELEMENTS,
    MAX_LINE,
    CallLine,
    LineError,
    NoteLine,
    ReplyLine,
    error_line,
    id_text,
    parse_line,
    result_line,
)


def line(**fields: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **fields}).encode()


def refused(data: bytes) -> tuple[int, object]:
    with pytest.raises(LineError) as caught:
        parse_line(data)
    return caught.value.code, caught.value.id


def test_the_three_kinds_of_message_are_told_apart() -> None:
    assert parse_line(line(id=1, method="ping")) == CallLine(1, "ping", {})
    assert parse_line(line(id="a", method="x", params={"k": [1, None]})) == CallLine("a", "x", {"k": [1, None]})
    assert parse_line(line(method="notifications/initialized")) == NoteLine("notifications/initialized", {})
    assert parse_line(line(id=3, result={})) == ReplyLine(3)
    assert parse_line(line(id=None, error={"code": 1, "message": ""})) == ReplyLine(None)


@pytest.mark.parametrize("data", [b"", b"{", b"nonsense", b'{"jsonrpc":"2.0"', b"\xff\xfe"])
def test_what_is_not_json_is_a_parse_error(data: bytes) -> None:
    assert refused(data) == (-32700, None)


@pytest.mark.parametrize(
    ("data", "request_id"),
    [
        (b"[]", None),
        (b"[" * 20, None),
        (b'{"a":"\xff"}', None),
        (b"3", None),
        (b'{"id":5,"method":"ping"}', 5),
        (b'{"jsonrpc":"1.0","id":5,"method":"ping"}', 5),
        (line(id=5), 5),
        (line(id=5, method="x", params=[1]), 5),
        (line(id=5, method=7), 5),
        (line(id=None, method="x"), None),
        (line(id=1.5, method="x"), None),
        (line(id=True, method="x"), None),
        (line(id={"a": 1}, method="x"), None),
        (line(id="x" * 201, method="x"), None),
        (line(result={}), None),
    ],
)
def test_json_that_is_no_message_is_refused_with_its_id_where_it_has_one(data: bytes, request_id: object) -> None:
    assert refused(data) == (-32600, request_id)


def test_a_line_at_the_limit_is_taken_and_one_byte_more_is_not() -> None:
    empty = len(line(id=1, method="x", params={"t": ""}))
    assert isinstance(parse_line(line(id=1, method="x", params={"t": "a" * (MAX_LINE - empty)})), CallLine)
    assert refused(line(id=1, method="x", params={"t": "a" * (MAX_LINE - empty + 1)})) == (-32600, None)


def nested(depth: int) -> bytes:
    return b'{"jsonrpc":"2.0","id":1,"method":"x","params":' + b'{"k":' * depth + b"1" + b"}" * depth + b"}"


def test_depth_is_bounded() -> None:
    assert isinstance(parse_line(nested(MAX_DEPTH - 1)), CallLine)
    assert refused(nested(MAX_DEPTH)) == (-32600, 1)
    assert refused(nested(100_000))[0] == -32600


def test_the_number_of_elements_is_bounded_before_anything_is_built() -> None:
    many = b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"k":[' + b"{}," * MAX_ELEMENTS + b"{}]}}"
    assert refused(many) == (-32600, 1)


def test_commas_and_brackets_inside_a_text_are_text() -> None:
    text = '[{,"\\' * (MAX_ELEMENTS // 2)
    parsed = parse_line(line(id=1, method="x", params={"t": text}))
    assert parsed == CallLine(1, "x", {"t": text})


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=300) | st.text(alphabet='{}[]",:\\ 1a', max_size=200).map(str.encode))
def test_any_bytes_give_a_message_or_a_line_error(data: bytes) -> None:
    try:
        parsed = parse_line(data)
    except LineError as error:
        parsed = error
    assert isinstance(parsed, CallLine | NoteLine | ReplyLine) or parsed.code in {-32700, -32600}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=15,
)


@settings(deadline=None, max_examples=150)
@given(
    st.dictionaries(st.text(max_size=8), json_values, max_size=4), st.integers(-(2**53), 2**53) | st.text(max_size=20)
)
def test_every_message_is_read_as_it_was_written(params: dict, request_id: int | str) -> None:
    assert parse_line(line(id=request_id, method="m", params=params)) == CallLine(request_id, "m", params)


def test_answers_are_one_line_whatever_they_hold() -> None:
    written = result_line("a\nb", {"text": "one\ntwo\u2028three"})
    assert b"\n" not in written
    assert json.loads(written) == {"jsonrpc": "2.0", "id": "a\nb", "result": {"text": "one\ntwo\u2028three"}}
    assert json.loads(error_line(None, -32700, "no"))["id"] is None


def test_a_number_and_its_digits_are_different_ids() -> None:
    assert {id_text(5), id_text("5")} == {"5", '"5"'}
