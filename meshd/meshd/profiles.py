"""Telling every device of a mesh which groups the sessions here are in, and taking in what the others tell.

Presence would not do: a device that was never online together with another knows nothing of it. So the whole state of
this device goes out as a small signed message of kind `profile` through the outbox, at each change and to each device
that is new; of two profiles of a device the newer one counts. Nobody is asked for a receipt.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import apsw

from mesh_protocol.envelope import SignedMessage
from mesh_protocol.fan import MAX_RECIPIENTS
from mesh_protocol.ids import DeviceId, MeshId, MsgId
from mesh_protocol.io.sqlite import Pending
from mesh_protocol.keys import CryptoError
from mesh_protocol.pae import lst, read_u64, u64, unlst, unlst_exactly
from mesh_protocol.profile import Profile
from meshd.groups import Groups, Heard
from meshd.inbox import NOTHING, Stored
from meshd.log import Id, get_logger
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.outbox import LIFETIME_MS
from meshd.ownmail import own_delivery, own_message
from meshd.rounds import Rounds
from meshd.sealing import seal_shared
from meshd.sendqueue import SendQueue
from meshd.store import groups as store
from meshd.store.groups import ProfileRow
from meshd.store.inbox import mark_seen
from meshd.store.outbox import add_message

log = get_logger("profiles")

PAUSE_S: Final = 1.0
"""Changes that come within it go out as one."""
RENEW_MS: Final = 14 * 24 * 3600 * 1000
"""A profile is said anew after so long: a mailbox holds one for 30 days only, and a device may be away for longer."""
MAX_MESSAGES: Final = 64
"""One for everybody who was there, and one for each time that somebody came; then it is said anew to all."""
LANE: Final = "low"
"""It waits behind every message, and none waits behind it."""


class Said(NamedTuple):
    """What this device last said in a mesh: in which messages, and to the devices of how long a chain."""

    at_ms: int
    chain_seq: int
    msg_ids: tuple[MsgId, ...]
    profile: Profile


@dataclass(slots=True, eq=False)
class Profiles:
    """Sends when `changed` was called or the membership of a mesh grew. `queue` gives what drains to a mesh's broker."""

    node: Node
    groups: Groups
    queue: Callable[[MeshId], SendQueue]
    _said: dict[MeshId, Said] = field(default_factory=dict)
    _rounds: Rounds = field(init=False)

    def __post_init__(self) -> None:
        self._rounds = Rounds(self.node, "profile", self._tell, PAUSE_S)

    def restore(self) -> None:
        """Read what was said and heard. One that cannot be read is said, or comes, again with the next change."""
        for row in store.read_profiles(self.node.db.reader):
            try:
                opened = self.node.open("profile", "sealed", row.mesh + row.device, row.sealed)
                if row.device == self.node.device:
                    chain_seq, ids, content = unlst_exactly(opened, 3)
                    msg_ids = tuple(MsgId(each) for each in unlst(ids, max_items=MAX_MESSAGES))
                    self._said[row.mesh] = Said(row.at_ms, read_u64(chain_seq), msg_ids, Profile.decode(content))
                else:
                    self.groups.hear(row.mesh, row.device, Heard(row.at_ms, Profile.decode(opened)))
            except CryptoError as error:
                log.warning("a stored profile cannot be read", mesh=Id(row.mesh), error=error)

    def changed(self) -> None:
        """Sessions or groups here are not what they were."""
        self._rounds.due()

    def forget(self, mesh: MeshId) -> None:
        """The mesh is left."""
        self._said.pop(mesh, None)

    async def run(self) -> None:
        """Keep every mesh told; for ever."""
        await self._rounds.run()

    async def _tell(self, mesh: Mesh) -> None:
        """Say what is new in a mesh: to all devices, or what was said before to those that came since."""
        if not mesh.active:
            return
        said = self._said.get(mesh.id)
        rows = self.groups.own_rows(mesh)
        if said is None and not rows:
            return
        others = {
            device: listed.added_seq
            for device, listed in mesh.state.devices.items()
            if device != self.node.device and mesh.state.is_active(device)
        }
        now = self.node.now()
        if said is None or said.profile.sessions != rows or not 0 <= now - said.at_ms < RENEW_MS:
            # Epoch ms as a version rises too when this machine was put back from a backup.
            version = max(now, said.profile.version + 1 if said is not None else 1)
            await self._say(mesh, Said(now, len(mesh.hashes), (), Profile(version, rows)), list(others), said)
        elif came := [device for device, seq in others.items() if seq > min(said.chain_seq, mesh.parted)]:
            again = len(said.msg_ids) >= MAX_MESSAGES
            told = said._replace(chain_seq=len(mesh.hashes), msg_ids=() if again else said.msg_ids)
            await self._say(mesh, told, list(others) if again else came, said)

    async def _say(self, mesh: Mesh, new: Said, devices: list[DeviceId], said: Said | None) -> None:
        """Put a message with `new` into the outbox, to `devices`, in one commit with what is remembered of it."""
        node = self.node
        message = own_message(self.node, mesh, "profile", LANE, new.profile.encode(), LIFETIME_MS)
        deliveries = [own_delivery(mesh, message, device) for device in devices]
        content = new.profile.encode()
        if 1 < len(deliveries) <= MAX_RECIPIENTS:
            message, deliveries = seal_shared(node, mesh, message, content, deliveries)
        new = new._replace(msg_ids=(*new.msg_ids, message.msg_id))
        remembered = lst(u64(new.chain_seq), lst(*new.msg_ids), content)
        sealed = node.seal("profile", "sealed", mesh.id + node.device, remembered)
        row = ProfileRow(mesh.id, node.device, new.profile.version, new.at_ms, sealed)
        replaced = [each for each in (said.msg_ids if said is not None else ()) if each not in new.msg_ids]

        def work(tx: apsw.Connection) -> None:
            store.put_own_profile(tx, row)
            for msg_id in replaced:
                store.withdraw(tx, msg_id)
            add_message(tx, message, deliveries)

        await node.db.write(work)
        self._said[mesh.id] = new
        mesh.parted = sys.maxsize
        queue = self.queue(mesh.id)
        for msg_id in replaced:
            queue.drop(msg_id)
        queue.offer(deliveries)

    def commit(self, mesh: Mesh, signed: SignedMessage) -> Pending[Stored]:
        """Queue the transaction that keeps another device's profile beside its dedupe mark; one that cannot be read is
        marked only."""
        message = signed.message
        now = self.node.now()
        try:
            profile: Profile | None = Profile.decode(message.content)
        except CryptoError as error:
            log.warning("a profile cannot be read", mesh=Id(mesh.id), device=Id(message.from_device), error=error)
            profile = None
        row: ProfileRow | None = None
        at_ms = min(message.created_ms, now)
        if profile is not None:
            sealed = self.node.seal("profile", "sealed", mesh.id + message.from_device, message.content)
            row = ProfileRow(mesh.id, message.from_device, profile.version, at_ms, sealed)

        def work(tx: apsw.Connection) -> Stored:
            if mark_seen(tx, message.from_device, message.msg_id, now) and row is not None:
                store.put_profile(tx, row)
            return NOTHING

        pending = self.node.db.submit(work)
        if profile is not None:
            heard = Heard(at_ms, profile)
            pending.settled(
                lambda: self.groups.hear(mesh.id, message.from_device, heard) if pending.succeeded else None
            )
        return pending
