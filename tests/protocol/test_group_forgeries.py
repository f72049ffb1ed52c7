"""What a recipient or an author of a message to many could try: every recipient knows its key, so no tag binds anything."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import group_reference as group
import mesh_reference
from group_samples import (
    FIELDS,
    NAMES,
    ROUTING,
    ByHand,
    address_of,
    body_of,
    entries_of,
    open_as,
    recipient,
    recipients,
)
from mesh_mutations import list_mutants
from mesh_protocol import pae
from mesh_protocol.group_envelope import seal_group
from mesh_protocol.hpke import open as hpke_open
from mesh_protocol.keys import BadCiphertext, BadEncoding, BadSignature, CryptoError, aead_open
from mesh_samples import HERE
from poly1305_collisions import retag, two_keys

GOOD = ByHand()
TEXT = b"the tests pass on my machine".ljust(96)
ROOMY = replace(GOOD, fields=(*FIELDS[:-1], TEXT))
"""A message whose content has a whole block to spare."""
START = len(mesh_reference.lst(*FIELDS[:-1], b""))
FREE = (START + 63) // 16 * 16
"""Where that block begins in the text: inside of the content, behind its words and the block that is counted up."""
LATER = ROUTING._replace(expires_ms=ROUTING.expires_ms + 1)


def aad_of(routing):
    return mesh_reference.pae("group-aad", group.VERSION, group.SUITE, *routing.fields())


def parts_of(hand):
    """(nonce, ciphertext without its tag, tag)."""
    nonce, ct = pae.unlst(hand.shared, max_items=2)
    return nonce, ct[:-16], ct[-16:]


def test_what_a_recipient_is_given_is_all_that_the_attacks_here_use():
    """Bob unwraps the key and the signature of the message, and can wrap both for whom he likes."""
    sealed = seal_group(HERE.message(), recipients(), HERE.key("alice"), GOOD.key, GOOD.nonce)
    to = address_of("bob")
    secret = hpke_open(HERE.prekey("bob"), group.info(ROUTING, sealed.shared, to), *GOOD.wrap(to))
    assert secret == GOOD.key + GOOD.signature
    assert open_as("carol", replace(GOOD, signature_as=secret[32:]).outer("carol")).hash == sealed.hash


@pytest.mark.parametrize("signer", ["his own", "the author's"])
@pytest.mark.parametrize(
    "change",
    [
        {"fields": (*FIELDS[:-1], b"the tests fail on my machine")},
        {"fields": (HERE.member("carol"), *FIELDS[1:])},
        {"fields": body_of(HERE, entries_of([*recipients(), recipient("alice")]))},
        {"fields": body_of(HERE, entries_of([recipient(name, 6, "*") for name in NAMES]))},
        {"nonce": bytes(24)},
        {"routing": ROUTING._replace(lane="now")},
        {"routing": LATER},
        {"routing": ROUTING._replace(msg_id=bytes(16))},
        {"fields": (*FIELDS[:-1], b"other"), "nonce": bytes(24), "routing": LATER._replace(lane="now")},
        {"key": HERE.seed("his key")},
        {"key": HERE.seed("his key"), "committed": GOOD.key},
    ],
    ids=["text", "member", "one more", "labels", "nonce", "lane", "expiry", "message", "all", "key", "key, committed"],
)
def test_a_recipient_who_seals_another_text_under_the_key_cannot_sign_it(change, signer):
    """He seals and wraps afresh for another recipient, all of it well-formed: only the signature is missing."""
    made = replace(GOOD, **change)
    forged = replace(made, signature_as=GOOD.signature) if signer == "the author's" else replace(made, signer="bob")
    assert (
        open_as("carol", replace(made, committed=None).outer("carol")).message.from_device == HERE.key("alice").public
    )
    with pytest.raises(BadSignature):
        open_as("carol", forged.outer("carol"))


@pytest.mark.parametrize("routing", [ROUTING._replace(lane="now"), LATER], ids=["lane", "expiry"])
def test_the_signature_alone_tells_that_lane_or_expiry_was_changed(routing):
    """Neither is in what a wrap is bound to: with the shared part as it was, the wrap opens, and the signature does not hold."""
    to, wrapped = address_of("carol"), GOOD.wrap(address_of("carol"))
    outer = group.outer(routing, GOOD.shared, to, wrapped)
    assert hpke_open(HERE.prekey("carol"), group.info(routing, GOOD.shared, to), *wrapped) == GOOD.secret
    with pytest.raises(BadSignature):
        open_as("carol", outer)


@pytest.mark.parametrize("routing", [ROUTING, ROUTING._replace(lane="now"), LATER], ids=["text", "lane", "expiry"])
def test_a_recipient_makes_another_text_with_the_same_nonce_and_tag_and_it_is_refused(routing):
    """Poly1305 with a known key: one free block makes the tag of another text, lane or expiry what the author's was."""
    nonce, _, tag = parts_of(ROOMY)
    other = (*FIELDS[:-1], TEXT.replace(b"pass", b"fail"))
    ct = parts_of(replace(ROOMY, fields=other, routing=routing))[1]
    forged = retag(ROOMY.key, nonce, aad_of(routing), ct, FREE, tag)
    shared = mesh_reference.lst(nonce, forged + tag)
    text = aead_open(ROOMY.key, nonce, aad_of(routing), forged + tag)
    assert text[START:].startswith(b"the tests fail on my machine")
    made = replace(ROOMY, routing=routing, shared_as=shared)
    assert (
        open_as("carol", made.outer("carol")).message.content[:28] == b"the tests fail on my machine"
    )  # had Alice signed it
    with pytest.raises(BadSignature):
        open_as("carol", replace(made, signature_as=ROOMY.signature).outer("carol"))


