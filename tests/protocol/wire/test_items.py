"""Lists of byte strings in a body, and texts that travel there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_protocol.wire.codec import CodecError
from mesh_protocol.wire.items import MAX_ITEMS, pack_items, put_texts, take_texts, unpack_items


@given(st.lists(st.binary(max_size=30), max_size=8))
def test_what_is_packed_comes_back(items):
    assert unpack_items(pack_items(items)) == items


def test_the_bytes_are_a_count_and_each_length_and_item():
    assert pack_items([b"ab", b""]).hex() == "0200000000000000020000000000000061620000000000000000"


@pytest.mark.parametrize("end", range(len(pack_items([b"ab", b"", b"c"]))))
def test_a_list_cut_at_any_byte_is_refused(end):
    with pytest.raises(CodecError, match="items: cut off"):
        unpack_items(pack_items([b"ab", b"", b"c"])[:end])


def test_bytes_after_the_list_are_refused():
    with pytest.raises(CodecError, match="bytes after"):
        unpack_items(pack_items([b"ab"]) + b"x")


@pytest.mark.parametrize("count", [MAX_ITEMS + 1, 2**63, 2**64 - 1])
def test_too_many_items_are_refused_from_their_count(count):
    with pytest.raises(CodecError, match="more than 4096"):
        unpack_items(count.to_bytes(8, "little"))


def test_a_hostile_length_is_refused():
    with pytest.raises(CodecError, match="cut off"):
        unpack_items((1).to_bytes(8, "little") + (2**64 - 1).to_bytes(8, "little") + b"x")


def test_texts_of_rows_travel_in_the_body_and_come_back():
    answer = {"rows": [{"id": 1, "text": "größer"}, {"id": 2, "text": ""}], "more": False}
    body = take_texts(answer, "rows[].text")
    assert answer == {"rows": [{"id": 1, "text": ""}, {"id": 2, "text": ""}], "more": False}
    assert unpack_items(body) == ["größer".encode(), b""]
    put_texts(answer, "rows[].text", body)
    assert answer["rows"] == [{"id": 1, "text": "größer"}, {"id": 2, "text": ""}]


def test_a_text_of_the_answer_itself_travels_alike():
    answer = {"text": "hello", "id": 7}
    body = take_texts(answer, "text")
    assert answer == {"text": "", "id": 7}
    put_texts(answer, "text", body)
    assert answer == {"text": "hello", "id": 7}


@pytest.mark.parametrize("body", [pack_items([]), pack_items([b"a", b"b"]), b"", b"x"])
def test_a_body_that_does_not_fit_its_answer_is_refused(body):
    with pytest.raises(CodecError):
        put_texts({"rows": [{"text": ""}]}, "rows[].text", body)


@pytest.mark.parametrize("answer", [{}, {"rows": None}, {"rows": {"text": ""}}])
def test_an_answer_without_its_rows_is_refused(answer):
    with pytest.raises(CodecError, match="no rows"):
        put_texts(answer, "rows[].text", pack_items([]))


def test_a_text_that_is_not_utf8_is_shown_as_far_as_it_goes():
    answer = {"text": ""}
    put_texts(answer, "text", pack_items([b"a\xffb"]))
    assert answer["text"] == "a\ufffdb"
