"""Being let in: prove the invite's key, verify the chain, ask, and wait visibly until a signer has appended us."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from mesh_protocol.broker_api import JoinAnswer
from mesh_protocol.invite import (
    InviteLink,
    JoinRequest,
    invite_key,
    parse_link,
    seal_joiner_name,
    sign_join_request,
)
from mesh_protocol.keys import SignedPrekey
from mesh_protocol.members import Invite
from mesh_protocol.op import read_answer
from mesh_protocol.wire.errors import MeshError, RemoteError
from meshd.link.greeting import (
    CALL_S,
    Greeting,
    follow_tip,
    read_tip,
    say_hello,
    take_seals,
)
from meshd.link.prekeys import fetch_prekeys
from meshd.log import Id, get_logger
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.store import meshes as store

log = get_logger("joining")


@dataclass(slots=True, eq=False)
class Joiner:
    """Runs on the connection of a mesh that is not active yet; returns when the keys are here.

    `next_tip` waits until the broker says that the chain grew.
    """

    node: Node
    mesh: Mesh
    greeting: Greeting
    next_tip: Callable[[], Awaitable[None]]

    async def run(self) -> None:
        """Raises `MeshError` when the invite can no longer let this machine in."""
        link = self._link()
        used: MeshError | None = None
        if self.node.device not in (self.mesh.chain.devices if self.mesh.chain is not None else ()):
            try:
                await self._knock(link)
            except MeshError as error:
                if error.code != "invite_used":
                    raise
                used = error  # perhaps by ourselves, while we were away
        # Admitted: from here on we speak as the device, whose seals lie at the broker.
        try:
            answer = await say_hello(
                self.greeting,
                self.mesh.id,
                self.node.key,
                generation=self.node.generation,
                nonce=self.node.seams.rng(32),
            )
        except RemoteError as error:
            raise (used or error) from None
        tip = read_tip(self.mesh.id, self.mesh.row.broker_key, answer.tip)
        await follow_tip(self.node, self.greeting.connection, self.mesh, tip)
        member = self.mesh.state.devices[self.node.device].member_id
        row = self.mesh.row._replace(member=member)
        await self.node.db.write(lambda tx: store.put_mesh(tx, row))
        self.mesh.row = row
        if not await take_seals(self.node, self.greeting.connection, self.mesh):
            raise MeshError("chain_invalid", why="no key was sealed to this machine: ask to be invited again")
        me = self.mesh.name_of(member)
        self.mesh.row = self.mesh.row._replace(me=me, slug=self.node.free_slug(self.mesh.title()))
        row = self.mesh.row
        await self.node.db.write(lambda tx: store.put_mesh(tx, row))
        self.node.events.publish("joined", mesh=self.mesh.slug, name=me)

    def _link(self) -> InviteLink:
        secret = self.node.open("mesh", "secret", self.mesh.id, self.mesh.row.secret)
        return parse_link(secret.decode())

    async def _knock(self, link: InviteLink) -> None:
        connection = self.greeting.connection
        await enter_by_invite(self.node, self.greeting, self.mesh, link)
        invite = require_usable(self.mesh, link, self.node.now())
        await fetch_prekeys(self.node, connection, self.mesh, sorted(self.mesh.state.signers))
        body = join_request(self.node, self.mesh, link)
        reply = await connection.call(
            "join.ask", {"mesh": self.mesh.id, "invite": invite.invite_id}, body, seconds=CALL_S
        )
        answer = read_answer(JoinAnswer, reply.result)
        log.info("asked to join", mesh=Id(self.mesh.id), signers_online=answer.signers_online)
        while self.node.device not in self.mesh.state.devices:
            await self.next_tip()
            if self._link() != link:
                return await self._knock(self._link())
            await enter_by_invite(self.node, self.greeting, self.mesh, link)
            if self.node.device not in self.mesh.state.devices:
                require_usable(self.mesh, link, self.node.now())
        return None


async def enter_by_invite(node: Node, greeting: Greeting, mesh: Mesh, link: InviteLink) -> None:
    """Hello with the invite's key, and the chain verified against the link. Raises `MeshError`."""
    try:
        answer = await say_hello(
            greeting, mesh.id, invite_key(link.secret), generation=0, nonce=node.seams.rng(32), invite=True
        )
    except RemoteError as error:
        if error.code == "broker_refused" and mesh.chain is not None:
            return  # the invite was closed by its last use: perhaps ours, the chain we read next will tell
        raise
    await follow_tip(node, greeting.connection, mesh, read_tip(mesh.id, greeting.challenge.broker_key, answer.tip))
    if mesh.state.broker_key != greeting.challenge.broker_key:
        raise MeshError("broker_refused", url=link.broker_url, why="it has another key than the mesh's chain names")


def require_usable(mesh: Mesh, link: InviteLink, now_ms: int) -> Invite:
    """The link's invite on the verified chain. Raises `MeshError` when it lets nobody in any more."""
    invite = mesh.state.invites.get(link.invite_id)
    if invite is None or invite.pub != invite_key(link.secret).public:
        raise MeshError("invite_unknown")
    if not invite.open or invite.uses >= invite.max_uses:
        raise MeshError("invite_used")
    if now_ms > invite.expires_ms:
        raise MeshError("invite_expired", when=f"{(now_ms - invite.expires_ms) // 60_000} minutes ago")
    return invite


def join_request(node: Node, mesh: Mesh, link: InviteLink) -> bytes:
    """The signed request, with our name sealed to every signer whose prekey is known."""
    if mesh.prekey is None:
        raise MeshError("keys_unavailable", why="this machine has no prekey for the mesh yet")
    prekeys: Sequence[SignedPrekey] = [
        mesh.peer_prekeys[signer] for signer in sorted(mesh.state.signers) if signer in mesh.peer_prekeys
    ]
    if not prekeys:
        raise MeshError("broker_refused", url=link.broker_url, why="it has no key of anyone who could let you in")
    names = tuple(seal_joiner_name(mesh.id, link.invite_id, node.device, mesh.row.me, prekey) for prekey in prekeys)
    request = JoinRequest(mesh.id, link.invite_id, node.device, mesh.prekey, mesh.tip, names)
    return sign_join_request(request, invite_key(link.secret), node.key)
