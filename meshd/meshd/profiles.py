"""Telling every device of a mesh which groups the sessions here are in, and taking in what the others tell.

Presence would not do: a device that was never online together with another knows nothing of it. So the whole state of
this device goes out as a small signed message of kind `profile` through the outbox, at each change and to each device
that is new; of two profiles of a device the newer one counts. Nobody is asked for a receipt.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import apsw
import trio

from mesh_protocol.envelope import SignedMessage
from mesh_protocol.ids import DeviceId, MeshId, MsgId
from mesh_protocol.io.sqlite import Pending
from mesh_protocol.keys import CryptoError
from mesh_protocol.pae import lst, read_u64, u64, unlst_exactly
from mesh_protocol.profile import Profile
from mesh_protocol.wire.errors import MeshError
from meshd.groups import Groups, Heard
from meshd.inbox import NOTHING, Stored
from meshd.log import Id, Word, get_logger
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.outbox import LIFETIME_MS
from meshd.sendqueue import SendQueue
from meshd.store import groups as store
from meshd.store.groups import ProfileRow
from meshd.store.inbox import mark_seen
from meshd.store.outbox import LANES, DeliveryRow, MessageRow, add_message

log = get_logger("profiles")

PAUSE_S: Final = 1.0
"""Changes that come within it go out as one."""
LOOK_S: Final = 3600.0
"""How often is looked whether a profile must be said again, when nothing changes."""
RETRY_S: Final = 5.0
RENEW_MS: Final = 14 * 24 * 3600 * 1000
"""A profile is said anew after so long: a mailbox holds one for 30 days only, and a device may be away for longer."""
LANE: Final = "low"
"""It waits behind every message, and none waits behind it."""


class Said(NamedTuple):
    """What this device last said in a mesh: in which message, and to the devices of how long a chain."""

    version: int
    at_ms: int
    chain_seq: int
    msg_id: MsgId
    profile: Profile


@dataclass(slots=True, eq=False)
class Profiles:
    """Sends when `changed` was called or the membership of a mesh grew. `queue` gives what drains to a mesh's broker."""

    node: Node
    groups: Groups
    queue: Callable[[MeshId], SendQueue]
    _said: dict[MeshId, Said] = field(default_factory=dict)
    _due: trio.Event = field(default_factory=trio.Event)

    def restore(self) -> None:
        """Read what was said and heard. One that cannot be read is said, or comes, again with the next change."""
        for row in store.read_profiles(self.node.db.reader):
            try:
                opened = self.node.open("profile", "sealed", row.mesh + row.device, row.sealed)
                if row.device == self.node.device:
                    chain_seq, msg_id, content = unlst_exactly(opened, 3)
                    said = Said(row.version, row.at_ms, read_u64(chain_seq), MsgId(msg_id), Profile.decode(content))
                    self._said[row.mesh] = said
                else:
                    self.groups.hear(row.mesh, row.device, Heard(row.at_ms, Profile.decode(opened)))
            except CryptoError as error:
                log.warning("a stored profile cannot be read", mesh=Id(row.mesh), error=error)

    def changed(self) -> None:
        """Sessions or groups here are not what they were."""
        self._due.set()

    async def run(self) -> None:
        """Keep every mesh told; for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_meshes)
            while True:
                self._due = trio.Event()
                wait = LOOK_S
                for mesh in list(self.node.meshes.values()):
                    try:
                        await self._tell(mesh)
                    except MeshError as error:  # no room on the disk
                        log.warning("a profile could not be stored", code=Word(error.code), mesh=Id(mesh.id))
                        wait = RETRY_S
                await trio.sleep(PAUSE_S)
                with trio.move_on_after(wait):
                    await self._due.wait()

    async def _watch_meshes(self) -> None:
        with self.node.events.subscribe(frozenset({"mesh", "joined"})) as changes:
            self._due.set()
            while True:
                await changes.take()
                self._due.set()

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
            version = max(now, said.version + 1 if said is not None else 1)
            new = Said(version, now, len(mesh.hashes), MsgId(self.node.seams.rng(16)), Profile(version, rows))
            await self._say(mesh, new, others, said)
        elif came := [device for device, seq in others.items() if seq > said.chain_seq]:
            await self._say(mesh, said._replace(chain_seq=len(mesh.hashes)), came, said)

    async def _say(self, mesh: Mesh, new: Said, devices: Iterable[DeviceId], said: Said | None) -> None:
        """Put `new` into the outbox, to `devices`, in one commit with what is remembered of it."""
        node = self.node
        content = new.profile.encode()
        deliveries = [self._delivery(mesh, new, device) for device in devices]
        sealed = node.seal("profile", "sealed", mesh.id + node.device, lst(u64(new.chain_seq), new.msg_id, content))
        row = ProfileRow(mesh.id, node.device, new.version, new.at_ms, sealed)
        message = self._message(mesh, new, content)
        replaces = said.msg_id if said is not None and said.msg_id != new.msg_id else None

        def work(tx: apsw.Connection) -> None:
            store.put_own_profile(tx, row)
            if replaces is not None:
                store.withdraw(tx, replaces)
            if said is None or replaces is not None:
                add_message(tx, message, deliveries)
            else:
                store.add_deliveries(tx, deliveries)

        await node.db.write(work)
        self._said[mesh.id] = new
        self.queue(mesh.id).offer(deliveries)

    def _message(self, mesh: Mesh, said: Said, content: bytes) -> MessageRow:
        return MessageRow(
            msg_id=said.msg_id,
            mesh=mesh.id,
            kind="profile",
            scope="daemon",
            idem_key=None,
            fingerprint=b"",
            from_session="",
            origin="agent",
            lane=LANE,
            reply_to=b"",
            conv=bytes(16),
            created_ms=said.at_ms,
            expires_ms=said.at_ms + LIFETIME_MS,
            content=self.node.seal("message", "content", said.msg_id, content),
        )

    def _delivery(self, mesh: Mesh, said: Said, device: DeviceId) -> DeliveryRow:
        return DeliveryRow(
            msg_id=said.msg_id,
            device=device,
            mesh=mesh.id,
            member=mesh.state.devices[device].member_id,
            to_session="",
            path="mesh",
            lane=LANES.index(LANE),
            stream_seq=0,
            attempt=0,
            envelope=None,
            message_hash=None,
            outer_hash=None,
            expires_ms=said.at_ms + LIFETIME_MS,
            queued_ms=self.node.now(),
        )

    # What others say.

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
