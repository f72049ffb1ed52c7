"""A message that names a history which its receiver does not know: its author is asked for the broker's word on it.

With the broker's signature the claim is evidence, and proves that the broker shows two histories, or holds one back; without
it only that author's message waits (crypto design 2.4). These messages go straight to the broker, outside outbox and
streams, and are judged whatever history they name themselves: what they prove is in them.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from mesh_protocol.envelope import SignedMessage
from mesh_protocol.ids import DeviceId
from mesh_protocol.io.connection import Connection
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.keys import CryptoError
from mesh_protocol.tip import Tip, TipRef, verify_tip
from mesh_protocol.wire.errors import MeshError, RemoteError
from mesh_protocol.witness import Witness, decode_ask, encode_ask, witness
from meshd.branches import read_own, weigh
from meshd.link.branching import keep_evidence
from meshd.link.greeting import CALL_S
from meshd.link.prekeys import fetch_prekeys
from meshd.log import Id, get_logger
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.ownmail import own_delivery, own_message
from meshd.sealing import seal_delivery

log = get_logger("witnesses")

ASK, TIP = "tip_ask", "tip"
LIFETIME_MS: Final = 24 * 3600 * 1000
SERVED_S: Final = 60.0
"""What a broker signed for one of us it must serve to the other within this time."""
LOOK_S: Final = 5.0
MAX_SENT: Final = 16
"""Asks and answers to one device on one connection: a member must not make us flood him."""


@dataclass(slots=True, eq=False)
class Witnesses:
    """`sync` brings the chain up to what the broker shows."""

    node: Node
    mesh: Mesh
    connection: Connection
    sync: Callable[[], Awaitable[None]]
    _asked: set[tuple[DeviceId, bytes]] = field(default_factory=set)
    _sent: Counter[DeviceId] = field(default_factory=Counter)

    async def ask(self, author: DeviceId, claim: TipRef) -> None:
        """Ask the author of a message for the broker's word on what it named; once."""
        if claim.chain_seq and (author, claim.chain_hash) not in self._asked and len(self._asked) < 1024:
            self._asked.add((author, claim.chain_hash))
            await self._send(author, ASK, encode_ask(claim.chain_seq, claim.chain_hash))

    async def heard(self, signed: SignedMessage) -> None:
        """Answer an ask, or weigh an answer. Raises `broker_rollback` when it proves that the broker shows two histories,
        or that it holds one back."""
        message = signed.message
        author = message.from_device
        try:
            if message.kind == ASK:
                decode_ask(message.content)
                await self._answer(author)
                if not self._is_known(message.tip.chain_hash):
                    await self.ask(author, message.tip)
                return
            brought = Witness.decode(message.content)
            verify_tip(brought.tip, self.mesh.id, self.mesh.row.broker_key)
        except CryptoError as error:
            log.warning("a witness is none", mesh=Id(self.mesh.id), device=Id(author), error=error)
            return
        await self._weigh(author, brought)

    async def _weigh(self, author: DeviceId, brought: Witness) -> None:
        mesh, ref = self.mesh, brought.tip.ref
        await self.sync()
        new = [
            record for record in brought.records if record.hash not in mesh.branches and record.hash not in mesh.hashes
        ]
        if not self._is_known(ref.chain_hash) and new and new[0].prev_hash in mesh.hashes[:-1]:
            await self._answer(author)  # he is to see the other history as well, whatever the broker shows him
            await weigh(self.node, mesh, new)
            if ref.chain_hash in mesh.branches:
                await keep_evidence(self.node, mesh, ref.chain_hash, brought.tip.encode())
            if mesh.fork is not None:
                raise MeshError("broker_rollback", mesh=mesh.slug)
        if not await self._is_served(ref):
            log.error("the broker signed a history that it does not show", mesh=Id(mesh.id), device=Id(author))
            mesh.withheld[ref.chain_hash] = ref.chain_seq
            await self._answer(author)
            raise MeshError("broker_rollback", mesh=mesh.slug)

    async def _is_served(self, ref: TipRef) -> bool:
        """Whether the broker shows this record in time; a record of another history than ours it cannot show."""
        with trio.move_on_after(SERVED_S if ref.chain_seq > len(self.mesh.hashes) else 0):
            while not self._is_known(ref.chain_hash):
                await trio.sleep(LOOK_S)
                await self.sync()
        return self._is_known(ref.chain_hash)

    def _is_known(self, digest: bytes) -> bool:
        return digest in self.mesh.hashes or digest in self.mesh.branches

    async def _answer(self, device: DeviceId) -> None:
        """Tell a device what the broker signed for us."""
        if self.mesh.signed_tip and self._may_send(device):
            tip = Tip.decode(self.mesh.signed_tip)
            await self._send(device, TIP, witness(tip, read_own(self.node, self.mesh)).encode())

    def _may_send(self, device: DeviceId) -> bool:
        """Asked before an answer is made: it takes the whole chain from the disk."""
        return self._sent[device] < MAX_SENT and self.mesh.state.is_active(device)

    async def _send(self, device: DeviceId, kind: str, content: bytes) -> None:
        """Say it now, or not at all: who still needs it asks again."""
        mesh = self.mesh
        if not self._may_send(device):
            return
        self._sent[device] += 1
        try:
            if device not in mesh.peer_prekeys:
                await fetch_prekeys(self.node, self.connection, mesh, [device])
            message = own_message(self.node, mesh, kind, "now", content, LIFETIME_MS)
            sealed = seal_delivery(self.node, mesh, message, content, own_delivery(mesh, message, device))
            if sealed is not None and sealed.envelope is not None:
                await self.connection.call("mail.send", {"mesh": mesh.id}, sealed.envelope, seconds=CALL_S)
        except (RemoteError, LinkClosed, trio.TooSlowError):
            log.debug("a question about a history was not sent", mesh=Id(mesh.id))
