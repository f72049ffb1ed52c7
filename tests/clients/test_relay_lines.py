"""The relay reads ids from bytes; whatever JSON a client writes, it must see what a parser sees."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh_clients.mcp.lines import is_plain_id, read_facts, refuse

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.just("id"), inner, max_size=4),
    max_leaves=20,
)
IDS = st.integers(-(10**17), 10**17) | st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)
METHODS = st.sampled_from(["tools/call", "initialize", "notifications/cancelled", "a", 'we"ird\\'])


def raw(value: object, ascii_only: bool) -> bytes:
    return json.dumps(value, ensure_ascii=ascii_only).encode()


@settings(deadline=None, max_examples=300)
@given(
    st.permutations(["jsonrpc", "id", "method", "params"]),
    IDS,
    METHODS,
    st.dictionaries(st.text(max_size=8), VALUES, max_size=4),
    st.booleans(),
    st.sampled_from([None, 1, "\t"]),
)
def test_id_and_method_are_found_wherever_they_stand(
    order: list, request_id: int | str, method: str, params: dict, ascii_only: bool, indent: object
) -> None:
    known = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
    line = json.dumps({key: known[key] for key in order}, ensure_ascii=ascii_only, indent=indent).encode()
    facts = read_facts(line)
    assert facts.id == raw(request_id, ascii_only)
    assert facts.method == raw(method, ascii_only).strip(b'"')


@settings(deadline=None, max_examples=200)
@given(IDS, VALUES, st.booleans())
def test_an_answer_has_an_id_and_no_method_whatever_its_result_holds(
    request_id: int | str, result: object, ascii_only: bool
) -> None:
    line = json.dumps({"jsonrpc": "2.0", "id": request_id, "result": result}, ensure_ascii=ascii_only).encode()
    facts = read_facts(line)
    assert (facts.id, facts.method, facts.target) == (raw(request_id, ascii_only), b"", b"")


@given(IDS, st.booleans())
def test_a_cancellation_names_its_target(target: int | str, ascii_only: bool) -> None:
    params = {"reason": 'requestId":7', "requestId": target, "_meta": {"requestId": 99}}
    line = json.dumps(
        {"method": "notifications/cancelled", "params": params, "jsonrpc": "2.0"}, ensure_ascii=ascii_only
    ).encode()
    facts = read_facts(line)
    assert (facts.id, facts.method, facts.target) == (b"", b"notifications/cancelled", raw(target, ascii_only))


def test_ids_inside_params_and_texts_are_not_the_messages_id() -> None:
    line = b'{"method":"x","params":{"id":1,"a":[{"id":2}],"t":"\\"id\\":3,\\\\"},"jsonrpc":"2.0"}'
    assert read_facts(line).id == b""


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:\\id1 method', max_size=120).map(str.encode))
def test_no_bytes_make_it_fail(line: bytes) -> None:
    facts = read_facts(line)
    is_plain_id(facts.id)


@pytest.mark.parametrize("plain", [b"0", b"7", b"-3", b'""', b'"a-1"', '"\u00e9"'.encode(), b"9" * 18])
def test_plain_ids_come_back_from_the_daemon_as_the_same_bytes(plain: bytes) -> None:
    from meshd.mcp.jsonrpc import parse_line, result_line

    request = parse_line(b'{"jsonrpc":"2.0","id":%b,"method":"ping"}' % plain)
    assert is_plain_id(plain)
    assert read_facts(result_line(request.id, {})).id == plain


@pytest.mark.parametrize(
    "other", [b"", b"null", b"1.0", b"1e3", b"-0", b"007", b"9" * 19, b"true", b'"a\\u0031"', b'"', b"[1]", b'{"a"']
)
def test_ids_that_might_come_back_changed_are_told_apart(other: bytes) -> None:
    assert not is_plain_id(other)


def test_a_refusal_is_json() -> None:
    assert json.loads(refuse(b'"a"', -32601, b"Method not found"))["id"] == "a"
    assert json.loads(refuse(b"", -32600, b"no"))["id"] is None
