"""Changing the membership: appends by compare-and-set, invites, and letting in who asks with one."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import trio

from mesh_protocol import hpke
from mesh_protocol.broker_api import TipAnswer
from mesh_protocol.chain import AddMember, AddSigner, InviteOpen, Record, make_record
from mesh_protocol.ids import InviteId, MemberId
from mesh_protocol.invite import (
    InviteLink,
    JoinRequest,
    claimed_invite,
    invite_key,
    open_join_request,
    open_joiner_name,
)
from mesh_protocol.io.connection import Connection
from mesh_protocol.keys import CryptoError
from mesh_protocol.members import Invite, extend
from mesh_protocol.names import check_name, member_subject, seal_name
from mesh_protocol.op import read_answer
from mesh_protocol.seals import EpochSeal, seal_keys
from mesh_protocol.tip import TipRef
from mesh_protocol.wire.errors import MeshError, RemoteError
from mesh_protocol.wire.items import pack_items
from meshd.knocks import MAX_KNOCKS, Knock
from meshd.link.greeting import CALL_S, agrees, keep_records, read_tip
from meshd.log import Id, get_logger
from meshd.mesh import Mesh
from meshd.node import Node

log = get_logger("admission")

APPEND_TRIES: Final = 6


class Change(NamedTuple):
    """Records to append on the current head, and the epoch seals that belong to them."""

    records: Sequence[Record]
    seals: Sequence[EpochSeal] = ()


@dataclass(slots=True, eq=False)
class Membership:
    """Appends to the chain of `mesh` over `connection`; `sync` fetches what others appended, `heard` takes a signed tip."""

    node: Node
    mesh: Mesh
    connection: Connection
    sync: Callable[[], Awaitable[None]]
    heard: Callable[[TipRef], None]
    _one: trio.Lock = field(default_factory=trio.Lock)

    async def append(self, make: Callable[[Record], Change]) -> Change:
        """Append what `make` builds on the head; when somebody else was first, sync and build anew.

        Appends of this machine go one after another: it would only be in its own way. Raises `MeshError` or `RemoteError`.
        """
        async with self._one:
            return await self._append(make)

    async def _append(self, make: Callable[[Record], Change]) -> Change:
        for _ in range(APPEND_TRIES):
            head = self.mesh.last
            if head is None:
                raise MeshError("no_mesh")
            change = make(head)
            try:
                reply = await self.connection.call(
                    "chain.append",
                    {"mesh": self.mesh.id, "previous": head.hash},
                    pack_items(
                        [
                            pack_items([record.encode() for record in change.records]),
                            pack_items([seal.encode() for seal in change.seals]),
                        ]
                    ),
                    seconds=CALL_S,
                )
            except RemoteError as error:
                if error.code != "chain_conflict":
                    raise
                await self.sync()
                continue
            tip = read_tip(self.mesh.id, self.mesh.row.broker_key, read_answer(TipAnswer, reply.result).tip)
            await keep_records(self.node, self.mesh, change.records)
            self.heard(tip)
            if not agrees(self.mesh, tip):
                raise MeshError("broker_rollback", mesh=self.mesh.slug)
            return change
        raise MeshError("chain_conflict")

    async def open_invite(
        self, url: str, role: str, expires_ms: int, uses: int = 1, *, approve: bool = False, inviter: str = ""
    ) -> tuple[InviteLink, InviteId]:
        """An invite for `uses` machines, and its link."""
        secret = self.node.seams.rng(32)
        body = InviteOpen(
            invite_pub=invite_key(secret).public, role=role, max_uses=uses, expires_ms=expires_ms, approve=approve
        )

        def make(head: Record) -> Change:
            records = [make_record(head, "invite_open", body.encode(), self.node.key, self.mesh.id)]
            extend(self.mesh.state, records)  # what the chain forbids is said here, in its own words
            return Change(records)

        change = await self.append(make)
        invite_id = InviteId(change.records[0].hash)
        return InviteLink(self.mesh.id, invite_id, url, secret, inviter), invite_id

    # Requests to join.

    def keep_only(self, numbers: Sequence[int]) -> None:
        """The broker has listed all requests that wait; any other is gone."""
        for number in self.mesh.knocks.keys() - set(numbers):
            self.forget(number)

    def forget(self, number: int) -> None:
        """A request is answered, by this machine or by another one."""
        if self.mesh.knocks.pop(number, None) is not None:
            self._tell()

    def _tell(self) -> None:
        self.node.events.publish("join_waits", mesh=self.mesh.slug)

    async def consider(self, number: int, data: bytes) -> None:
        """Judge a join request: admit, forget it, or keep it for a person to decide."""
        await self._know_invite(data)
        try:
            request, invite = self._verify(data)
        except (CryptoError, MeshError) as error:
            log.warning("a join request was refused", error=error, mesh=Id(self.mesh.id))
            await self._drop(number)
            return
        if self.mesh.state.is_active(request.device) or not invite.open:
            await self._drop(number)
            return
        if why := self._why_a_person(invite):
            self._keep(number, request, why)
            return
        try:
            await self._admit(request, invite)
        except (CryptoError, MeshError) as error:
            log.warning("a newcomer could not be admitted", error=error, mesh=Id(self.mesh.id))

    def _why_a_person(self, invite: Invite) -> str:
        """Why a person has to say yes to who comes by `invite`; empty: nobody has to."""
        if invite.approve:
            return "approve"
        if not self.mesh.state.may(invite.opener, "invite"):
            return "opener"
        return "expired" if self.node.now() > invite.expires_ms else ""

    def _keep(self, number: int, request: JoinRequest, why: str) -> None:
        knocks = self.mesh.knocks
        known = knocks.get(number)
        if known is None and len(knocks) >= MAX_KNOCKS:
            log.warning("too many machines wait to be let in", mesh=Id(self.mesh.id))
            return
        at_ms = self.node.now() if known is None else known.at_ms
        knocks[number] = Knock(number, request, self._newcomer_name(request), why, at_ms)
        log.info("a join request waits for a person", mesh=Id(self.mesh.id))
        self._tell()

    async def approve(self, knock: Knock) -> None:
        """Let in who waits: a person said yes. Raises `MeshError`, `ChainError` or `RemoteError`."""
        await self._admit(knock.request, self.mesh.state.invites[knock.invite_id], knock.name)
        self.forget(knock.number)

    async def deny(self, knock: Knock) -> None:
        """Turn away who waits; the broker remembers it, so that asking again is refused there. Raises as `approve`."""
        await self.connection.call(
            "join.drop", {"mesh": self.mesh.id, "id": knock.number, "denied": True}, seconds=CALL_S
        )
        self.forget(knock.number)

    async def _know_invite(self, data: bytes) -> None:
        """Another signer may have opened it a moment ago: then our chain is behind, and the request is not to be blamed."""
        try:
            known = claimed_invite(data) in self.mesh.state.invites
        except CryptoError:
            return
        if not known:
            await self.sync()

    def _verify(self, data: bytes) -> tuple[JoinRequest, Invite]:
        """The invite is looked up by the id the request names, and the request must be signed by that invite's key.

        Raises `MeshError`, or `CryptoError` also for a prekey that nothing can be sealed to.
        """
        claimed = claimed_invite(data)
        invite = self.mesh.state.invites.get(claimed)
        if invite is None:
            raise MeshError("invite_unknown")
        request = open_join_request(data, invite.pub)
        if request.mesh_id != self.mesh.id or request.invite_id != claimed:
            raise MeshError("bad_invite", why="the join request is for another mesh")
        hpke.seal(
            request.spk.pub, b"", b""
        )  # a key of low order would be found out only when the keys are sealed to it
        return request, invite

    async def _admit(self, request: JoinRequest, invite: Invite, name: str = "") -> None:
        mesh, node = self.mesh, self.node
        keys = mesh.keys
        if keys is None:
            raise MeshError("no_mesh")
        name = name or self._newcomer_name(request)
        member_id = MemberId(node.seams.rng(16))
        sealed_name = seal_name(
            keys.name_key, member_subject(member_id, mesh.state.genesis.salt), name, node.seams.rng(24)
        )
        body = AddMember(member_id, invite.role, request.device, sealed_name, invite.invite_id)

        def make(head: Record) -> Change:
            # On a new head the invite may have been used, or the device added: then this append is void.
            current = mesh.state.invites[invite.invite_id]
            if mesh.state.is_active(request.device) or not current.open:
                raise MeshError("invite_used")
            records = [make_record(head, "add_member", body.encode(), node.key, mesh.id)]
            if invite.role != "member" and mesh.state.may(node.device, "manage_permissions"):
                # An admin's role is worth something when his device may sign.
                signer = AddSigner(request.device).encode()
                records.append(make_record(records[-1], "add_signer", signer, node.key, mesh.id))
            held = mesh.keys
            if held is None or mesh.state.epoch not in held.epochs:  # the newest key is on its way to us ourselves
                raise MeshError("no_mesh")
            extend(mesh.state, records)
            return Change(records, [seal_keys(mesh.id, mesh.state.epoch, request.spk, held, mesh.tip)])

        await self.append(make)
        mesh.peer_prekeys[request.device] = request.spk
        log.info("admitted a new member", mesh=Id(mesh.id), device=Id(request.device))
        node.events.publish("joined", mesh=mesh.slug, name=mesh.name_of(member_id))

    def _newcomer_name(self, request: JoinRequest) -> str:
        """The name the newcomer sealed to us; a device that none of its names open for us is called by its key."""
        for sealed in request.sealed_names:
            prekey = self.mesh.prekeys.get(sealed.prekey_id)
            if sealed.signer == self.node.device and prekey is not None:
                try:
                    return check_name(open_joiner_name(request, self.node.device, prekey))
                except CryptoError:
                    break
        return f"member-{request.device.hex()[:8]}"

    async def _drop(self, number: int) -> None:
        await self.connection.call("join.drop", {"mesh": self.mesh.id, "id": number}, seconds=CALL_S)
