"""Telling a recipient that numbers of the stream to it are no loss: their messages were cancelled or expired here before
the broker took them. What the broker had accepted needs none: it comes, or its absence is worth an alarm.

A void is a message of kind `void` in the outbox, in the commit that ends the messages; outside all streams, never
receipted, and forgotten once the broker has it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final, NamedTuple

import apsw

from mesh_protocol.envelope import SignedMessage
from mesh_protocol.ids import DeviceId, MeshId, MsgId
from mesh_protocol.keys import CryptoError
from mesh_protocol.void import MAX_NUMBERS, decode_void, encode_void
from meshd.log import Id, get_logger
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.ownmail import own_delivery, own_message
from meshd.sendqueue import SendQueue
from meshd.store import voids as store
from meshd.store.meshes import set_stream_got
from meshd.store.outbox import DeliveryRow, MessageRow, add_message
from meshd.store.voids import GivenUp

log = get_logger("voids")

LIFETIME_MS: Final = 30 * 24 * 3600 * 1000
"""As long as a message waits to be stored: a recipient that is away for longer has forgotten the numbers before."""
LANE: Final = "now"
"""It is small, and the sooner it comes the sooner nobody worries."""


class Void(NamedTuple):
    """One void that is ready to be stored."""

    message: MessageRow
    delivery: DeliveryRow


@dataclass(slots=True, eq=False)
class Voids:
    """`queue` gives what drains to a mesh's broker."""

    node: Node
    queue: Callable[[MeshId], SendQueue]
    _kept: list[MsgId] = field(default_factory=list)

    def restore(self) -> None:
        """Remember the voids of an earlier life, to forget them when they are done."""
        self._kept = store.void_messages(self.node.db.reader)

    def prepare(self, numbers: Iterable[GivenUp]) -> list[Void]:
        """Voids for `numbers`; none for devices that left their mesh. To be stored in the commit that gives them up."""
        made: list[Void] = []
        for (mesh_id, device), group in groupby(sorted(set(numbers)), key=lambda each: (each.mesh, each.device)):
            mesh = self.node.meshes.get(mesh_id)
            if mesh is None or not mesh.active or not mesh.state.is_active(device):
                continue
            risen = [each.number for each in group]
            made += [
                self._make(mesh, device, risen[start : start + MAX_NUMBERS])
                for start in range(0, len(risen), MAX_NUMBERS)
            ]
        return made

    def stored(self, voids: Sequence[Void]) -> None:
        """They are on the disk: from here on they go out."""
        for void in voids:
            self._kept.append(void.message.msg_id)
            self.queue(void.message.mesh).offer([void.delivery])

    def forget(self, tx: apsw.Connection) -> Callable[[], None]:
        """Drop what the broker has. Returns what is to be called once that is committed."""
        kept = tuple(self._kept)
        left = store.forget_voids(tx, kept)

        def committed() -> None:
            gone = set(kept) - set(left)
            self._kept = [msg_id for msg_id in self._kept if msg_id not in gone]

        return committed

    def _make(self, mesh: Mesh, device: DeviceId, numbers: Sequence[int]) -> Void:
        message = own_message(self.node, mesh, "void", LANE, encode_void(numbers), LIFETIME_MS)
        return Void(message, own_delivery(mesh, message, device))


def add_voids(tx: apsw.Connection, voids: Iterable[Void]) -> None:
    """Store them, in the commit that ends what they are about."""
    for void in voids:
        add_message(tx, void.message, [void.delivery])


def take_void(mesh: Mesh, signed: SignedMessage, now_ms: int) -> tuple[int, Callable[[apsw.Connection], None]]:
    """Take in another device's void: how many numbers are missing before those it names, and what keeps it."""
    device = signed.message.from_device
    try:
        numbers = decode_void(signed.message.content)
    except CryptoError as error:
        log.warning("a void cannot be read", mesh=Id(mesh.id), device=Id(device), error=error)
        numbers = ()
    missing = sum(mesh.note_got(device, number, now_ms) for number in numbers)

    def keep(tx: apsw.Connection) -> None:
        if numbers:
            set_stream_got(tx, mesh.id, device, numbers[-1])

    return missing, keep
