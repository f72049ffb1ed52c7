"""Making a mesh, joining one, and taking them up again at start."""

from dataclasses import dataclass, field

import apsw
import trio

from mesh_protocol.chain import Epoch, Genesis, Record, epoch_kc, make_record, mesh_id_of
from mesh_protocol.ids import MemberId
from mesh_protocol.invite import InviteLink, parse_link
from mesh_protocol.keys import CryptoError, PrekeyPrivate, SignedPrekey, SigningKey
from mesh_protocol.members import ChainError
from mesh_protocol.names import check_mesh_name, check_name, member_subject, seal_name
from mesh_protocol.seals import MeshKeys
from mesh_protocol.tip import TipRef
from mesh_protocol.wire.errors import MeshError
from meshd import branches
from meshd.brokers import Brokers
from meshd.link.driver import LOCAL
from meshd.link.greeting import read_tip, say_hello
from meshd.link.joining import enter_by_invite, linked_by, require_usable
from meshd.mesh import Mesh, Stream
from meshd.node import Node
from meshd.prekeys import make_prekey
from meshd.presence import PresenceBoard
from meshd.recovery import recovery_row
from meshd.refusal import StartRefused
from meshd.releasing import require_may_come
from meshd.restoring import require_staying
from meshd.store import meshes as store
from meshd.store.confirmed import read_confirmed
from meshd.store.meshes import MeshRow, PrekeyRow
from meshd.store.recovery import put_recovery


