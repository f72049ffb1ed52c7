"""One message to many: what is sealed opens to the same for each recipient, and for nobody else."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from group_samples import FIELDS, NAMES, ByHand, address_of, envelopes, open_as, recipient, recipients, wrap_of
from mesh_protocol.envelope import MAX_ENVELOPE, MAX_LABEL, Kind, Lane, Origin
from mesh_protocol.fan import MAX_FAN, MAX_RECIPIENTS, MAX_SHARED, Fan, parse_fan, parse_group_outer
from mesh_protocol.group_envelope import GroupRecipient, GroupRef, open_group, seal_group, wrap_group
from mesh_protocol.hpke import seal as hpke_seal
from mesh_protocol.keys import (
    BadCiphertext,
    BadEncoding,
    BadPeerKey,
    BadSignature,
    PrekeyPrivate,
    SigningKey,
    sign_prekey,
)
from mesh_protocol.padding import bucket
from mesh_protocol.pae import lst
from mesh_protocol.wire.framing import MAX_BODY
from mesh_samples import ELSEWHERE, HERE, NOW_MS

EMPTY = len(lst(*FIELDS[:-1], b""))
"""Bytes of the text of a message without content."""
KEY, NONCE = HERE.seed("content key"), HERE.seed("group nonce", 24)
IDS16, NUMBERS, TEXT = st.binary(min_size=16, max_size=16), st.integers(0, 2**63 - 1), st.text(max_size=32)
CHANGES = st.fixed_dictionaries(
    {
        "from_member": IDS16,
        "from_session": TEXT,
        "origin": st.sampled_from([origin.value for origin in Origin]),
        "msg_id": IDS16,
        "conv_id": IDS16,
        "created_ms": NUMBERS,
        "expires_ms": NUMBERS,
        "kind": st.sampled_from([kind.value for kind in Kind]) | st.text(min_size=1, max_size=8),
        "lane": st.sampled_from([lane.value for lane in Lane]),
        "reply_to": st.just(b"") | IDS16,
        "content_type": TEXT,
        "content": st.binary(max_size=2_000),
    }
)
LISTS = st.dictionaries(st.sampled_from(NAMES), st.tuples(NUMBERS, TEXT), min_size=1)


def sealed(message=None, listed=None, key=KEY, nonce=NONCE):
    listed = recipients() if listed is None else listed
    return seal_group(message or HERE.message(), listed, HERE.key("alice"), key, nonce)


def fan_to(names, one, message=None, attempt=1):
    """The fan-out of a sealed message to the devices of `names`."""
    message = message or HERE.message()
    ref = GroupRef.of(message.mesh_id, message.from_device, message.msg_id, one.shared)
    wraps = sorted(wrap_group(ref, one.secret, attempt, HERE.spk(name)) for name in names)
    routing = (message.mesh_id, message.from_device, message.msg_id, message.lane, message.expires_ms)
    return Fan(*routing, one.shared, tuple(wraps))


def outer_to(name, one=None, message=None, attempt=1):
    fan = fan_to([name], one or sealed(message), message, attempt)
    return envelopes(fan)[HERE.key(name).public]


@settings(max_examples=60, deadline=None)
@given(CHANGES, LISTS, st.binary(min_size=32, max_size=32), st.binary(min_size=24, max_size=24), st.integers(0, 255))
def test_what_is_sealed_opens_to_the_same_for_each_recipient_and_for_no_other(changes, listed, key, nonce, attempt):
    message = HERE.message(**changes)
    one = sealed(message, [recipient(name, *entry) for name, entry in listed.items()], key, nonce)
    made = envelopes(parse_fan(fan_to(listed, one, message, attempt).encode()))
    assert len(made) == len(listed)
    for name, (stream_seq, label) in listed.items():
        device = HERE.key(name).public
        opened = open_as(name, made[device])
        own = {
            "to_device": device,
            "stream_seq": stream_seq,
            "to_session": label,
            "to_member": opened.message.to_member,
        }
        assert opened.message == replace(message, **own)
        assert opened.message.to_member == HERE.member("carol" if name == "carol" else "bob")
        assert opened.hash == one.hash
        for stranger in {*NAMES, "alice"} - {name}:
            with pytest.raises(BadCiphertext):
                open_as(stranger, made[device])


def test_what_the_product_seals_is_what_stands_in_the_description():
    by_hand = ByHand()
    assert sealed().shared == by_hand.shared
    assert sealed().secret == by_hand.secret


def test_the_order_in_which_recipients_are_given_changes_nothing():
    listed = recipients()
    for order in (listed[::-1], [listed[1], listed[2], listed[0]], tuple(listed)):
        assert sealed(listed=order) == sealed()


def test_a_second_attempt_carries_the_same_message():
    one = sealed()
    first, second = (outer_to("bob", one, attempt=n) for n in (1, 2))
    assert first != second
    assert open_as("bob", first) == open_as("bob", second)
    assert parse_group_outer(second).attempt == 2


def test_another_content_another_list_or_another_expiry_is_another_message():
    alone = sealed(listed=recipients("bob"))
    others = [sealed(HERE.message(b"other")), alone, sealed(HERE.message(expires_ms=1)), sealed(key=bytes(32))]
    assert len({each.hash for each in [sealed(), *others]}) == 5


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"mesh_id": ELSEWHERE.mesh_id}, BadCiphertext),
        ({"from_device": HERE.key("carol").public}, BadCiphertext),
        ({"to_device": HERE.key("carol").public}, BadCiphertext),
        ({"msg_id": bytes(16)}, BadCiphertext),
        ({"attempt": 2}, BadCiphertext),
        ({"prekey_id": 8}, BadCiphertext),
        ({"nonce": bytes(24)}, BadCiphertext),
        ({"ct": bytes(272)}, BadCiphertext),
        ({"enc": HERE.prekey("carol").public}, BadCiphertext),
        ({"enc": bytes(32)}, BadCiphertext),
        ({"wrapped": bytes(112)}, BadCiphertext),
        # No wrap is bound to these two, for they are the same for all: the signature is.
        ({"lane": "now"}, BadSignature),
        ({"expires_ms": HERE.message().expires_ms + 1}, BadSignature),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_broker_that_rewrites_what_it_routes_by_is_caught(change, error):
    outer = parse_group_outer(outer_to("bob"))
    assert open_group(outer, HERE.prekey("bob"), HERE.member("bob")).message.content == HERE.message().content
    with pytest.raises(error):
        open_group(replace(outer, **change), HERE.prekey("bob"), HERE.member("bob"))


def test_no_part_of_an_envelope_stands_in_for_another_ones():
    """Every field of every other envelope that the broker has seen: of the same message, another, another attempt."""
    one, text = sealed(), HERE.message(b"another text", msg_id=HERE.seed("another message", 16))
    other = sealed(text, key=HERE.seed("another key"), nonce=HERE.seed("another nonce", 24))
    good = parse_group_outer(outer_to("bob", one))
    donors = [
        outer_to("carol", one),
        outer_to("bob laptop", one),
        outer_to("bob", one, attempt=2),
        outer_to("bob", other, text),
        outer_to("carol", other, text, attempt=3),
    ]
    tried = 0
    for donor in map(parse_group_outer, donors):
        for name in good.__slots__:
            mixed = replace(good, **{name: getattr(donor, name)})
            if mixed != good:
                tried += 1
                with pytest.raises((BadCiphertext, BadSignature)):
                    open_group(mixed, HERE.prekey("bob"), HERE.member("bob"))
    assert tried >= 15


def test_a_wrap_is_for_one_message_one_device_and_one_prekey():
    """The parts that belong together, moved as a whole: what a broker could try with two fan-outs."""
    one, other = sealed(), sealed(HERE.message(b"another text"), nonce=HERE.seed("another nonce", 24))
    fan, second = fan_to(NAMES, one), fan_to(NAMES, other)
    for swapped in (replace(fan, wraps=second.wraps), replace(fan, shared=second.shared)):
        for device, outer in envelopes(swapped).items():
            name = next(each for each in NAMES if HERE.key(each).public == device)
            with pytest.raises(BadCiphertext):
                open_as(name, outer)
    bob, carol = (next(wrap for wrap in fan.wraps if wrap.to_device == HERE.key(name).public) for name in NAMES[::2])
    moved = replace(fan, wraps=(carol._replace(to_device=bob.to_device),))
    for prekey in (HERE.prekey("bob"), HERE.prekey("carol")):
        with pytest.raises(BadCiphertext):
            open_group(parse_group_outer(envelopes(moved)[bob.to_device]), prekey, HERE.member("bob"))


def test_a_device_that_is_not_on_the_list_refuses_what_it_can_unwrap():
    one = sealed(listed=recipients("bob"))
    assert open_as("bob", outer_to("bob", one)).hash == one.hash
    with pytest.raises(BadEncoding, match="not on the message's list"):
        open_as("carol", outer_to("carol", one))


def test_a_recipient_takes_an_envelope_for_the_member_it_is_itself():
    outer = parse_group_outer(outer_to("bob"))
    for member in (HERE.member("bob"), HERE.member("carol")):
        assert open_group(outer, HERE.prekey("bob"), member).message.to_member == member


@pytest.mark.parametrize(
    "listed",
    [
        [],
        [*recipients(), recipient("carol")],
        [recipient("carol", 1, "a"), recipient("carol", 2, "b")],
        [recipient("bob", 1, "ä" * (MAX_LABEL // 2) + "x")],
        [recipient("bob", -1)],
        [recipient("bob", 2**63)],
        [recipient("bob", 1, "\ud800")],
        [GroupRecipient(HERE.key("bob").public[:-1], 1, "")],
        [GroupRecipient(b"", 1, "")],
    ],
    ids=[
        "none",
        "twice",
        "twice with other fields",
        "label",
        "below 0",
        "above 2**63",
        "surrogate",
        "31 bytes",
        "empty",
    ],
)
def test_nothing_is_sealed_to_recipients_whom_nobody_would_accept(listed):
    with pytest.raises(BadEncoding):
        sealed(listed=listed)


def test_a_label_of_the_greatest_length_arrives():
    one = sealed(listed=[recipient("bob", 1, "ä" * (MAX_LABEL // 2))])
    assert open_as("bob", outer_to("bob", one)).message.to_session == "ä" * 256


def test_a_member_cannot_speak_for_another_device():
    with pytest.raises(BadPeerKey):
        seal_group(HERE.message(), recipients(), HERE.key("bob"), KEY, NONCE)


def test_nothing_is_wrapped_to_another_meshs_or_a_low_order_prekey():
    one, message = sealed(), HERE.message()
    ref = GroupRef.of(message.mesh_id, message.from_device, message.msg_id, one.shared)
    for bad in (ELSEWHERE.spk("bob"), sign_prekey(HERE.key("bob"), HERE.mesh_id, 1, bytes(32), NOW_MS)):
        with pytest.raises(BadPeerKey):
            wrap_group(ref, one.secret, 1, bad)


@pytest.mark.parametrize(("attempt", "size"), [(256, 96), (-1, 96), (1, 95), (1, 97), (1, 0)])
def test_nothing_is_wrapped_that_no_parser_takes(attempt, size):
    message = HERE.message()
    ref = GroupRef.of(message.mesh_id, message.from_device, message.msg_id, sealed().shared)
    with pytest.raises(BadEncoding):
        wrap_group(ref, bytes(size), attempt, HERE.spk("bob"))


@pytest.mark.parametrize(("key", "nonce"), [(bytes(31), NONCE), (KEY, bytes(12)), (b"", NONCE), (KEY, bytes(25))])
def test_a_key_or_a_nonce_of_another_size_is_refused(key, nonce):
    with pytest.raises(BadEncoding):
        sealed(key=key, nonce=nonce)


def test_two_thousand_and_forty_eight_recipients_each_open_their_envelope():
    seeds = [HERE.seed(f"many {n}") for n in range(MAX_RECIPIENTS)]
    devices = [SigningKey.from_seed(seed) for seed in seeds]
    listed = [GroupRecipient(device.public, n, "") for n, device in enumerate(devices)]
    one = sealed(listed=listed)
    message = HERE.message()
    ref = GroupRef.of(message.mesh_id, message.from_device, message.msg_id, one.shared)
    prekeys = {device.public: PrekeyPrivate.from_seed(seed) for device, seed in zip(devices, seeds, strict=True)}
    spks = [sign_prekey(each, HERE.mesh_id, 1, prekeys[each.public].public, NOW_MS) for each in devices]
    wraps = tuple(sorted(wrap_group(ref, one.secret, 1, spk) for spk in spks))
    routing = (message.mesh_id, message.from_device, message.msg_id, message.lane, message.expires_ms)
    data = Fan(*routing, one.shared, wraps).encode()
    assert len(data) <= MAX_FAN
    made = envelopes(parse_fan(data))
    assert made.keys() == prekeys.keys()
    numbers = {each.device: each.stream_seq for each in listed}
    for device in sorted(made)[::256] + sorted(made)[-1:]:
        opened = open_group(parse_group_outer(made[device]), prekeys[device], HERE.member("bob"))
        assert (opened.hash, opened.message.stream_seq) == (one.hash, numbers[device])
    with pytest.raises(BadEncoding, match="number of recipients"):
        sealed(listed=[*listed, recipient("bob")])


def test_a_message_grows_until_its_envelope_is_full_and_no_further():
    """The greatest shared part still leaves room for what else stands in a recipient's envelope."""
    greatest = 63 * 4_096 - EMPTY  # Padmé's last bucket that a shared part has room for
    message = HERE.message(bytes(greatest))
    one = sealed(message)
    assert MAX_SHARED - 4_096 < len(one.shared) <= MAX_SHARED
    assert len(outer_to("bob", one, message)) <= MAX_ENVELOPE
    assert len(fan_to(NAMES, one, message).encode()) <= MAX_FAN <= MAX_BODY
    assert open_as("bob", outer_to("bob", one, message)).message.content == message.content
    with pytest.raises(BadEncoding, match="larger than an envelope may be"):
        sealed(HERE.message(bytes(greatest + 1)))


