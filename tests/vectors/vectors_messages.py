"""Vectors of what devices say to each other: envelopes, receipts, bounces, live frames."""

import mesh_reference
from mesh_protocol import padding
from mesh_protocol.envelope import Kind, Lane, Message, Origin, Outer, outer_hash, sign_message
from mesh_protocol.live import LiveFrame, channel_id, seal_live
from mesh_protocol.receipt import Bounce, ReceiptRow, encode_receipts
from mesh_samples import DAY_MS, HERE, NOW_MS
from vectors_shown import MAX, Json, frame_json, message_json, row_json, spk_json


def envelope_row(name: str, message: Message, attempt: int) -> Json:
    signed = sign_message(message, HERE.key("alice"))
    spk = HERE.spk("bob")
    routing = Outer(
        message.mesh_id,
        message.from_device,
        message.to_device,
        message.msg_id,
        attempt,
        message.lane,
        message.expires_ms,
        spk.prekey_id,
        bytes(32),
        bytes(256 + 16),
    )
    ephemeral = HERE.seed("ephemeral envelope " + name)
    enc, ct = mesh_reference.hpke_seal(ephemeral, spk.pub, routing.info(spk.pub), padding.pad(signed.raw))
    outer = Outer(
        routing.mesh_id,
        routing.from_device,
        routing.to_device,
        routing.msg_id,
        attempt,
        routing.lane,
        routing.expires_ms,
        spk.prekey_id,
        enc,
        ct,
    ).encode()
    return {
        "name": name,
        "decoded": message_json(message),
        "attempt": attempt,
        "prekey_id": spk.prekey_id,
        "signer_seed": HERE.seed("alice").hex(),
        "prekey_private": HERE.seed("bob prekey").hex(),
        "ephemeral": ephemeral.hex(),
        "raw": signed.raw.hex(),
        "message_hash": signed.hash.hex(),
        "info": routing.info(spk.pub).hex(),
        "hex": outer.hex(),
        "outer_hash": outer_hash(outer).hex(),
    }


def make_envelope() -> Json:
    receipts = encode_receipts([HERE.receipt_row])
    rows = {
        "a text": (HERE.message(), 1),
        "a text, third attempt": (HERE.message(), 3),
        "empty content": (HERE.message(b""), 1),
        "a reply from a person, lane now": (
            HERE.message(
                "grüße 😀".encode(),
                origin=Origin.HUMAN.value,
                from_session="",
                to_session="",
                lane=Lane.NOW.value,
                reply_to=HERE.seed("earlier", 16),
            ),
            1,
        ),
        "a receipt, lane low": (
            HERE.message(receipts, kind=Kind.RECEIPT.value, lane=Lane.LOW.value, content_type=""),
            1,
        ),
        "a bounce": (HERE.message(HERE.bounce.encode(), kind=Kind.BOUNCE.value, content_type=""), 1),
        "an unknown kind": (HERE.message(b"\x00\x01", kind="from_the_future"), 1),
        "the greatest numbers": (
            HERE.message(b"x", stream_seq=MAX, created_ms=MAX, expires_ms=MAX, from_session="s" * 128),
            255,
        ),
        "nine kilobytes": (HERE.message(b"\x5a" * 9_000), 1),
    }
    return {"envelopes": [envelope_row(name, *row) for name, row in rows.items()]}


def make_receipt() -> Json:
    first = HERE.receipt_row
    states = ("stored", "shown", "turn_started", "held", "refused", "expired", "no_such_session")
    each = [
        ReceiptRow(first.msg_id, n, first.message_hash, state, "why" * (n % 2), "", "", NOW_MS + n, n)
        for n, state in enumerate(states)
    ]
    lists = {"one row": [first], "every state": each, "sixty-four rows": [first] * 64}
    reasons = ("unreadable", "removed", "too_large")
    bounces = [
        HERE.bounce,
        *(Bounce(first.msg_id, 2, HERE.seed("outer hash"), reason, None) for reason in reasons),
    ]
    return {
        "receipts": [
            {"name": name, "decoded": [row_json(row) for row in rows], "hex": encode_receipts(rows).hex()}
            for name, rows in lists.items()
        ],
        "bounces": [
            {
                "decoded": {
                    "msg_id": bounce.msg_id.hex(),
                    "attempt": bounce.attempt,
                    "outer_hash": bounce.outer_hash.hex(),
                    "reason": bounce.reason,
                    "spk": spk_json(bounce.spk) if bounce.spk else None,
                },
                "hex": bounce.encode().hex(),
            }
            for bounce in bounces
        ],
    }


def make_live() -> Json:
    first, gk = HERE.live_frame, HERE.seed("epoch 2")
    frames = {
        "presence": first,
        "empty, greatest numbers": LiveFrame(
            first.mesh_id, first.device, MAX, MAX, MAX, first.channel, "k" * 32, MAX, first.tip, b""
        ),
        "three kilobytes": LiveFrame(
            first.mesh_id, first.device, 2, 13, 0, first.channel, "stream", NOW_MS + DAY_MS, first.tip, b"z" * 3_000
        ),
    }
    names = ("presence", "", "stream/x", "ä")
    return {
        "channels": [{"gk": gk.hex(), "name": name, "id": channel_id(gk, name).hex()} for name in names],
        "frames": [
            {
                "name": name,
                "decoded": frame_json(frame),
                "gk": gk.hex(),
                "nonce": HERE.seed("live nonce", 24).hex(),
                "signer_seed": HERE.seed("bob").hex(),
                "hex": seal_live(frame, gk, HERE.key("bob"), HERE.seed("live nonce", 24)).hex(),
            }
            for name, frame in frames.items()
        ],
    }
