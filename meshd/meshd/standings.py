"""What this person decides of other members, kept here and told to his other devices.

A decision and the messages that tell of it are one commit. Of two decisions on a member the later one counts, whichever
device made it; a device that comes later, or was not told for long, is told all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import apsw
import trio

from mesh_protocol.envelope import SignedMessage
from mesh_protocol.ids import DeviceId, MemberId, MeshId
from mesh_protocol.io.sqlite import Pending
from mesh_protocol.pae import CryptoError
from mesh_protocol.standing import MAX_ENTRIES, Standing, decode_standings, encode_standings
from meshd.grants import BLOCK
from meshd.inbox import Mark, Stored
from meshd.log import Id, get_logger
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.outbox import LIFETIME_MS
from meshd.ownmail import own_delivery, own_message
from meshd.rounds import Rounds
from meshd.sendqueue import SendQueue
from meshd.store import inbox as received
from meshd.store import trust as store
from meshd.store.outbox import DeliveryRow, MessageRow, add_message
from meshd.store.trust import TrustRow

log = get_logger("standings")

KIND: Final = "standing"
LANE: Final = "now"
"""It is small, and until it is there another device shows what it should not."""
RENEW_MS: Final = 14 * 24 * 3600 * 1000
"""A device is told all of it anew after so long: a mailbox holds a message for 30 days, and a device may be away longer."""
MAX_AHEAD_MS: Final = 366 * 24 * 3600 * 1000
"""What says that it was decided so far ahead is not taken: a stolen device would have the last word for ever."""
MAX_RELEASED: Final = 1_000
"""Held messages that one change lets in."""


@dataclass(slots=True, eq=False)
class Standings:
    """`queue` gives what drains to a mesh's broker; `changed` is told when what is decided is not what it was."""

    node: Node
    queue: Callable[[MeshId], SendQueue]
    changed: Callable[[], None]
    _one: trio.Lock = field(default_factory=trio.Lock)

    # Deciding.

    async def decide(self, mesh: Mesh, member: MemberId, change: Callable[[TrustRow], TrustRow]) -> TrustRow:
        """Change what is decided of a member, on the disk and on its way to the person's other devices."""
        node = self.node
        async with self._one:
            old = store.read_standing(node.db.reader, mesh.id, member)
            # Later than what it replaces, whatever the clock of the device was that decided that.
            row = change(old)._replace(at_ms=max(node.now(), old.at_ms + 1))
            mail = self._mail(mesh, self._others(mesh), [row])

            def work(tx: apsw.Connection) -> None:
                store.put_standing(tx, row)
                if row.policy == BLOCK:
                    store.hide_unread(tx, row.mesh, row.member)
                for message, delivery in mail:
                    add_message(tx, message, [delivery])

            await node.db.write(work)
            self.queue(mesh.id).offer([delivery for _, delivery in mail])
            self.changed()
            return row

    def _others(self, mesh: Mesh) -> list[DeviceId]:
        own = mesh.state.active_devices(mesh.row.member)
        return [device for device in own if device != self.node.device]

    def _mail(
        self, mesh: Mesh, devices: Sequence[DeviceId], rows: Sequence[TrustRow]
    ) -> list[tuple[MessageRow, DeliveryRow]]:
        """Messages that tell each of `devices` of all these decisions."""
        made: list[tuple[MessageRow, DeliveryRow]] = []
        for start in range(0, len(rows), MAX_ENTRIES):
            part = rows[start : start + MAX_ENTRIES]
            content = encode_standings([Standing(r.member, r.policy, tuple(sorted(r.withheld)), r.at_ms) for r in part])
            for device in devices:
                message = own_message(self.node, mesh, KIND, LANE, content, LIFETIME_MS)
                made.append((message, own_delivery(mesh, message, device)))
        return made

    # Telling who came later.

    async def run(self) -> None:
        """Tell new devices of the person all that is decided; for ever."""
        await Rounds(self.node, "standings", self._tell).run()

    async def _tell(self, mesh: Mesh) -> None:
        if not mesh.active:
            return
        node, now = self.node, self.node.now()
        async with self._one:
            told = store.read_told(node.db.reader, mesh.id)
            due = [device for device in self._others(mesh) if not 0 <= now - told.get(device, -RENEW_MS) < RENEW_MS]
            if not due:
                return
            mail = self._mail(mesh, due, store.read_standings(node.db.reader, mesh.id))

            def work(tx: apsw.Connection) -> None:
                for device in due:
                    store.put_told(tx, mesh.id, device, now)
                for message, delivery in mail:
                    add_message(tx, message, [delivery])

            await node.db.write(work)
            self.queue(mesh.id).offer([delivery for _, delivery in mail])

    # Being told.

    def commit(self, mesh: Mesh, signed: SignedMessage, mark: Mark) -> Pending[Stored]:
        """Queue the transaction that takes over what another device of this person decided later than was decided here;
        of anybody else nothing is taken. `mark` marks the envelope as seen."""
        message, node = signed.message, self.node
        rows: tuple[Standing, ...] = ()
        try:
            if message.from_member == mesh.row.member:
                rows = decode_standings(message.content)
        except CryptoError as error:
            log.warning("a decision cannot be read", mesh=Id(mesh.id), device=Id(message.from_device), error=error)
        now = node.now()

        def work(tx: apsw.Connection) -> Stored:
            stored = mark(tx)
            freed: list[int] = []
            for each in rows:
                old = store.read_standing(tx, mesh.id, each.member_id)
                if each.at_ms <= old.at_ms or each.at_ms > now + MAX_AHEAD_MS or each.member_id == mesh.row.member:
                    continue
                store.put_standing(
                    tx, TrustRow(mesh.id, each.member_id, each.policy, frozenset(each.withheld), each.at_ms)
                )
                if each.policy == BLOCK:
                    store.hide_unread(tx, mesh.id, each.member_id)
                elif each.policy == "allow" and old.policy == "hold":
                    freed += let_in(tx, store.held_rows(tx, mesh.id, each.member_id, MAX_RELEASED), now)
            return Stored((*stored.rows, *freed), stored.changed)

        pending = node.db.submit(work)
        pending.settled(self.changed)
        return pending


def let_in(tx: apsw.Connection, numbers: Sequence[int], now_ms: int) -> list[int]:
    """Let held messages go to their sessions, of which their senders are told; which of them were held."""
    freed = store.release_rows(tx, numbers)
    for number in freed:
        row = received.read_row(tx, number)
        if row is not None and not row.shown_ms:
            received.owe_receipt(tx, row, number, state="stored", at_ms=now_ms, session="", evidence="released")
    return freed
