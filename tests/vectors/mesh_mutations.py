"""Alterations of signed objects: flip, drop, duplicate, swap, truncate, extend, other label, other object's field."""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import mesh_reference
from group_samples import FIELDS, ROUTING, ByHand, open_as
from mesh_protocol import padding
from mesh_protocol.envelope import Outer, open_envelope, parse_outer, sign_message
from mesh_protocol.keys import CryptoError, aead_seal, hkdf
from mesh_protocol.live import open_live, peek_live
from mesh_protocol.pae import LABELS, lst, pae, u64
from mesh_samples import HERE
from mesh_targets import Target

Named = tuple[str, bytes]


def items_of(data: bytes) -> tuple[list[bytes], bytes]:
    """The items of the list or PAE at the start (a PAE's label is its first item), and the rest."""
    count = int.from_bytes(data[:8], "little")
    items, offset = [], 8
    for _ in range(count):
        size = int.from_bytes(data[offset : offset + 8], "little")
        items.append(data[offset + 8 : offset + 8 + size])
        offset += 8 + size
    return items, data[offset:]


def field_mutants(field: bytes, fields: list[bytes]) -> Iterator[Named]:
    """What one field may be turned into."""
    yield "emptied", b""
    yield "zeroed", bytes(len(field))
    yield "set to ff", b"\xff" * len(field)
    yield "cut by one", field[:-1]
    yield "cut in front", field[1:]
    yield "extended by NUL", field + b"\0"
    yield "extended in front", b"\0" + field
    yield "doubled", field + field
    yield "a number above the limit", u64(2**63 - 1)[:7] + b"\x80"
    for position in sorted({0, len(field) // 2, len(field) - 1}):
        if 0 <= position < len(field):
            for bit in (0, 7):
                flipped = bytearray(field)
                flipped[position] ^= 1 << bit
                yield f"bit {bit} of byte {position} flipped", bytes(flipped)
    for index, other in enumerate(fields):
        if other != field:
            yield f"replaced by field {index}", other


def list_mutants(items: list[bytes], others: list[list[bytes]]) -> Iterator[tuple[str, list[bytes]]]:
    """What a list of fields may be turned into; `others` are the fields of other valid objects of the kind."""
    for index, item in enumerate(items):
        for what, field in field_mutants(item, items):
            yield f"field {index} {what}", [*items[:index], field, *items[index + 1 :]]
        yield f"field {index} dropped", items[:index] + items[index + 1 :]
        yield f"field {index} duplicated", [*items[: index + 1], *items[index:]]
        if index:
            swapped = [*items[: index - 1], item, items[index - 1], *items[index + 1 :]]
            yield f"fields {index - 1} and {index} swapped", swapped
        for number, other in enumerate(others):
            if index < len(other) and other[index] != item:
                yield f"field {index} of object {number}", [*items[:index], other[index], *items[index + 1 :]]
    yield "an empty field appended", [*items, b""]
    yield "all fields joined", [b"".join(items)]


def mutants(target: Target) -> Iterator[Named]:
    """Named alterations of a target, in every field, with its signature kept, and of its signature."""
    items, rest = items_of(target.good)
    others = [items_of(data)[0] for data in (target.other, target.foreign)]
    for what, changed in list_mutants(items, others):
        yield what, lst(*changed) + rest
    for other in (target.other, target.foreign):
        yield "another object's tail", lst(*items) + items_of(other)[1]
    if not target.purpose:
        return
    for label in sorted(LABELS - {target.purpose}):
        yield f"labelled {label}", pae(label, *items[1:]) + rest
    if rest:
        yield "the signature's halves swapped", lst(*items) + rest[32:] + rest[:32]
        yield "a zero signature", lst(*items) + bytes(64)
        # Adding the group order to S gives the same equation; only a strict verifier refuses it.
        order = 2**252 + 27742317777372353535851937790883648493
        s = int.from_bytes(rest[32:], "little") + order
        yield "S plus the group order", lst(*items) + rest[:32] + s.to_bytes(32, "little")


def cross_mutants(target: Target, others: Mapping[str, Target]) -> Iterator[Named]:
    """Other objects in the place of this one, whole, under its label, and field by field where the sizes agree."""
    items, rest = items_of(target.good)
    for name, other in others.items():
        if other.good == target.good:
            continue
        yield f"the {name}", other.good
        fields, tail = items_of(other.good)
        if target.purpose:
            yield f"the {name} under this label", pae(target.purpose, *fields[1 if other.purpose else 0 :]) + tail
            if len(tail) == len(rest) > 0 and tail != rest:
                yield f"the signature of the {name}", lst(*items) + tail
        for at, item in enumerate(items):
            for index, field in enumerate(fields):
                if len(field) == len(item) and field != item:
                    yield f"field {at} as field {index} of the {name}", lst(*items[:at], field, *items[at + 1 :]) + rest


def random_mutant(source: random.Random, target: Target) -> bytes:
    """One to four random edits of bytes, sometimes with a piece of another valid object."""
    data = bytearray(target.good)
    for _ in range(source.randint(1, 4)):
        position = source.randrange(len(data)) if data else 0
        match source.randrange(5):
            case 0 if data:
                data[position] ^= 1 << source.randrange(8)
            case 1 if data:
                data[position] = source.randrange(256)
            case 2:
                del data[position : position + source.randint(1, 40)]
            case 3:
                data[position:position] = source.randbytes(source.randint(1, 40))
            case _:
                donor = source.choice([target.other, target.foreign, target.good])
                start = source.randrange(len(donor))
                piece = donor[start : start + source.randint(1, 100)]
                data[position : position + len(piece)] = piece
    return bytes(data)


def nested_messages(layer: str) -> Iterator[tuple[str, Callable[[bytes], None], bytes]]:
    """Altered signed bytes, sealed afresh with honest padding by a member who holds every key but the author's."""
    if layer == "message to many":
        for what, hand in _altered_by_hand():
            yield what, _open_group, hand.outer()
        return
    inner_of, seal, check = (
        (_message, _seal_message, _open_message) if layer == "message" else (_frame, _seal_frame, _open_frame)
    )
    good = inner_of()
    items, signature = items_of(good)
    for what, changed in list_mutants(items, []):
        data = lst(*changed) + signature
        if data != good:
            yield what, check, seal(padding.pad(data))
    for label in sorted(LABELS):
        data = pae(label, *items[1:]) + signature
        if data != good:
            yield f"labelled {label}", check, seal(padding.pad(data))
    for index in range(64):
        altered = bytearray(signature)
        altered[index] ^= 1 << (index % 8)
        yield f"byte {index} of the signature", check, seal(padding.pad(lst(*items) + altered))
    padded = padding.pad(good)
    yield "a bit in the padding", check, seal(padded[:-1] + b"\x01")
    yield "a bigger bucket", check, seal(padding.pad(padded + b"\0"))
    yield "no padding", check, seal(good)
    yield "cut before the signature", check, seal(padding.pad(lst(*items)))
    yield "nothing", check, seal(b"")


def _altered_by_hand() -> Iterator[tuple[str, ByHand]]:
    """A message to many, sealed and wrapped afresh with its signature by a recipient, who knows its key."""
    good = ByHand()
    kept = replace(good, signature_as=good.signature)
    for what, changed in list_mutants(list(FIELDS), []):
        if tuple(changed) != FIELDS:
            yield what, replace(kept, fields=tuple(changed))
    for index in range(64):
        altered = bytearray(good.signature)
        altered[index] ^= 1 << (index % 8)
        yield f"byte {index} of the signature", replace(good, signature_as=bytes(altered))
    for index in range(32):
        key = bytearray(good.key)
        key[index] ^= 1 << (index % 8)
        yield f"byte {index} of the key", replace(kept, key=bytes(key))
        yield f"byte {index} of the key, ciphertext kept", replace(kept, key=bytes(key), shared_as=good.shared)
    for name, value in {"mesh_id": bytes(32), "msg_id": bytes(16), "lane": "low", "expires_ms": 0}.items():
        routing = ROUTING._replace(**{name: value})
        yield f"another {name}", replace(kept, routing=routing)
        yield f"another {name}, ciphertext kept", replace(kept, routing=routing, shared_as=good.shared)
    text = padding.pad(lst(*FIELDS))
    for what, padded in {
        "a bit in the padding": text[:-1] + b"\1",
        "a bigger bucket": padding.pad(text + b"\0"),
    }.items():
        yield what, replace(kept, padded=padded)


def _open_group(data: bytes) -> None:
    open_as("bob", data)


def _message() -> bytes:
    return sign_message(HERE.message(), HERE.key("alice")).raw


def _seal_message(padded: bytes) -> bytes:
    message, spk = HERE.message(), HERE.spk("bob")
    routing = Outer(
        message.mesh_id,
        message.from_device,
        message.to_device,
        message.msg_id,
        1,
        message.lane,
        message.expires_ms,
        spk.prekey_id,
        bytes(32),
        bytes(256 + 16),
    )
    enc, ct = mesh_reference.hpke_seal(HERE.seed("ephemeral"), spk.pub, routing.info(spk.pub), padded)
    fields, _ = items_of(routing.encode())
    return lst(*fields[:-2], enc, ct)


def _open_message(data: bytes) -> None:
    open_envelope(parse_outer(data), HERE.prekey("bob"))


def _live_parts() -> tuple[bytes, tuple[bytes, ...]]:
    frame = HERE.live_frame
    routing = (b"\x01", b"\x01", frame.mesh_id, frame.device, u64(frame.epoch), frame.channel)
    return hkdf(HERE.seed("epoch 2"), pae("live-key", *routing)), routing


def _frame() -> bytes:
    frame = HERE.live_frame
    signed = pae(
        "live-sig",
        b"\x01",
        frame.mesh_id,
        frame.device,
        u64(frame.epoch),
        u64(frame.generation),
        u64(frame.n),
        frame.channel,
        frame.kind.encode(),
        u64(frame.created_ms),
        frame.tip.encode(),
        frame.content,
    )
    return signed + HERE.key("bob").sign(signed)


def _seal_frame(padded: bytes) -> bytes:
    key, routing = _live_parts()
    nonce = HERE.seed("live nonce", 24)
    return lst(*routing, nonce, aead_seal(key, nonce, b"", padded))


def _open_frame(data: bytes) -> None:
    if peek_live(data).device != HERE.live_frame.device:
        raise CryptoError("another device's frame")
    open_live(data, HERE.seed("epoch 2"))