@dataclass(slots=True, eq=False)
class MeshMaking:
    """Everything that adds a mesh to this machine."""

    node: Node
    brokers: Brokers
    board: PresenceBoard
    _one: trio.Lock = field(default_factory=trio.Lock)
    """One mesh is made or asked for at a time: two calls at once may be about the same one, or want the same name."""

    # At start.

    def restore(self) -> None:
        """Load every mesh from the disk and verify its chain anew; what is stored is not trusted to be unchanged.

        Raises `StartRefused`.
        """
        node = self.node
        default = store.get_meta(node.db.reader, "default_mesh")
        for row in store.list_meshes(node.db.reader):
            try:
                mesh = self._load(row)
            except CryptoError as error:  # of ChainError too: what lies here is not what was stored
                raise StartRefused(
                    f"mesh.db is damaged in the mesh {row.slug} ({error}): put back a backup of the whole home"
                ) from None
            node.meshes[mesh.id] = mesh
            self.board.restore(mesh.id, store.read_live_seen(node.db.reader, mesh.id))
            if default == mesh.id:
                node.default_mesh = mesh.id
            self.brokers.add(mesh)

    def _load(self, row: MeshRow) -> Mesh:
        node = self.node
        mesh = Mesh(row, link_since_ms=node.now())
        mesh.grow([Record.decode(data) for data in store.read_chain(node.db.reader, row.mesh)])
        for prekey in store.read_prekeys(node.db.reader, row.mesh):
            seed = node.open("prekey", "sealed", row.mesh + prekey.prekey_id.to_bytes(8, "little"), prekey.sealed)
            mesh.prekeys[prekey.prekey_id] = PrekeyPrivate.from_seed(seed)
            mesh.prekey = SignedPrekey.decode(prekey.signed)
        epochs = {
            epoch: node.open("epoch_key", "sealed", row.mesh + epoch.to_bytes(8, "little"), sealed)
            for epoch, sealed in store.read_epoch_keys(node.db.reader, row.mesh)
        }
        if row.state == "active" and epochs:
            mesh.keys = MeshKeys(node.open("mesh", "secret", row.mesh, row.secret), epochs)
        for device, (sent, got) in store.read_streams(node.db.reader, row.mesh).items():
            mesh.streams[device] = Stream(sent, got)
        if mesh.last is not None:
            # The log's part is learnt at the next hello; until then we claim no more than our own chain.
            mesh.tip = TipRef(mesh.last.seq, mesh.hashes[-1], 0, bytes(32))
        mesh.rename()
        for each, seq in read_confirmed(node.db.reader, row.mesh):
            mesh.confirmations.restore(each, seq)
        branches.restore(node, mesh)
        return mesh

    # A new mesh.

    async def make(self, name: str, me: str, broker: str) -> Mesh:
        """Make a mesh at `broker` (empty: the embedded one). Nothing is kept here unless the broker has it durably."""
        node = self.node
        require_staying(node)
        try:
            name, me = check_mesh_name(name), check_name(me)
        except CryptoError:
            raise MeshError("bad_name", name=name if not _is_mesh_name(name) else me) from None
        url, _, token = (broker or LOCAL).partition("#")
        async with self._one, self.brokers.visit(url) as greeting:
            made = self._genesis(name, me, url, greeting.challenge.broker_key)
            answer = await say_hello(
                greeting,
                made.mesh.id,
                node.key,
                generation=node.generation,
                nonce=node.seams.rng(32),
                create=made.records,
                token=token.encode(),
            )
            made.mesh.tip = read_tip(made.mesh.id, greeting.challenge.broker_key, answer.tip)
            await self._keep(made.mesh, made.records, made.recovery)
        return made.mesh

    def _genesis(self, name: str, me: str, url: str, broker_key: bytes) -> "_Made":
        node, rng = self.node, self.node.seams.rng
        name_key, first_key, salt = rng(32), rng(32), rng(16)
        member = MemberId(rng(16))
        recovery = rng(32)
        body = Genesis(
            salt=salt,
            member_id=member,
            device=node.device,
            recovery_pub=SigningKey.from_seed(recovery).public,
            broker_key=broker_key,
            broker_urls=(url,),
            sealed_mesh_name=seal_name(name_key, salt, name, rng(24)),
            sealed_member_name=seal_name(name_key, member_subject(member, salt), me, rng(24)),
        )
        genesis = make_record(None, "genesis", body.encode(), node.key, None)
        mesh_id = mesh_id_of(genesis)
        epoch = Epoch(1, epoch_kc(mesh_id, 1, first_key))
        records = [genesis, make_record(genesis, "epoch", epoch.encode(), node.key, mesh_id)]
        row = MeshRow(
            mesh=mesh_id,
            slug=self.node.free_slug(name),
            state="active",
            me=me,
            member=member,
            broker_url=url,
            broker_key=broker_key,
            secret=node.seal("mesh", "secret", mesh_id, name_key),
            created_ms=node.now(),
            next_mseq=0,
            trouble="",
        )
        mesh = Mesh(row, keys=MeshKeys(name_key, {1: first_key}), link_since_ms=node.now())
        mesh.grow(records)
        return _Made(mesh, records, recovery)

    async def _keep(self, mesh: Mesh, records: list[Record], recovery: bytes = b"") -> None:
        """Store a mesh that is ours now, with its first prekey and the seed of its recovery key, and bring it online."""
        node = self.node
        prekey = self._new_prekey(mesh, 1)
        rows = [(record.seq, record.encode()) for record in records]
        keys = mesh.keys.epochs if mesh.keys is not None else {}
        sealed = {e: node.seal("epoch_key", "sealed", mesh.id + e.to_bytes(8, "little"), k) for e, k in keys.items()}
        kept = recovery_row(node, mesh, recovery) if recovery else None
        first = node.default_mesh is None

        def work(tx: apsw.Connection) -> None:
            store.put_mesh(tx, mesh.row)
            store.add_records(tx, mesh.id, rows)
            for epoch, value in sealed.items():
                store.put_epoch_key(tx, mesh.id, epoch, value)
            store.put_prekey(tx, mesh.id, prekey)
            if kept is not None:
                put_recovery(tx, mesh.id, kept)
            if first:
                store.set_meta(tx, "default_mesh", mesh.id)

        node.seams.reached("FP-18")
        await node.db.write(work)
        node.meshes[mesh.id] = mesh
        if first:
            node.default_mesh = mesh.id
        self.brokers.add(mesh)
        node.events.publish("mesh", mesh=mesh.slug)

    def _new_prekey(self, mesh: Mesh, prekey_id: int) -> PrekeyRow:
        made = make_prekey(self.node, mesh, prekey_id)
        mesh.prekeys[prekey_id] = made.private
        mesh.prekey = made.signed
        return made.row

    # Linking: a mesh is on the disk before it may be ours, and ours from the moment at which it is entered.

    async def hold(self, mesh: Mesh, prekey: PrekeyRow) -> None:
        """Store a mesh that this machine may be signed into, with its first prekey."""

        def work(tx: apsw.Connection) -> None:
            store.put_mesh(tx, mesh.row)
            store.put_prekey(tx, mesh.id, prekey)

        self.node.seams.reached("FP-18")
        await self.node.db.write(work)

    async def enter(self, mesh: Mesh) -> None:
        """Bring a mesh online that is on the disk."""
        node = self.node
        if node.default_mesh is None:
            await node.db.write(lambda tx: store.set_meta(tx, "default_mesh", mesh.id))
            node.default_mesh = mesh.id
        node.meshes[mesh.id] = mesh
        self.brokers.add(mesh)
        node.events.publish("mesh", mesh=mesh.slug)

    async def release(self, mesh: Mesh) -> None:
        """Forget a mesh that was held and is not entered."""
        await self.node.db.write(lambda tx: store.drop_mesh(tx, mesh.id))

    # Joining.

    async def join(self, url: str, me: str) -> Mesh:
        """Check the invite with the broker and remember it; being let in goes on in the background.

        A mesh that has not let us in yet may be asked with another invite.
        """
        require_staying(self.node)
        try:
            link = parse_link(url.strip())
        except CryptoError as error:
            raise MeshError("bad_invite", why=str(error)) from None
        try:
            me = check_name(me)
        except CryptoError:
            raise MeshError("bad_name", name=me) from None
        async with self._one:
            known = self.node.meshes.get(link.mesh_id)
            if known is None:
                mesh = await self._look(link, me)
                await self._keep(mesh, [])
                return mesh
            if known.active:
                raise MeshError("already_member", mesh=known.slug)
            if known.leaving:
                why = f"this machine is still leaving {known.slug}: somebody there has to sign it (mesh leave --forget ends it here)"
                raise MeshError("not_allowed", why=why)
            if linked_by(self.node, known) is not None or self._invite_of(known) != link:
                await self._look(link, me, known)
                await self._ask_anew(known, link, me)
            return known

    def _invite_of(self, mesh: Mesh) -> InviteLink:
        return parse_link(self.node.open("mesh", "secret", mesh.id, mesh.row.secret).decode())

    async def _ask_anew(self, mesh: Mesh, link: InviteLink, me: str) -> None:
        secret = self.node.seal("mesh", "secret", mesh.id, link.url().encode())
        row = mesh.row = mesh.row._replace(secret=secret, me=me, trouble="")
        await self.node.db.write(lambda tx: store.put_mesh(tx, row))
        self.brokers.retry(mesh)

    async def _look(self, link: InviteLink, me: str, known: Mesh | None = None) -> Mesh:
        """Verify at the broker that the invite can still let us in, so that a bad link fails here and now. `known`: the
        mesh is waited for already."""
        node = self.node
        mesh = Mesh(self._joining_row(link, me, b""), link_since_ms=node.now())
        async with self.brokers.visit(link.broker_url) as greeting:
            try:
                # The chain that is fetched here is thrown away: the link's own first step verifies and stores it.
                await enter_by_invite(node, greeting, mesh, link)
            except (CryptoError, ChainError) as error:
                raise MeshError("chain_invalid", why=str(error)) from None
            finally:
                if known is None:
                    await node.db.write(lambda tx: store.drop_mesh(tx, link.mesh_id))
            require_usable(mesh, link, node.now())
            require_may_come(mesh.state, node.device)
            return Mesh(self._joining_row(link, me, greeting.challenge.broker_key), link_since_ms=node.now())

    def _joining_row(self, link: InviteLink, me: str, broker_key: bytes) -> MeshRow:
        node = self.node
        return MeshRow(
            mesh=link.mesh_id,
            slug=node.free_slug(f"mesh-{link.mesh_id.hex()[:6]}"),
            state="joining",
            me=me,
            member=MemberId(bytes(16)),
            broker_url=link.broker_url,
            broker_key=broker_key,
            secret=node.seal("mesh", "secret", link.mesh_id, link.url().encode()),
            created_ms=node.now(),
            next_mseq=0,
            trouble="",
        )

    async def wait_active(self, mesh: Mesh, seconds: float) -> bool:
        """Whether this machine was let in within `seconds`."""
        with self.node.events.subscribe(frozenset({"joined", "link", "mesh"})) as changes, trio.move_on_after(seconds):
            while not mesh.active and not mesh.row.trouble:
                await changes.take()
        return mesh.active


@dataclass(frozen=True, slots=True)
class _Made:
    mesh: Mesh
    records: list[Record]
    recovery: bytes = field(repr=False)


def _is_mesh_name(name: str) -> bool:
    try:
        check_mesh_name(name)
    except CryptoError:
        return False
    return True
