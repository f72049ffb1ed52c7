"""Invite links and join requests."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_protocol.invite import (
    MAX_JOIN_REQUEST,
    MAX_SIGNERS,
    InviteLink,
    SealedName,
    claimed_invite,
    invite_key,
    open_join_request,
    open_joiner_name,
    parse_link,
    seal_joiner_name,
    sign_join_request,
)
from mesh_protocol.keys import BadCiphertext, BadEncoding, BadPeerKey, BadSignature, sign_prekey
from mesh_protocol.pae import lst, pae, split_pae, unlst
from mesh_samples import ELSEWHERE, HERE, NOW_MS

B32 = st.binary(min_size=32, max_size=32)
URL = st.from_regex(r"wss?://[!-~]{1,60}", fullmatch=True)
INVITE = invite_key(HERE.seed("invite secret"))
CAROL = HERE.key("carol")


@given(B32, B32, URL, B32)
def test_a_link_is_read_back_as_it_was_written(mesh_id, invite_id, url, secret):
    link = InviteLink(mesh_id, invite_id, url, secret)
    assert parse_link(link.url()) == link


@given(st.integers(0, 400), st.integers(33, 126))
def test_no_altered_link_is_another_spelling_of_the_same(position, char):
    text = HERE.link.url()
    position %= len(text)
    altered = text[:position] + chr(char) + text[position + 1 :]
    if altered == text:
        return
    try:
        link = parse_link(altered)
    except BadEncoding:
        return
    assert link != HERE.link


@pytest.mark.parametrize("text", ["x" * 2_000_000, "mesh://join/1?" + "m=" * 100_000, "mesh://join/1?m=\0", "\ud800"])
def test_a_huge_or_odd_text_is_refused_at_once(text):
    with pytest.raises(BadEncoding):
        parse_link(text)


@pytest.mark.parametrize("inviter", ["cafe\u0301", "a b", "x" * 200])
def test_a_link_names_its_maker_as_names_are_written(inviter):
    with pytest.raises(BadEncoding):
        replace(HERE.link, inviter=inviter)


@pytest.mark.parametrize("part", ["b=%ff", "b=wss%3A%2F%2Fb&f=%ff"])
def test_what_is_no_text_names_neither_a_broker_nor_a_maker(part):
    text = HERE.link.url()
    start, _, rest = text.partition("b=")
    with pytest.raises(BadEncoding, match="ask for a new link"):
        parse_link(f"{start}{part}#{rest.partition('#')[2]}")


def test_a_needless_spelling_is_an_altered_link():
    with pytest.raises(BadEncoding, match="was altered"):
        parse_link(HERE.link.url().replace("%3A", "%3a", 1))


def test_a_refusal_does_not_repeat_the_secret():
    text = HERE.link.url()
    with pytest.raises(BadEncoding) as raised:
        parse_link(text + "x")
    assert text.split("#")[1] not in str(raised.value)


def test_a_link_prints_no_secret():
    assert repr(HERE.link.secret) not in repr(HERE.link)
    assert "secret" not in repr(HERE.link)


def test_a_link_names_a_broker_and_32_byte_ids():
    for change in ({"broker_url": "http://x"}, {"secret": bytes(31)}, {"mesh_id": b""}, {"invite_id": bytes(33)}):
        with pytest.raises(BadEncoding):
            replace(HERE.link, **change)
    with pytest.raises(BadEncoding):
        invite_key(bytes(16))


def request_bytes():
    return sign_join_request(HERE.join_request(), INVITE, CAROL)


def test_a_join_request_is_read_back_and_its_name_opens_for_the_signer():
    request = HERE.join_request()
    opened = open_join_request(sign_join_request(request, INVITE, CAROL), INVITE.public)
    assert opened == request
    assert open_joiner_name(opened, HERE.key("alice").public, HERE.prekey("alice")) == "carol"


def test_the_invite_a_request_claims_is_read_before_it_is_verified():
    assert claimed_invite(request_bytes()) == HERE.invite_id
    fields = unlst(request_bytes(), max_items=4)
    claims, _ = split_pae(fields[0], "join-request", 6)
    claims[1] = bytes(31)
    for data in (b"", bytes(MAX_JOIN_REQUEST + 1), lst(pae("join-request", *claims), *fields[1:])):
        with pytest.raises(BadEncoding):
            claimed_invite(data)


def test_a_joiners_name_opens_for_its_signer_request_and_prekey_only():
    request = HERE.join_request()
    alice = HERE.key("alice").public
    with pytest.raises(BadPeerKey):
        open_joiner_name(request, HERE.key("bob").public, HERE.prekey("bob"))
    for changed, prekey in (
        (request, HERE.prekey("bob")),
        (replace(request, device=HERE.key("dave").public), HERE.prekey("alice")),
        (replace(request, invite_id=bytes(32)), HERE.prekey("alice")),
        (replace(request, mesh_id=ELSEWHERE.mesh_id), HERE.prekey("alice")),
    ):
        with pytest.raises(BadCiphertext):
            open_joiner_name(changed, alice, prekey)


def test_a_request_needs_both_signatures():
    with pytest.raises(BadSignature):
        open_join_request(request_bytes(), HERE.key("alice").public)
    stranger = invite_key(bytes(32))
    with pytest.raises(BadSignature):
        open_join_request(sign_join_request(HERE.join_request(), stranger, CAROL), INVITE.public)


def test_a_request_is_signed_by_the_device_it_names_with_its_own_prekey():
    request = HERE.join_request()
    with pytest.raises(BadPeerKey):
        sign_join_request(request, INVITE, HERE.key("dave"))
    with pytest.raises(BadPeerKey):
        sign_join_request(replace(request, spk=HERE.spk("alice")), INVITE, CAROL)
    forged = replace(request.spk, sig=bytes(64))
    with pytest.raises(BadSignature):
        sign_join_request(replace(request, spk=forged), INVITE, CAROL)


@pytest.mark.parametrize(
    "prekey",
    [
        HERE.spk("alice"),
        sign_prekey(CAROL, ELSEWHERE.mesh_id, 7, HERE.prekey("carol").public, NOW_MS),
        replace(HERE.spk("carol"), sig=bytes(64)),
    ],
    ids=["another device's", "another mesh's", "forged"],
)
def test_a_request_with_a_prekey_that_is_not_the_joiners_is_refused_though_both_keys_signed_it(prekey):
    fields = unlst(request_bytes(), max_items=4)
    claims, _ = split_pae(fields[0], "join-request", 6)
    claims[3] = prekey.encode()
    signed = pae("join-request", *claims)
    with pytest.raises((BadPeerKey, BadSignature)):
        open_join_request(lst(signed, fields[1], INVITE.sign(signed), CAROL.sign(signed)), INVITE.public)


def test_a_request_names_mesh_invite_and_device_in_full():
    for change in ({"mesh_id": bytes(31)}, {"invite_id": b""}, {"device": bytes(33)}):
        with pytest.raises(BadEncoding):
            replace(HERE.join_request(), **change)


def test_a_request_names_each_signer_once_and_at_most_64():
    (name,) = HERE.join_request().sealed_names
    many = tuple(replace(name, signer=n.to_bytes(32, "big")) for n in range(MAX_SIGNERS + 1))
    for names in ((), (name, name), many):
        with pytest.raises(BadEncoding):
            HERE.join_request(names)
    most = sign_join_request(HERE.join_request(many[:-1]), INVITE, CAROL)
    assert len(most) < MAX_JOIN_REQUEST
    assert len(open_join_request(most, INVITE.public).sealed_names) == MAX_SIGNERS
    with pytest.raises(BadEncoding, match="above"):
        open_join_request(bytes(MAX_JOIN_REQUEST + 1), INVITE.public)


def test_nothing_is_sealed_for_another_meshs_prekey_or_a_bad_name():
    seal = (HERE.mesh_id, HERE.invite_id, CAROL.public)
    with pytest.raises(BadPeerKey):
        seal_joiner_name(*seal, "carol", ELSEWHERE.spk("alice"))
    with pytest.raises(BadEncoding):
        seal_joiner_name(*seal, "a\u202eb", HERE.spk("alice"))
    low = sign_prekey(HERE.key("alice"), HERE.mesh_id, 1, bytes(32), NOW_MS)
    with pytest.raises(BadPeerKey):
        seal_joiner_name(*seal, "carol", low)


def test_a_sealed_name_has_one_size():
    (name,) = HERE.join_request().sealed_names
    assert SealedName.decode(name.encode()) == name
    for change in ({"ct": name.ct[:-1]}, {"enc": bytes(31)}, {"signer": b""}, {"prekey_id": -1}):
        with pytest.raises(BadEncoding):
            replace(name, **change)
