"""The daemon's own mail: bounces, voids, profiles. Sealed and kept as people's messages are, outside all streams, and shown to
nobody as progress."""

from mesh_protocol.ids import DeviceId, MsgId
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.store.outbox import LANES, DeliveryRow, MessageRow


def own_message(node: Node, mesh: Mesh, kind: str, lane: str, content: bytes, lifetime_ms: int) -> MessageRow:
    """A message of this daemon, not stored yet."""
    now = node.now()
    msg_id = MsgId(node.seams.rng(16))
    return MessageRow(
        msg_id=msg_id,
        mesh=mesh.id,
        kind=kind,
        scope="daemon",
        idem_key=None,
        fingerprint=b"",
        from_session="",
        origin="agent",
        lane=lane,
        reply_to=b"",
        conv=bytes(16),
        created_ms=now,
        expires_ms=now + lifetime_ms,
        content=node.seal("message", "content", msg_id, content),
    )


def own_delivery(mesh: Mesh, message: MessageRow, device: DeviceId) -> DeliveryRow:
    """Its way to one device, not sealed yet."""
    return DeliveryRow(
        msg_id=message.msg_id,
        device=device,
        mesh=mesh.id,
        member=mesh.state.devices[device].member_id,
        to_session="",
        path="mesh",
        lane=LANES.index(message.lane),
        stream_seq=0,
        attempt=0,
        envelope=None,
        message_hash=None,
        outer_hash=None,
        expires_ms=message.expires_ms,
        queued_ms=message.created_ms,
    )
