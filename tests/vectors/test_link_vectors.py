"""The frozen vectors of links that name an inviter, and of the meeting of two devices, read by the product and the reference."""

import json
from base64 import urlsafe_b64encode
from urllib.parse import quote

import pytest

import make_vectors
import mesh_reference as ref
from mesh_protocol.invite import parse_link
from mesh_protocol.meeting import MeetingSeal, parse_meeting_link
from mesh_protocol.pae import CryptoError
from vectors_links import meeting

H = bytes.fromhex
LINKS = json.loads((make_vectors.VECTORS / "links.json").read_text())


def rows(section):
    return pytest.mark.parametrize("row", LINKS[section], ids=range(len(LINKS[section])))


def b64(data):
    return urlsafe_b64encode(data).decode().rstrip("=")


@rows("invites")
def test_a_link_is_read_with_the_name_of_its_maker(row):
    link, shown = parse_link(row["url"]), row["decoded"]
    found = (link.mesh_id.hex(), link.invite_id.hex(), link.broker_url, link.secret.hex(), link.inviter)
    assert found == tuple(shown.values())
    where = f"m={b64(H(shown['mesh_id']))}&i={b64(H(shown['invite_id']))}&b={quote(shown['broker_url'], safe='')}"
    by = f"&f={quote(shown['inviter'], safe='')}" if shown["inviter"] else ""
    assert row["url"] == f"mesh://join/1?{where}{by}#{b64(H(shown['secret']))}"


@rows("meetings")
def test_a_meetings_link_is_read_and_gives_the_key(row):
    link, shown = parse_meeting_link(row["url"]), row["decoded"]
    assert (link.mesh_id.hex(), link.broker_url, link.secret.hex()) == tuple(shown.values())
    assert link.key().public == H(row["public"])
    assert ref.ed25519_public(ref.hkdf(H(shown["secret"]), ref.pae("meet-key"))) == H(row["public"])
    where = f"m={b64(H(shown['mesh_id']))}&b={quote(shown['broker_url'], safe='')}"
    assert row["url"] == f"mesh://link/1?{where}#{b64(H(shown['secret']))}"


def test_the_other_side_opens_every_frame_in_its_turn():
    link = meeting()
    for side in ("own", "new"):
        opening = MeetingSeal(link, "new" if side == "own" else "own")
        for row in LINKS["frames"]:
            if row["side"] == side:
                assert opening.open(H(row["hex"])) == H(row["content"])


@rows("frames")
def test_the_reference_makes_every_frame(row):
    secret, mesh_id = meeting().secret, meeting().mesh_id
    key = ref.hkdf(secret, ref.pae("meet-frame", mesh_id, row["side"].encode(), ref.u64(row["n"])))
    assert H(row["nonce"]) + ref.xchacha_seal(key, H(row["nonce"]), b"", H(row["content"])) == H(row["hex"])


@rows("invites_refused")
def test_an_altered_invite_is_refused(row):
    with pytest.raises(CryptoError):
        parse_link(row["url"])


@rows("meetings_refused")
def test_an_altered_link_to_a_meeting_is_refused(row):
    with pytest.raises(CryptoError):
        parse_meeting_link(row["url"])


@rows("frames_refused")
def test_another_frame_than_the_next_of_the_other_side_is_refused(row):
    with pytest.raises(CryptoError):
        MeetingSeal(meeting(), "own").open(H(row["hex"]))
