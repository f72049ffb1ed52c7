"""The link by which two devices of one person meet, and their frames: each opens once, in its turn, and for the other side."""

from dataclasses import replace

import pytest

from mesh_protocol.ids import MeshId
from mesh_protocol.keys import BadCiphertext
from mesh_protocol.meeting import MAX_CONTENT, MAX_LINK, MeetingLink, MeetingSeal, parse_meeting_link
from mesh_protocol.pae import BadEncoding

LINK = MeetingLink(MeshId(bytes(range(32))), "wss://broker.example.org:7443", bytes(range(32, 64)))
NONCE = bytes(24)


def sides(link: MeetingLink = LINK) -> tuple[MeetingSeal, MeetingSeal]:
    return MeetingSeal(link, "own"), MeetingSeal(link, "new")


def test_a_link_reads_as_it_was_written() -> None:
    assert parse_meeting_link(LINK.url()) == LINK
    assert LINK.url().startswith("mesh://link/1?m=")
    assert LINK.secret.hex() not in repr(LINK)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mesh://link/1",
        LINK.url() + "A",
        LINK.url()[:-1],
        LINK.url().replace("link/1", "join/1"),
        LINK.url().replace("wss", "%77ss"),
        LINK.url().replace("b=", "b=%ff"),
        LINK.url().replace("#", "&i=x#"),
        LINK.url()[:-1] + "_",
        LINK.url() + " " * MAX_LINK,
    ],
)
def test_what_is_not_exactly_such_a_link_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(BadEncoding) as caught:
        parse_meeting_link(text)
    assert LINK.url()[-20:] not in str(caught.value)


@pytest.mark.parametrize(("field", "value"), [("mesh_id", bytes(31)), ("secret", bytes(31)), ("broker_url", "ftp://x")])
def test_a_link_of_wrong_parts_cannot_be_made(field: str, value: object) -> None:
    with pytest.raises(BadEncoding):
        replace(LINK, **{field: value})  # type: ignore[arg-type]


def test_both_sides_have_the_key_of_the_secret_and_of_nothing_else() -> None:
    assert LINK.key().public == parse_meeting_link(LINK.url()).key().public
    assert replace(LINK, secret=bytes(32)).key().public != LINK.key().public


def test_frames_open_for_the_other_side_in_their_order() -> None:
    own, new = sides()
    for content in (b"", b"commitment", bytes(MAX_CONTENT)):
        assert own.open(new.seal(content, NONCE)) == content
        assert new.open(own.seal(content, NONCE)) == content


def test_a_frame_does_not_open_twice_nor_before_its_turn_nor_for_who_sent_it() -> None:
    own, new = sides()
    first, second = new.seal(b"one", NONCE), new.seal(b"two", NONCE)
    for wrong in (second, own.seal(b"mine", NONCE)):
        with pytest.raises(BadCiphertext):
            own.open(wrong)
    assert own.open(first) == b"one"
    with pytest.raises(BadCiphertext):
        own.open(first)
    assert own.open(second) == b"two", "what was refused took nobody's turn"
    with pytest.raises(BadCiphertext):
        new.open(first)


@pytest.mark.parametrize("place", [0, 23, 24, -1])
def test_a_changed_or_cut_frame_does_not_open(place: int) -> None:
    own, new = sides()
    frame = bytearray(new.seal(b"commitment", NONCE))
    for wrong in (bytes(frame[:-1]), bytes(frame[:39]), b"", bytes(frame) + b"x", bytes(2 * MAX_CONTENT)):
        with pytest.raises(BadCiphertext):
            own.open(wrong)
    frame[place] ^= 1
    with pytest.raises(BadCiphertext):
        own.open(bytes(frame))


@pytest.mark.parametrize("other", [replace(LINK, secret=bytes(32)), replace(LINK, mesh_id=MeshId(bytes(32)))])
def test_a_frame_of_another_link_does_not_open(other: MeetingLink) -> None:
    _, new = sides(other)
    with pytest.raises(BadCiphertext):
        sides()[0].open(new.seal(b"commitment", NONCE))


def test_too_much_for_one_frame_is_not_sealed() -> None:
    with pytest.raises(BadEncoding):
        sides()[0].seal(bytes(MAX_CONTENT + 1), NONCE)
