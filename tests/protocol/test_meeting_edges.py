"""Meetings at their edges: the longest frame, the empty one, links that are too long or name no broker, and secrets unsaid."""

import pytest

from mesh_protocol.keys import BadCiphertext, BadEncoding
from mesh_protocol.meeting import MAX_CONTENT, MAX_FRAME, MAX_LINK, MeetingSeal, parse_meeting_link
from mesh_samples import HERE
from vectors_links import meeting

NONCES = [HERE.seed(f"meeting nonce {number}", 24) for number in range(2)]


def test_a_link_tells_its_secret_only_as_a_link():
    link = meeting()
    assert repr(link.secret) not in repr(link)
    assert link.secret.hex() not in repr(link)
    assert (MAX_LINK, MAX_CONTENT, MAX_FRAME) == (1_024, 1_024, 1_064)


def test_a_link_that_is_too_long_or_names_no_broker_is_refused():
    url = meeting().url()
    for wrong in (url + "A" * MAX_LINK, url.replace("%3A", "%FF"), url.replace("wss%3A", "")):
        with pytest.raises(BadEncoding):
            parse_meeting_link(wrong)


def test_the_longest_and_the_shortest_content_are_said_and_nothing_longer():
    own, new = MeetingSeal(meeting(), "own"), MeetingSeal(meeting(), "new")
    assert own.open(new.seal(b"", NONCES[0])) == b""
    frame = own.seal(bytes(MAX_CONTENT), NONCES[0])
    assert len(frame) == MAX_FRAME
    assert new.open(frame) == bytes(MAX_CONTENT)
    with pytest.raises(BadEncoding):
        own.seal(bytes(MAX_CONTENT + 1), NONCES[1])
    with pytest.raises(BadCiphertext):
        new.open(own.seal(bytes(MAX_CONTENT), NONCES[1]) + b"\0")
