"""The closed list of codes: every one can be said, says what to do, and ends a command with a documented status."""

import re

import pytest

from mesh_protocol.wire.errors import CODES, FAILED, MeshError, RemoteError

EXITS = {1, 2, 65, 69, 75, 77, 78}
PLACE = re.compile(r"\{(\w+)\}")


@pytest.mark.parametrize("code", CODES)
def test_a_code_is_a_lower_case_name_with_a_text_and_a_documented_exit(code):
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", code)
    assert CODES[code].exit in EXITS
    assert CODES[code].text.strip()


@pytest.mark.parametrize("code", CODES)
def test_a_text_shows_every_place_it_is_given(code):
    places = PLACE.findall(CODES[code].text)
    error = MeshError(code, **{place: f"<{place}>" for place in places})
    for place in places:
        assert f"<{place}>" in error.message
    assert "{" not in error.message
    assert str(error) == f"{code}: {error.message}"
    assert error.exit == CODES[code].exit


@pytest.mark.parametrize("code", CODES)
def test_a_place_that_was_not_given_reads_as_a_dash(code):
    message = MeshError(code).message
    assert message.count("-") >= len(PLACE.findall(CODES[code].text))
    assert "{" not in message


@pytest.mark.parametrize("code", CODES)
def test_a_text_has_no_format_that_data_could_abuse(code):
    assert PLACE.sub("", CODES[code].text).count("{") == 0


def test_braces_in_the_data_stay_text():
    assert MeshError("not_allowed", why="{0.__class__} {code}").message == "{0.__class__} {code}"


def test_a_list_reads_as_its_elements():
    error = MeshError("unknown_recipient", target="bobb", candidates=["bob", "web", 3])
    assert error.message == "nobody here is called bobb; there are: bob, web, 3"
    assert error.data["candidates"] == ["bob", "web", 3]


def test_data_may_use_any_name():
    assert MeshError("not_found", code="x", self_="y", what="message", id="7").data["code"] == "x"


def test_an_undeclared_code_is_a_bug_and_says_so():
    with pytest.raises(KeyError):
        MeshError("no_such_code")


def test_an_error_from_the_wire_keeps_its_words():
    error = RemoteError("not_found", "there is no message 7", {"id": "7"})
    assert (str(error), error.exit) == ("not_found: there is no message 7", CODES["not_found"].exit)
    assert isinstance(error, MeshError)


def test_a_newer_peers_code_is_a_plain_failure_with_its_words():
    error = RemoteError("of_the_future", "do this instead", {})
    assert (error.message, error.exit) == ("do this instead", FAILED)
