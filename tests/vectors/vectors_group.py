"""Vectors of one message to many: the fan-out, each recipient's envelope, and what is refused though it is sealed well."""

from collections.abc import Sequence
from dataclasses import replace

import group_reference as group
import mesh_reference
from group_reference import Routing
from group_samples import (
    NAMES,
    ByHand,
    address_of,
    body_of,
    entries_of,
    envelopes,
    recipient,
    recipients,
    wrap_of,
)
from mesh_protocol.envelope import MAX_LABEL, Kind, Lane, Message, Origin, outer_hash
from mesh_protocol.fan import Fan
from mesh_protocol.group_envelope import GroupRecipient, seal_group
from mesh_samples import HERE
from vectors_shown import MAX, Json, group_json

TWELVE = tuple(f"device {n}" for n in range(12))


def group_row(
    name: str, message: Message, listed: Sequence[GroupRecipient], attempts: dict[str, int], prekey_id: int = 7
) -> Json:
    """One message, and the fan-out to the devices of `attempts`."""
    content_key, nonce = HERE.seed("content key " + name), HERE.seed("group nonce " + name, 24)
    sealed = seal_group(message, listed, HERE.key("alice"), content_key, nonce)
    routing = Routing(message.mesh_id, message.from_device, message.msg_id, message.lane, message.expires_ms)
    wraps, rows = [], {}
    for device, attempt in attempts.items():
        to, ephemeral = address_of(device, attempt, prekey_id), HERE.seed(f"ephemeral group {name} {device}")
        wrap = wrap_of(to, group.wrap(routing, sealed.shared, sealed.secret, to, ephemeral))
        wraps.append(wrap)
        rows[wrap.to_device] = {
            "to_device": wrap.to_device.hex(),
            "attempt": attempt,
            "prekey_id": prekey_id,
            "prekey_private": HERE.seed(device + " prekey").hex(),
            "ephemeral": ephemeral.hex(),
            "info": group.info(routing, sealed.shared, to).hex(),
            "enc": wrap.enc.hex(),
            "wrapped": wrap.wrapped.hex(),
        }
    fan = Fan(
        message.mesh_id,
        message.from_device,
        message.msg_id,
        message.lane,
        message.expires_ms,
        sealed.shared,
        tuple(sorted(wraps)),
    )
    for device_id, outer in envelopes(fan).items():
        rows[device_id] |= {"outer": outer.hex(), "outer_hash": outer_hash(outer).hex()}
    return {
        "name": name,
        "decoded": group_json(message, sorted(listed)),
        "signer_seed": HERE.seed("alice").hex(),
        "content_key": content_key.hex(),
        "nonce": nonce.hex(),
        "signed": group.signed(routing, sealed.shared, content_key).hex(),
        "secret": sealed.secret.hex(),
        "shared": sealed.shared.hex(),
        "message_hash": sealed.hash.hex(),
        "wraps": [rows[wrap.to_device] for wrap in fan.wraps],
        "fan": fan.encode().hex(),
    }


