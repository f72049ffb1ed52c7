"""Declaring operations: what stops the program at start, and what a caller's parameters must look like."""

import enum
from typing import Annotated

import msgspec
import pytest

from mesh_protocol.op import (
    Answer,
    Request,
    Tier,
    op,
    operation_of,
    read_answer,
    read_request,
    write_answer,
    write_params,
)
from mesh_protocol.wire.codec import decode, encode
from mesh_protocol.wire.errors import MeshError


class Lane(enum.Enum):
    NOW = "now"
    LOW = "low"


class Receipt(Answer, frozen=True):
    """What was done."""

    id: bytes
    states: list[str] = []


@op("test.send", answer=Receipt, tier=Tier.AGENT, errors=("not_found",), drops_unknown=True, payload="text")
class Send(Request, frozen=True):
    """Send something.

    More about it.
    """

    to: str
    text: str = ""
    lane: Lane = Lane.LOW
    tags: list[str] = []
    env: dict[str, str] = {}
    key: bytes = b""
    limit: Annotated[int, msgspec.Meta(ge=1, le=50)] = 10
    urgent: bool = False
    after: int | None = None
    from_: str = msgspec.field(default="", name="from")


@op("test.strict", answer=Receipt, tier=Tier.USER, guarded=True)
class Strict(Request, frozen=True):
    """Take exactly what is declared."""

    id: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]


def refusal(operation, params, **more):
    with pytest.raises(MeshError) as caught:
        read_request(operation, params, **more)
    return caught.value


def test_a_declaration_holds_what_was_said():
    operation = operation_of(Send)
    assert (operation.method, operation.request, operation.answer) == ("test.send", Send, Receipt)
    assert (operation.tier, operation.guarded, operation.errors) == (Tier.AGENT, False, ("not_found",))
    assert operation.summary == "Send something."
    assert operation_of(Strict).guarded


def test_tiers_are_ordered():
    assert Tier.STATUS < Tier.AGENT < Tier.USER


def test_a_request_without_a_docstring_stops_the_program():
    for text in (None, "", "  \n "):
        with pytest.raises(ValueError, match=r"test\.silent has no docstring"):

            @op("test.silent", answer=Receipt, tier=Tier.USER)
            class Silent(Request, frozen=True):
                __doc__ = text


def test_a_docstring_is_not_inherited():
    with pytest.raises(ValueError, match="no docstring"):

        @op("test.child", answer=Receipt, tier=Tier.USER)
        class Child(Strict, frozen=True):
            pass


def test_an_undeclared_error_code_stops_the_program():
    with pytest.raises(ValueError, match="unknown error no_such_code"):
        op("test.bad", answer=Receipt, tier=Tier.USER, errors=("not_found", "no_such_code"))


def test_an_undecorated_class_is_no_operation_even_below_one():
    class Plain(Request, frozen=True):
        """Nothing."""

    class Below(Strict, frozen=True):
        """Not declared itself."""

    for request in (Plain, Below):
        with pytest.raises(TypeError, match="not declared with @op"):
            operation_of(request)


def test_parameters_become_the_typed_request():
    request = read_request(operation_of(Send), {"to": "bob", "lane": "now", "key": b"k", "from": "web"})
    assert request == Send(to="bob", lane=Lane.NOW, key=b"k", from_="web")


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"to": 7},
        {"to": None},
        {"to": b"bob"},
        {"to": "bob", "lane": "soon"},
        {"to": "bob", "limit": 0},
        {"to": "bob", "limit": 51},
        {"to": "bob", "limit": "10"},
        {"to": "bob", "limit": 1.5},
        {"to": "bob", "urgent": 1},
        {"to": "bob", "tags": "a"},
        {"to": "bob", "tags": [1]},
        {"to": "bob", "key": "text"},
        {"to": "bob", "after": "1"},
    ],
    ids=repr,
)
def test_a_wrong_parameter_is_refused_and_the_method_named(params):
    error = refusal(operation_of(Send), params)
    assert error.code == "bad_request"
    assert error.message.startswith("test.send: ")


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"to": "bob", "limit": 51}, "limit: expected int <= 50"),
        ({"to": "bob", "tags": [1]}, "tags[0]: expected str, got int"),
        ({"lane": "now"}, "to is missing"),
        ({"to": "bob", "lane": "soon"}, "lane: invalid enum value 'soon'"),
    ],
)
def test_a_refusal_says_which_parameter_in_a_persons_words(params, said):
    assert refusal(operation_of(Send), params).message == f"test.send: {said}"


@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_an_id_of_another_length_is_refused(size):
    assert refusal(operation_of(Strict), {"id": bytes(size)}).code == "bad_request"


def test_an_unknown_field_is_refused_by_name():
    error = refusal(operation_of(Send), {"to": "bob", "zeta": 1, "colour": 2})
    assert (error.code, error.data) == ("unknown_field", {"method": "test.send", "field": "colour"})


def test_an_unknown_field_of_a_newer_client_is_dropped_where_the_method_allows_it():
    assert read_request(operation_of(Send), {"to": "bob", "colour": 2}, newer=True) == Send(to="bob")


def test_an_unknown_field_of_a_newer_client_is_an_upgrade_where_the_method_does_not():
    assert refusal(operation_of(Strict), {"id": bytes(16), "colour": 2}, newer=True).code == "newer_client"
    assert read_request(operation_of(Strict), {"id": bytes(16)}, newer=True) == Strict(id=bytes(16))


def test_a_python_name_is_not_a_wire_name():
    assert refusal(operation_of(Send), {"to": "bob", "from_": "web"}).code == "unknown_field"


def test_the_payload_text_comes_from_the_body():
    operation = operation_of(Send)
    assert read_request(operation, {"to": "bob"}, "größer".encode()) == Send(to="bob", text="größer")
    assert read_request(operation, {"to": "bob", "text": "short"}) == Send(to="bob", text="short")
    error = refusal(operation, {"to": "bob"}, body=b"\xff")
    assert (error.code, "UTF-8" in error.message) == ("bad_request", True)


def test_fields_at_their_default_are_left_out():
    assert write_params(Send(to="bob")) == {"to": "bob"}


@pytest.mark.parametrize(
    ("request_", "params"),
    [
        (Send(to=""), {"to": ""}),
        (Send(to="b", lane=Lane.NOW), {"to": "b", "lane": "now"}),
        (Send(to="b", tags=["x"]), {"to": "b", "tags": ["x"]}),
        (Send(to="b", env={"A": "1"}), {"to": "b", "env": {"A": "1"}}),
        (Send(to="b", after=0), {"to": "b", "after": 0}),
        (Send(to="b", urgent=True, key=b"k"), {"to": "b", "urgent": True, "key": b"k"}),
        (Send(to="b", from_="web"), {"to": "b", "from": "web"}),
    ],
)
def test_other_fields_travel_and_come_back(request_, params):
    assert write_params(request_) == params
    assert read_request(operation_of(Send), decode(encode(params))) == request_


def test_an_answer_comes_back_as_it_was():
    answer = Receipt(id=b"\x01", states=["stored"])
    assert read_answer(Receipt, decode(encode(write_answer(answer)))) == answer


def test_an_answers_unknown_fields_are_ignored():
    assert read_answer(Receipt, {"id": b"", "of_the_future": 1}) == Receipt(id=b"")


@pytest.mark.parametrize("result", [None, [], {"id": "text"}, {}, {"id": b"", "states": "x"}])
def test_a_wrong_answer_is_refused(result):
    with pytest.raises(MeshError) as caught:
        read_answer(Receipt, result)
    assert caught.value.code == "bad_request"