def test_the_size_of_an_envelope_tells_the_bucket_only():
    sizes = [len(sealed(HERE.message(bytes(n))).shared) for n in range(100)]
    assert sizes == [bucket(EMPTY + n) + 64 for n in range(100)]
    assert len(set(sizes)) <= 8


def test_nothing_prints_the_secret_or_the_content():
    message = HERE.message(b"a private matter")
    one = sealed(message)
    assert repr(one) == f"SealedGroup(hash={one.hash!r})"
    opened = open_as("bob", outer_to("bob", one, message))
    for shown in (repr(fan_to(NAMES, one, message)), repr(parse_group_outer(outer_to("bob", one))), repr(opened)):
        assert "private" not in shown
        assert repr(one.secret)[2:-1] not in shown
        assert repr(KEY)[2:-1] not in shown


def test_a_secret_of_another_size_is_refused_by_its_shape_alone():
    """Whatever HPKE opens to, an envelope has room for exactly a key and a signature."""
    by_hand = ByHand()
    to = address_of("bob")
    enc, ct = hpke_seal(to.prekey, b"", bytes(95))
    with pytest.raises(BadEncoding, match="wrapped key"):
        replace(parse_group_outer(by_hand.outer()), enc=enc, wrapped=ct)
    assert len(wrap_of(to, by_hand.wrap(to)).wrapped) == 112
