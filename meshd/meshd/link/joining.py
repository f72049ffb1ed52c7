"""Being let in: prove the invite's key, verify the chain, ask, and wait visibly until a signer has appended us."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from mesh_protocol.broker_api import JoinAnswer
from mesh_protocol.ids import DeviceId
from mesh_protocol.invite import (
    InviteLink,
    JoinRequest,
    SealedName,
    invite_key,
    parse_link,
    seal_joiner_name,
    sign_join_request,
)
from mesh_protocol.keys import BadPeerKey, SignedPrekey
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
from meshd.store.meshes import MeshRow

log = get_logger("joining")


@dataclass(slots=True, eq=False)
class Joiner:
    """Runs on the connection of a mesh that is not active yet; returns when this machine is let in. If no good seal of the
    keys came with that, the mesh is not active even then: `keyasking` asks for them.

    `next_tip` waits until the broker says that the chain grew.
    """

    node: Node
    mesh: Mesh
    greeting: Greeting
    next_tip: Callable[[], Awaitable[None]]

    async def run(self) -> None:
        """Raises `MeshError` when the invite can no longer let this machine in."""
        by = linked_by(self.node, self.mesh)
        used: MeshError | None = None
        if by is None and (self.mesh.chain is None or not self.mesh.chain.is_active(self.node.device)):
            try:
                await self._knock(self._link())
            except MeshError as error:
                if error.code not in ("invite_used", "invite_closed"):
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
            if by is not None and error.code == "broker_refused":
                raise MeshError("link_ended", why="the other machine did not sign this one in") from None
            raise (used or error) from None
        tip = read_tip(self.mesh.id, self.mesh.row.broker_key, answer.tip)
        await follow_tip(self.node, self.greeting.connection, self.mesh, tip)
        listed = self.mesh.state.devices[self.node.device]
        if by is not None and listed.added_by != by:
            raise MeshError("link_ended", why="another machine signed this one in than the one whose words you saw")
        member = listed.member_id
        await _keep_row(self.node, self.mesh, self.mesh.row._replace(member=member))
        await take_seals(self.node, self.greeting.connection, self.mesh)
        if self.mesh.active:  # else it asks another machine for the keys
            await settle_in(self.node, self.mesh)

    def _link(self) -> InviteLink:
        secret = self.node.open("mesh", "secret", self.mesh.id, self.mesh.row.secret)
        return parse_link(secret.decode())

    async def _knock(self, link: InviteLink) -> None:
        connection = self.greeting.connection
        await enter_by_invite(self.node, self.greeting, self.mesh, link)
        # Who asked in time goes on waiting: whether it is let in all the same is the signer's to say.
        asked_ms = self.mesh.row.created_ms
        invite = require_usable(self.mesh, link, asked_ms)
        await fetch_prekeys(self.node, connection, self.mesh, sorted(self.mesh.state.signers))
        body = join_request(self.node, self.mesh, link)
        reply = await connection.call(
            "join.ask", {"mesh": self.mesh.id, "invite": invite.invite_id}, body, seconds=CALL_S
        )
        answer = read_answer(JoinAnswer, reply.result)
        log.info("asked to join", mesh=Id(self.mesh.id), signers_online=answer.signers_online)
        while not self.mesh.state.is_active(self.node.device):
            await self.next_tip()
            if self._link() != link:
                return await self._knock(self._link())
            await enter_by_invite(self.node, self.greeting, self.mesh, link)
            if not self.mesh.state.is_active(self.node.device):
                require_usable(self.mesh, link, asked_ms)
        return None


async def settle_in(node: Node, mesh: Mesh) -> None:
    """The first keys are here: take over the names that they open."""
    me = mesh.name_of(mesh.row.member)
    await _keep_row(node, mesh, mesh.row._replace(me=me, slug=node.free_slug(mesh.title())))
    node.events.publish("joined", mesh=mesh.slug, name=me)


async def _keep_row(node: Node, mesh: Mesh, row: MeshRow) -> None:
    """Store the mesh as it is now, unless its person has left it meanwhile: then nothing brings it back."""
    if mesh.leaving:
        return
    await node.db.write(lambda tx: store.put_mesh(tx, row))
    if not mesh.leaving:
        mesh.row = row


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
    if not invite.open:
        raise MeshError("invite_closed" if invite.uses < invite.max_uses else "invite_used")
    if now_ms > invite.expires_ms:
        raise MeshError("invite_expired", when=f"{(now_ms - invite.expires_ms) // 60_000} minutes ago")
    return invite


LINKED: Final = b"linked by "


def linked_secret(by: DeviceId) -> bytes:
    """What a mesh that is entered by linking keeps in the place of an invite: the device that signs this one in."""
    return LINKED + by


def linked_by(node: Node, mesh: Mesh) -> DeviceId | None:
    """The device that `linked_secret` was made of; None for a mesh that is entered by an invite."""
    secret = node.open("mesh", "secret", mesh.id, mesh.row.secret)
    return DeviceId(secret.removeprefix(LINKED)) if secret.startswith(LINKED) else None


def whom_it_waits_for(node: Node, mesh: Mesh) -> str:
    """Whom a machine that asked to join waits for, for its person to read. The name is the one in the link."""
    if mesh.leaving:
        return "a member who may sign that it leaves"
    if mesh.lacking.since_ms:
        return "another machine of the mesh to send the keys, which did not come with its admission"
    if linked_by(node, mesh) is not None:
        return "your other machine to sign this one in"
    link = parse_link(node.open("mesh", "secret", mesh.id, mesh.row.secret).decode())
    invite = mesh.chain.invites.get(link.invite_id) if mesh.chain is not None else None
    who = link.inviter or "somebody"
    return f"{who} to say yes and let you in" if invite is not None and invite.approve else f"{who} to let you in"


def join_request(node: Node, mesh: Mesh, link: InviteLink) -> bytes:
    """The signed request, with our name sealed to every signer whose prekey is known."""
    if mesh.prekey is None:
        raise MeshError("keys_unavailable", why="this machine has no prekey for the mesh yet")
    prekeys: Sequence[SignedPrekey] = [
        mesh.peer_prekeys[signer] for signer in sorted(mesh.state.signers) if signer in mesh.peer_prekeys
    ]
    if not prekeys:
        raise MeshError("broker_refused", url=link.broker_url, why="it has no key of anyone who could let you in")
    names: list[SealedName] = []
    for prekey in prekeys:
        try:
            names.append(seal_joiner_name(mesh.id, link.invite_id, node.device, mesh.row.me, prekey))
        except BadPeerKey:  # one signer's key must not keep us from the others
            log.warning("a signer's prekey cannot be used", mesh=Id(mesh.id), device=Id(prekey.device))
    request = JoinRequest(mesh.id, link.invite_id, node.device, mesh.prekey, mesh.tip, tuple(names))
    return sign_join_request(request, invite_key(link.secret), node.key)
