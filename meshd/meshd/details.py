"""Who of a mesh is told what this machine's sessions do, where somebody is not to be (the grant `read`).

Presence goes to all members under the epoch key. As soon as `read` is withheld from one of them, that frame says no more than
that this machine is there, and a second one under a key of this machine's own says the rest. The key is mailed to each
device that may read; it is another one as soon as any that had it may not any more, and none where nothing is withheld.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import apsw

from mesh_protocol.details import DetailsKey, decode_key, encode_key
from mesh_protocol.envelope import SignedMessage
from mesh_protocol.ids import DeviceId, MeshId
from mesh_protocol.io.sqlite import Pending
from mesh_protocol.keys import KEY_SIZE
from mesh_protocol.pae import CryptoError, lst, unlst, unlst_exactly
from meshd.inbox import Mark, Stored
from meshd.log import Id, get_logger
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.outbox import LIFETIME_MS
from meshd.ownmail import own_delivery, own_message
from meshd.rounds import Rounds
from meshd.sendqueue import SendQueue
from meshd.store import details as store
from meshd.store.outbox import add_message
from meshd.store.trust import read_standings

log = get_logger("details")

KIND: Final = "details"
LANE: Final = "now"
READ: Final = "read"
NO_KEY: Final = b""
MAX_TOLD: Final = 10_000


@dataclass(slots=True, eq=False)
class Details:
    """`queue` gives what drains to a mesh's broker; `keys` are those that presence uses, this machine's own too; `shown` wakes
    its presence."""

    node: Node
    queue: Callable[[MeshId], SendQueue]
    keys: dict[tuple[MeshId, DeviceId], DetailsKey]
    shown: Callable[[], None]
    _told: dict[MeshId, frozenset[DeviceId]] = field(default_factory=dict)
    _rounds: Rounds = field(init=False)

    def __post_init__(self) -> None:
        self._rounds = Rounds(self.node, "details", self._settle)

    def restore(self) -> None:
        """Read what was made and heard. A key that cannot be read is made, or comes, again."""
        for mesh, device, sealed in store.read_keys(self.node.db.reader):
            try:
                opened = self.node.open("details_key", "sealed", mesh + device, sealed)
                content, told = unlst_exactly(opened, 2)
                self.keys[mesh, device] = decode_key(content)
                if device == self.node.device:
                    self._told[mesh] = frozenset(DeviceId(each) for each in unlst(told, max_items=MAX_TOLD))
            except CryptoError as error:
                log.warning("a key for details cannot be read", mesh=Id(mesh), error=error)

    def forget(self, mesh: MeshId) -> None:
        """The mesh is left."""
        self._told.pop(mesh, None)
        for who in [each for each in self.keys if each[0] == mesh]:
            del self.keys[who]

    # Who has the key.

    def changed(self) -> None:
        """What is decided of members is not what it was."""
        self._rounds.due()

    async def run(self) -> None:
        """Keep the key with those who may read; for ever."""
        await self._rounds.run()

    async def _settle(self, mesh: Mesh) -> None:
        if not mesh.active:
            return
        node, state = self.node, mesh.state
        standings = read_standings(node.db.reader, mesh.id)
        barred = {row.member for row in standings if READ in row.withheld and row.member in state.members}
        others = {device: listed.member_id for device, listed in state.devices.items() if listed.active}
        others.pop(node.device, None)
        active = frozenset(others)
        readers = frozenset(device for device, member in others.items() if member not in barred)
        own, told = self.keys.get((mesh.id, node.device)), self._told.get(mesh.id, frozenset())
        version = max(node.now(), own.version + 1 if own is not None else 1)
        none = DetailsKey(version, NO_KEY)
        if not barred:
            if own is not None and own.key:
                await self._tell(mesh, none, frozenset(), dict.fromkeys(told & active, none))
        elif own is None or not own.key or told - readers:
            new = DetailsKey(version, node.seams.rng(KEY_SIZE))
            await self._tell(mesh, new, readers, {**dict.fromkeys(told & active, none), **dict.fromkeys(readers, new)})
        elif readers - told:
            await self._tell(mesh, own, readers, dict.fromkeys(readers - told, own))

    async def _tell(
        self, mesh: Mesh, own: DetailsKey, told: frozenset[DeviceId], news: Mapping[DeviceId, DetailsKey]
    ) -> None:
        """Remember this machine's key and who has it, in one commit with the messages that say so."""
        node = self.node
        mail = []
        for device, key in sorted(news.items()):
            message = own_message(node, mesh, KIND, LANE, encode_key(key), LIFETIME_MS)
            mail.append((message, own_delivery(mesh, message, device)))
        sealed = self._seal(mesh.id, node.device, own, told)

        def work(tx: apsw.Connection) -> None:
            store.put_key(tx, mesh.id, node.device, sealed)
            for message, delivery in mail:
                add_message(tx, message, [delivery])

        await node.db.write(work)
        self.keys[mesh.id, node.device] = own
        self._told[mesh.id] = told
        self.queue(mesh.id).offer([delivery for _, delivery in mail])
        self.shown()

    def _seal(self, mesh: MeshId, device: DeviceId, key: DetailsKey, told: frozenset[DeviceId] = frozenset()) -> bytes:
        return self.node.seal("details_key", "sealed", mesh + device, lst(encode_key(key), lst(*sorted(told))))

    # Being told.

    def commit(self, mesh: Mesh, signed: SignedMessage, mark: Mark) -> Pending[Stored]:
        """Queue the transaction that keeps another device's newest key; `mark` marks its envelope as seen."""
        node, device = self.node, signed.message.from_device
        key: DetailsKey | None = None
        try:
            key = decode_key(signed.message.content)
        except CryptoError as error:
            log.warning("a key for details cannot be read", mesh=Id(mesh.id), device=Id(device), error=error)
        known = self.keys.get((mesh.id, device))
        if key is not None and (known is None or known.version < key.version):
            self.keys[mesh.id, device] = key
            sealed = self._seal(mesh.id, device, key)
        else:
            key = None

        def work(tx: apsw.Connection) -> Stored:
            if key is not None:
                store.put_key(tx, mesh.id, device, sealed)
            return mark(tx)

        return node.db.submit(work)