def make_group() -> Json:
    first = dict.fromkeys(NAMES, 1)
    greatest = HERE.message(b"x", created_ms=MAX, expires_ms=MAX, from_session="s" * 128)
    person = HERE.message(
        "grüße 😀".encode(),
        origin=Origin.HUMAN.value,
        from_session="",
        lane=Lane.NOW.value,
        reply_to=HERE.seed("earlier", 16),
    )
    low = HERE.message(b"", lane=Lane.LOW.value, content_type="", kind=Kind.PROFILE.value)
    return {
        "messages": [
            group_row("three devices", HERE.message(), recipients(), first),
            group_row("one device", HERE.message(), recipients("bob"), {"bob": 1}),
            group_row("once more, for one of them", HERE.message(), recipients(), {"bob laptop": 2}, 8),
            group_row("a person to everyone", person, [recipient(each, 1, "*") for each in NAMES], first),
            group_row("empty content, lane low", low, [recipient(each, 0, "") for each in NAMES], first),
            group_row("the greatest numbers", greatest, [recipient("bob", MAX, "ä" * (MAX_LABEL // 2))], {"bob": 255}),
            group_row("twelve devices", HERE.message(), recipients(*TWELVE), dict.fromkeys(TWELVE, 1)),
            group_row("nine kilobytes", HERE.message(b"\x5a" * 9_000), recipients("carol"), {"carol": 1}),
        ]
    }


def refused_envelopes() -> list[Json]:
    """Envelopes to Bob that a parser takes and that open under his prekey, but must be refused."""
    good, listed = ByHand(), recipients()
    entries = entries_of(listed)
    of_ours = mesh_reference.padme(mesh_reference.lst(*good.fields))
    later = good.routing._replace(expires_ms=good.routing.expires_ms + 1)
    other_text = (*good.fields[:-1], b"the tests fail on my machine")
    with_entries = {
        "recipients out of order": entries[::-1],
        "a recipient twice": [*entries[:2], entries[1], entries[2]],
        "the recipient himself is not on the list": entries_of(recipients("carol", "bob laptop")),
        "no recipients": [],
        "another recipient's label of 513 bytes": entries_of([*recipients("bob"), recipient("carol", 1, "x" * 513)]),
        "another recipient cut off": sorted([*entries_of(recipients("bob")), b"\xff" * 39]),
    }
    by_hand = {why: replace(good, fields=body_of(HERE, changed)) for why, changed in with_entries.items()} | {
        "a field more in the text": replace(good, fields=(*good.fields, b"")),
        "a field less in the text": replace(good, fields=good.fields[:-1]),
        "a bit in the padding": replace(good, padded=of_ours[:-1] + b"\x01"),
        "a bigger bucket": replace(good, padded=mesh_reference.padme(of_ours + b"\0")),
        "signed by a recipient": replace(good, signer="carol"),
        "another text under the same key and signature": replace(good, fields=other_text, signature_as=good.signature),
        "another text under the same key, signed by a recipient": replace(good, fields=other_text, signer="carol"),
        "another expiry, wrapped afresh": replace(good, routing=later, aad=good.routing, covered=good.routing),
        "another expiry, sealed and wrapped afresh": replace(good, routing=later, signature_as=good.signature),
        "an expiry that is signed, but not the one it is sealed with": replace(good, aad=later),
        "a commitment to another key": replace(good, committed=HERE.seed("another content key")),
        "another key, wrapped with the signature": replace(
            good, key=HERE.seed("another content key"), shared_as=good.shared, signature_as=good.signature
        ),
        "a wrap of another message": replace(good, bound=replace(good, fields=other_text).shared),
    }
    rows = {why: hand.outer() for why, hand in by_hand.items()}
    to_bob, wrapped = address_of("bob"), good.wrap(address_of("bob"))
    for why, to in {
        "the wrap of another attempt": to_bob._replace(attempt=2),
        "the wrap of another prekey": to_bob._replace(prekey_id=8),
        "the wrap of another device": to_bob._replace(device=address_of("carol").device),
    }.items():
        rows[why] = group.outer(good.routing, good.shared, to, wrapped)
    return [{"why": why, "hex": outer.hex()} for why, outer in rows.items()]


def refused_fans() -> list[Json]:
    """Fan-outs that a broker must refuse before it keeps anything of them."""
    good = ByHand()
    shared, addresses = good.shared, sorted(address_of(name) for name in NAMES)
    items = [group.wrap_item(to, good.wrap(to)) for to in addresses]
    to, wrapped = addresses[0], good.wrap(addresses[0])

    def made(wraps: list[bytes], shared: bytes = shared, routing: Routing = good.routing) -> bytes:
        return group.fan(routing, shared, wraps)

    fans = {
        "no recipient": made([]),
        "recipients out of order": made(items[::-1]),
        "a recipient twice": made([items[0], *items]),
        "a byte after a wrap": made([items[0] + b"\0", *items[1:]]),
        "a wrapped key cut by a byte": made([group.wrap_item(to, wrapped._replace(ct=wrapped.ct[:-1]))]),
        "an encapsulated key of 31 bytes": made([group.wrap_item(to, wrapped._replace(enc=wrapped.enc[:-1]))]),
        "attempt 256": made([group.wrap_item(to._replace(attempt=256), wrapped)]),
        "a device of 31 bytes": made([group.wrap_item(to._replace(device=to.device[:-1]), wrapped)]),
        "a byte after the shared part": made(items, shared + b"\0"),
        "a ciphertext of a size that no padding gives": made(items, mesh_reference.lst(bytes(24), bytes(273))),
        "a nonce of 23 bytes": made(items, mesh_reference.lst(bytes(23), bytes(272))),
        "an unknown lane": made(items, routing=good.routing._replace(lane="later")),
        "a message id of 15 bytes": made(items, routing=good.routing._replace(msg_id=bytes(15))),
        "version 1": made(items).replace(b"\x02", b"\x01", 1),
        "one recipient's envelope": good.outer(),
    }
    return [{"why": why, "hex": data.hex()} for why, data in fans.items()]
