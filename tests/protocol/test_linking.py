"""Linking a device by four words: the same on both sides, another for whoever stands between, each step once."""

import random
from dataclasses import replace

import pytest

from mesh_protocol.keys import BadEncoding, BadPeerKey, BadSignature
from mesh_protocol.linking import BadLink, LinkReveal, NewDevice, OwnDevice
from mesh_protocol.words import WORDS, from_words, to_words
from mesh_samples import ELSEWHERE, HERE, Samples

BOB = HERE.key("bob").public


def reveal(name: str = "bob phone", samples: Samples = HERE, nonce: str = "link nonce") -> LinkReveal:
    return LinkReveal(samples.mesh_id, samples.key(name).public, samples.spk(name), samples.seed(nonce))


def own(nonce: str = "own nonce") -> OwnDevice:
    return OwnDevice(HERE.mesh_id, BOB, HERE.seed(nonce))


def test_both_sides_show_the_same_four_words():
    new, old = NewDevice(reveal()), own()
    nonce = old.answer(new.begin())
    data, words = new.answer(BOB, nonce)
    shown, same = old.confirm(data)
    assert shown == reveal()
    assert words == same
    assert len(words) == 4
    assert set(words) <= set(WORDS)


def test_whoever_stands_between_shows_two_different_sets_of_words():
    new, old = NewDevice(reveal()), own()
    mallory, false_nonce = reveal("mallory", nonce="mallory's nonce"), HERE.seed("mallory's answer")
    # Mallory must give each side his part before he sees that side's nonce.
    nonce = old.answer(mallory.commitment())
    _, words_of_new = new.answer(HERE.key("mallory").public, false_nonce)
    _, words_of_old = old.confirm(mallory.encode())
    assert words_of_new != words_of_old
    assert mallory.words(BOB, nonce) == words_of_old


def test_what_was_not_committed_to_is_refused():
    for other in (reveal("mallory"), reveal(nonce="another nonce"), replace(reveal(), spk=HERE.spk("bob phone", 8))):
        old = own()
        old.answer(reveal().commitment())
        with pytest.raises(BadLink, match="not the one that asked"):
            old.confirm(other.encode())


def test_a_device_of_another_mesh_is_refused():
    foreign = reveal(samples=ELSEWHERE)
    old = own()
    old.answer(foreign.commitment())
    with pytest.raises(BadLink, match="not the one that asked"):
        old.confirm(foreign.encode())


def test_each_step_is_taken_once_and_in_its_turn():
    with pytest.raises(BadLink, match="out of turn"):
        own().confirm(reveal().encode())
    old = own()
    old.answer(reveal().commitment())
    with pytest.raises(BadLink, match="second device"):
        old.answer(reveal().commitment())
    old.confirm(reveal().encode())
    with pytest.raises(BadLink, match="out of turn"):
        old.confirm(reveal().encode())
    new = NewDevice(reveal())
    new.answer(BOB, bytes(32))
    with pytest.raises(BadLink, match="twice"):
        new.answer(BOB, bytes(32))


def test_a_bad_reveal_ends_the_attempt():
    old = own()
    old.answer(reveal().commitment())
    with pytest.raises(BadEncoding):
        old.confirm(b"")
    with pytest.raises(BadLink, match="out of turn"):
        old.confirm(reveal().encode())


def test_sizes_are_checked_before_anything_is_used_up():
    new, old = NewDevice(reveal()), own()
    for call in (
        lambda: old.answer(bytes(31)),
        lambda: new.answer(BOB[:31], bytes(32)),
        lambda: new.answer(BOB, bytes(33)),
        lambda: OwnDevice(HERE.mesh_id, BOB, bytes(31)),
    ):
        with pytest.raises(BadEncoding):
            call()
    old.answer(bytes(32))
    new.answer(BOB, bytes(32))


def test_a_reveal_holds_a_prekey_of_its_own_device_and_mesh():
    good = reveal()
    assert LinkReveal.decode(good.encode()) == good
    for spk in (HERE.spk("bob"), ELSEWHERE.spk("bob phone")):
        with pytest.raises(BadPeerKey):
            replace(good, spk=spk)
    with pytest.raises(BadSignature):
        replace(good, spk=replace(good.spk, sig=bytes(64)))
    for wrong in ({"nonce": bytes(31)}, {"mesh_id": bytes(31)}, {"device": bytes(31)}):
        with pytest.raises(BadEncoding):
            replace(good, **wrong)


def test_every_part_changes_commitment_and_words():
    good = reveal()
    others = [reveal("mallory"), reveal(nonce="another"), replace(good, spk=HERE.spk("bob phone", 8))]
    assert len({each.commitment() for each in [good, *others]}) == 4
    words = {each.words(BOB, bytes(32)) for each in [good, *others]}
    words |= {good.words(HERE.key("alice").public, bytes(32)), good.words(BOB, bytes(31) + b"\1")}
    assert len(words) == 6


def test_words_and_bytes_are_each_others():
    assert len(set(WORDS)) == 256
    assert list(WORDS) == sorted(WORDS)
    assert all(word.isascii() and word.islower() and word.isalpha() for word in WORDS)
    data = random.Random(1).randbytes(64)
    assert from_words(" ".join(to_words(data))) == data
    assert from_words("  ZULU\n Aardvark ") == b"\xff\x00"
    assert from_words("") == b""
    with pytest.raises(BadEncoding, match="compare"):
        from_words("zulu aardvarks")