def test_a_ciphertext_that_opens_under_two_keys_is_one_message_under_the_key_that_is_signed():
    """The author makes it: the commitment ties the signature to one of the two keys, and so to one text."""
    second = HERE.seed("second key")
    nonce, ct, _ = parts_of(ROOMY)
    both = two_keys((ROOMY.key, second), nonce, aad_of(ROUTING), ct, FREE)
    one, other = (aead_open(key, nonce, aad_of(ROUTING), both) for key in (ROOMY.key, second))
    assert one != other
    made = replace(ROOMY, shared_as=mesh_reference.lst(nonce, both))
    assert open_as("bob", made.outer("bob")).message.content.startswith(b"the tests pass")
    with pytest.raises(BadSignature):
        open_as("carol", replace(made, key=second, committed=ROOMY.key).outer("carol"))
    # Whoever signs both has signed two messages: the hashes that their receipts name differ.
    assert group.signed(ROUTING, made.shared, second) != group.signed(ROUTING, made.shared, ROOMY.key)


def test_another_text_cannot_be_put_under_the_authors_ciphertext_with_another_key():
    """The signature refuses it before the ciphertext does; had the author signed that key, the ciphertext would."""
    made = replace(GOOD, key=HERE.seed("second key"), shared_as=GOOD.shared)
    with pytest.raises(BadSignature):
        open_as("carol", replace(made, signature_as=GOOD.signature).outer("carol"))
    with pytest.raises(BadCiphertext):
        open_as("carol", made.outer("carol"))


def test_a_recipient_who_wraps_it_again_for_one_on_the_list_delivers_the_same_message():
    """That is all he can do with it: the receiver knows it by sender and message id, and by its hash."""
    again = replace(GOOD, signature_as=GOOD.signature)
    assert open_as("carol", again.outer("carol", attempt=9)) == open_as("carol", GOOD.outer("carol"))


def test_a_recipient_who_wraps_it_for_one_who_is_not_on_the_list_is_found_out():
    made = replace(GOOD, fields=body_of(HERE, entries_of(recipients("bob"))))
    assert open_as("bob", made.outer("bob")).message.content == HERE.message().content
    with pytest.raises(BadEncoding, match="not on the message's list"):
        open_as("carol", made.outer("carol"))


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        (entries_of(recipients())[::-1], "in order"),
        ([*entries_of(recipients()), entries_of(recipients())[-1]], "twice"),
        ([], "number of recipients"),
        ([*entries_of(recipients("bob")), b"\xff" * 39], "cut off"),
        ([*entries_of(recipients("bob")), b"\xff" * 40], "2\\*\\*63"),
        ([*entries_of(recipients("bob")), b"\xff" * 32 + bytes(8) + b"\xff"], "UTF-8"),
        (sorted([*entries_of(recipients("bob")), group.entry(b"\xff" * 32, 1, "x" * 513)]), "label"),
        ([n.to_bytes(32, "big") + bytes(8) for n in range(2_049)], "more than 2048"),
    ],
    ids=["order", "twice", "none", "cut off", "number", "text", "label", "too many"],
)
def test_a_list_that_one_recipient_refuses_all_refuse(entries, why):
    """An author cannot have it read by some of them only, whatever he writes of the others."""
    made = replace(GOOD, fields=body_of(HERE, entries))
    for name in ("bob", "carol"):
        with pytest.raises(BadEncoding, match=why):
            open_as(name, made.outer(name))


def test_no_alteration_of_the_text_that_its_author_signs_is_read_as_the_same_message():
    good = open_as("bob", GOOD.outer())
    read = refused = 0
    for what, fields in list_mutants(list(FIELDS), []):
        if tuple(fields) == FIELDS:
            continue
        try:
            opened = open_as("bob", replace(GOOD, fields=tuple(fields)).outer())
        except CryptoError:
            refused += 1
        else:
            read += 1
            # The ninth field is the list: what it says of others is not in the message to Bob.
            assert opened.message != good.message or what.startswith("field 9 "), what
            assert opened.hash != good.hash
    assert read >= 10
    assert refused >= 100


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=256, max_size=256) | st.binary(max_size=200).map(lambda data: data.ljust(256, b"\0")))
def test_any_text_that_its_author_seals_and_signs_is_read_or_refused(padded):
    with pytest.raises(BadEncoding):
        open_as("bob", replace(GOOD, padded=padded).outer())


def test_a_padding_is_zero_and_of_its_bucket():
    text = mesh_reference.lst(*FIELDS)
    good = mesh_reference.padme(text)
    assert len(text) < len(good)
    for padded in (good[:-1] + b"\1", text + b"\1" + good[len(text) + 1 :], mesh_reference.padme(good + b"\0")):
        with pytest.raises(BadEncoding, match="padding"):
            open_as("bob", replace(GOOD, padded=padded).outer())


def test_a_signature_with_the_group_order_added_is_refused():
    order = 2**252 + 27742317777372353535851937790883648493
    s = int.from_bytes(GOOD.signature[32:], "little") + order
    with pytest.raises(BadSignature):
        open_as("bob", replace(GOOD, signature_as=GOOD.signature[:32] + s.to_bytes(32, "little")).outer())


def test_a_direct_messages_signature_is_none_for_many_and_the_other_way_round():
    """The label keeps them apart though the same key signs both."""
    covered = group.signed(ROUTING, GOOD.shared, GOOD.key)
    for label in sorted(pae.LABELS - {"group-sig"}):
        fields, _ = pae.split_pae(covered, "group-sig", 8)
        signature = HERE.key("alice").sign(pae.pae(label, *fields))
        with pytest.raises(BadSignature):
            open_as("bob", replace(GOOD, signature_as=signature).outer())
    assert open_as("bob", replace(GOOD, signature_as=HERE.key("alice").sign(covered)).outer())
