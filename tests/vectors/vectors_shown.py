"""Objects as JSON: what stands decoded beside the hex in a vector file."""

from collections.abc import Sequence
from dataclasses import fields

from mesh_protocol import chain
from mesh_protocol.chain import Record
from mesh_protocol.envelope import Message
from mesh_protocol.group_envelope import GroupRecipient
from mesh_protocol.invite import InviteLink
from mesh_protocol.keys import SignedPrekey
from mesh_protocol.live import LiveFrame
from mesh_protocol.receipt import ReceiptRow
from mesh_protocol.tip import TipRef

Json = dict[str, object]
MAX = 2**63 - 1


def tip_json(ref: TipRef) -> Json:
    return {
        "chain_seq": ref.chain_seq,
        "chain_hash": ref.chain_hash.hex(),
        "log_seq": ref.log_seq,
        "log_head": ref.log_head.hex(),
    }


def spk_json(spk: SignedPrekey) -> Json:
    return {
        "mesh_id": spk.mesh_id.hex(),
        "device": spk.device.hex(),
        "prekey_id": spk.prekey_id,
        "pub": spk.pub.hex(),
        "made_ms": spk.made_ms,
        "sig": spk.sig.hex(),
    }


def message_json(message: Message) -> Json:
    return {
        "mesh_id": message.mesh_id.hex(),
        "from_member": message.from_member.hex(),
        "from_device": message.from_device.hex(),
        "from_session": message.from_session,
        "origin": message.origin,
        "to_member": message.to_member.hex(),
        "to_device": message.to_device.hex(),
        "to_session": message.to_session,
        "msg_id": message.msg_id.hex(),
        "conv_id": message.conv_id.hex(),
        "stream_seq": message.stream_seq,
        "created_ms": message.created_ms,
        "expires_ms": message.expires_ms,
        "kind": message.kind,
        "lane": message.lane,
        "reply_to": message.reply_to.hex(),
        "tip": tip_json(message.tip),
        "content_type": message.content_type,
        "content": message.content.hex(),
    }


def group_json(message: Message, recipients: Sequence[GroupRecipient]) -> Json:
    """A message to many: what is different for each recipient stands in the list."""
    shown = message_json(message)
    for name in ("to_member", "to_device", "to_session", "stream_seq"):
        del shown[name]
    listed = [{"device": each.device.hex(), "stream_seq": each.stream_seq, "label": each.label} for each in recipients]
    return shown | {"recipients": listed}


def row_json(row: ReceiptRow) -> Json:
    return {
        "msg_id": row.msg_id.hex(),
        "attempt": row.attempt,
        "message_hash": row.message_hash.hex(),
        "state": row.state,
        "reason": row.reason,
        "session": row.session,
        "evidence": row.evidence,
        "at_ms": row.at_ms,
        "n": row.n,
    }


def body_json(record: Record) -> Json:
    body = chain.decode_body(record)
    out: Json = {}
    for field in fields(body):
        value = getattr(body, field.name)
        out[field.name] = value.hex() if isinstance(value, bytes) else value
    if isinstance(body, chain.Genesis):
        out["broker_urls"] = list(body.broker_urls)
    return out


def link_json(link: InviteLink) -> Json:
    return {
        "mesh_id": link.mesh_id.hex(),
        "invite_id": link.invite_id.hex(),
        "broker_url": link.broker_url,
        "secret": link.secret.hex(),
    }


def frame_json(frame: LiveFrame) -> Json:
    return {
        "mesh_id": frame.mesh_id.hex(),
        "device": frame.device.hex(),
        "epoch": frame.epoch,
        "generation": frame.generation,
        "n": frame.n,
        "channel": frame.channel.hex(),
        "kind": frame.kind,
        "created_ms": frame.created_ms,
        "tip": tip_json(frame.tip),
        "content": frame.content.hex(),
    }
