"""Receipts: gathered for each sender's device, sealed once, sent, and dropped when the broker has them.

A receipt row is written in the transaction of the fact it states, so none is lost; its envelope need not be kept,
because a receipt sealed twice merges to the same fact.
"""

from itertools import groupby
from typing import Final

from mesh_protocol.envelope import SignedMessage
from mesh_protocol.ids import DeviceId, MsgId
from mesh_protocol.receipt import ReceiptRow, decode_receipts, encode_receipts
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.sealing import seal_note
from meshd.store.inbox import ReceiptDue
from meshd.store.outbox import ReceiptFact

MAX_ROWS: Final = 64


def gather(due: list[ReceiptDue]) -> list[tuple[DeviceId, list[ReceiptDue]]]:
    """Receipts owed, by device and in order, at most 64 in a group."""
    groups: list[tuple[DeviceId, list[ReceiptDue]]] = []
    for device, rows in groupby(sorted(due, key=lambda r: (r.device, r.id)), key=lambda r: r.device):
        whole = list(rows)
        groups.extend((device, whole[i : i + MAX_ROWS]) for i in range(0, len(whole), MAX_ROWS))
    return groups


def seal_receipts(node: Node, mesh: Mesh, device: DeviceId, rows: list[ReceiptDue]) -> bytes:
    """One envelope that tells `device` how far its messages got. Needs its prekey."""
    content = encode_receipts(
        [
            ReceiptRow(
                msg_id=row.msg_id,
                attempt=row.attempt,
                message_hash=row.message_hash,
                state=row.state,
                reason=row.reason,
                session=row.session,
                evidence=row.evidence,
                at_ms=row.at_ms,
                n=row.n,
            )
            for row in rows
        ]
    )
    expires = max(row.expires_ms for row in rows)
    return seal_note(node, mesh, mesh.peer_prekeys[device], "receipt", content, expires, MsgId(node.seams.rng(16)))


def read_facts(signed: SignedMessage) -> list[ReceiptFact]:
    """What a verified receipt message states. Raises `CryptoError`."""
    return [
        ReceiptFact(
            msg_id=row.msg_id,
            message_hash=row.message_hash,
            state=row.state,
            reason=row.reason,
            session=row.session,
            evidence=row.evidence,
            at_ms=row.at_ms,
            n=row.n,
        )
        for row in decode_receipts(signed.message.content)
    ]
