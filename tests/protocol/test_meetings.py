"""Where two devices of one person meet: a link that is read back, and frames that open once, in order, for the other side."""

from dataclasses import replace

import pytest

from mesh_protocol.keys import BadCiphertext, BadEncoding
from mesh_protocol.meeting import MAX_CONTENT, MAX_FRAME, MAX_LINK, MeetingLink, MeetingSeal, parse_meeting_link
from mesh_samples import ELSEWHERE, HERE
from vectors_links import meeting

NONCES = [HERE.seed(f"meeting nonce {number}", 24) for number in range(4)]


def test_a_link_is_read_back_and_tells_its_secret_only_as_a_link():
    link = meeting()
    assert parse_meeting_link(link.url()) == link
    assert link.secret.hex() not in repr(link)
    assert (MAX_LINK, MAX_CONTENT, MAX_FRAME) == (1_024, 1_024, 1_064)


@pytest.mark.parametrize(
    "changed",
    [{"mesh_id": bytes(31)}, {"secret": bytes(31)}, {"secret": bytes(33)}, {"broker_url": "https://broker.example"}],
)
def test_a_link_of_other_parts_is_not_made(changed):
    with pytest.raises(BadEncoding):
        replace(meeting(), **changed)


def test_a_link_that_is_too_long_or_names_no_broker_is_refused():
    url = meeting().url()
    for wrong in (url + "A" * MAX_LINK, url.replace("%3A", "%FF"), url.replace("wss%3A", "")):
        with pytest.raises(BadEncoding):
            parse_meeting_link(wrong)


def test_the_longest_content_is_said_and_a_longer_one_is_not():
    own, new = MeetingSeal(meeting(), "own"), MeetingSeal(meeting(), "new")
    frame = own.seal(bytes(MAX_CONTENT), NONCES[0])
    assert len(frame) == MAX_FRAME
    assert new.open(frame) == bytes(MAX_CONTENT)
    with pytest.raises(BadEncoding):
        own.seal(bytes(MAX_CONTENT + 1), NONCES[1])
    with pytest.raises(BadCiphertext):
        new.open(own.seal(bytes(MAX_CONTENT), NONCES[1]) + b"\0")


def test_an_empty_content_is_said():
    own, new = MeetingSeal(meeting(), "own"), MeetingSeal(meeting(), "new")
    assert own.open(new.seal(b"", NONCES[0])) == b""


def test_frames_open_in_their_order_and_each_once():
    own, new = MeetingSeal(meeting(), "own"), MeetingSeal(meeting(), "new")
    first, second = own.seal(b"one", NONCES[0]), own.seal(b"two", NONCES[1])
    with pytest.raises(BadCiphertext):
        new.open(second)
    assert new.open(first) == b"one"
    with pytest.raises(BadCiphertext):
        new.open(first)
    assert new.open(second) == b"two"


def test_nobody_opens_his_own_frame_or_one_of_another_meeting():
    frame = MeetingSeal(meeting(), "own").seal(b"one", NONCES[0])
    other_mesh = MeetingLink(ELSEWHERE.mesh_id, meeting().broker_url, meeting().secret)
    other_secret = replace(meeting(), secret=HERE.seed("another meeting"))
    with pytest.raises(BadCiphertext):
        MeetingSeal(meeting(), "own").open(frame)
    for link in (other_mesh, other_secret):
        with pytest.raises(BadCiphertext):
            MeetingSeal(link, "new").open(frame)
    for size in range(40):
        with pytest.raises(BadCiphertext):
            MeetingSeal(meeting(), "new").open(frame[:size])
