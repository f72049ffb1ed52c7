"""Changing who belongs to a mesh: the records, the new epoch with its seals, and who has confirmed it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from mesh_protocol.chain import Body, InviteClose, Record, make_record, type_of
from mesh_protocol.chain_state import REASONS, ChainState
from mesh_protocol.ids import DeviceId, InviteId, MemberId
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.keys import CryptoError
from mesh_protocol.members import ChainError, extend
from mesh_protocol.rights import rank
from mesh_protocol.rotation import Rotation
from mesh_protocol.wire.codec import CodecError
from mesh_protocol.wire.errors import MeshError, RemoteError
from meshd.grants import name_managers
from meshd.link.admission import Change
from meshd.link.meshlink import MeshLink
from meshd.link.refusals import not_genuine, own_words
from meshd.link.turning import turn_epoch
from meshd.log import Id, get_logger
from meshd.mesh import Mesh

if TYPE_CHECKING:
    from meshd.app import App

log = get_logger("removal")

CHANGE_S: Final = 15.0
MAX_CLOSED: Final = 32
"""Invites that are closed in one append, which has at most 64 records."""

WHY: Final = {
    "wrong_signer": "this machine may not do that in {mesh}: {managers} may",
    "not_permitted": "your role does not allow that in {mesh}: {managers} may",
    "role_too_high": "that concerns a role above yours in {mesh}: an owner may do it",
    "own_removal": "nobody removes himself: another member who may, or another device of yours, has to do it",
    "unknown_member": "somebody else was quicker: that member is not in {mesh} any more",
    "unknown_device": "somebody else was quicker: that machine is not in {mesh} any more",
    "last_signer": "{mesh} would be left without an owner who can sign: make somebody else an owner first",
}


class Outcome(NamedTuple):
    """What a removal came to. `seq` is its record; `gone` devices were active before, `unsealed` remaining ones got no key."""

    seq: int
    epoch: int
    gone: tuple[DeviceId, ...]
    unsealed: tuple[DeviceId, ...]
    invites: tuple[InviteId, ...]
    """Those that were open and ended with it."""


async def change_rights(app: "App", mesh: Mesh, bodies: Sequence[Body]) -> None:
    """Append records that need no new epoch. Raises `MeshError`."""
    await change_as_it_stands(app, mesh, lambda: bodies)


async def change_as_it_stands(app: "App", mesh: Mesh, bodies: Callable[[], Sequence[Body]]) -> None:
    """As `change_rights`; `bodies` is asked anew on each head."""

    def make(head: Record) -> Change:
        records: list[Record] = []
        for body in bodies():
            previous = records[-1] if records else head
            records.append(make_record(previous, type_of(body), body.encode(), app.node.key, mesh.id))
        extend(mesh.state, records)
        return Change(records)

    async def append(link: MeshLink) -> None:
        await link.membership.append(make)

    await while_online(app, mesh, append)


async def change_and_close(
    app: "App", mesh: Mesh, bodies: Callable[[], Sequence[Body]], member: MemberId, allowed: int
) -> list[InviteId]:
    """Append records that take something from `member`, and close his open invites to a role of a rank above `allowed`:
    those that were closed. Raises `MeshError`."""
    own, closed = app.node.device, list[InviteId]()

    def void() -> list[InviteId]:
        return _void_invites(mesh.state, own, member, allowed)

    def close() -> list[Body]:
        now = void()[:MAX_CLOSED]
        closed.extend(each for each in now if each not in closed)
        return [InviteClose(each) for each in now]

    while len(void()) > MAX_CLOSED:
        await change_as_it_stands(app, mesh, close)
    await change_as_it_stands(app, mesh, lambda: [*close(), *bodies()])
    return closed


def _void_invites(state: ChainState, own: DeviceId, member: MemberId, allowed: int) -> list[InviteId]:
    """The open invites of a member to a role of a rank above `allowed`, as far as `own` may close them."""
    actor = state.member_of(own)
    if actor is None or own not in state.signers or not state.may(own, "invite"):
        return []
    openers = set(state.members[member].devices) if member in state.members else set()
    return [
        each.invite_id
        for each in state.invites.values()
        if each.open and each.opener in openers and allowed < rank(each.role) <= actor.rank
    ]


async def remove(app: "App", mesh: Mesh, bodies: Sequence[Body]) -> Outcome:
    """Append removals with the epoch that ends them, sealed to every device that stays. Raises `MeshError`."""
    node = app.node
    made: list[Rotation] = []
    before = mesh.state

    async def append(link: MeshLink) -> None:
        made.append(await turn_epoch(node, mesh, link, lambda: bodies))
        link.presence.set()

    await while_online(app, mesh, append)
    after = made[-1].state
    log.info("removed from a mesh", mesh=Id(mesh.id))
    node.events.publish("mesh", mesh=mesh.slug)
    return Outcome(
        seq=made[-1].records[0].seq,
        epoch=after.epoch,
        gone=tuple(device for device in after.devices if before.is_active(device) and not after.is_active(device)),
        unsealed=made[-1].unsealed,
        invites=tuple(each for each, was in before.invites.items() if was.open and not after.invites[each].open),
    )


async def while_online(app: "App", mesh: Mesh, work: Callable[[MeshLink], Awaitable[None]]) -> None:
    """Do `work` on the mesh's link, in bounded time. Raises `MeshError`, of a broken rule too."""
    url = mesh.row.broker_url
    link = await app.wait_link(mesh, CHANGE_S)
    if link is None:
        raise MeshError("broker_unreachable", url=url, why=mesh.link_why or mesh.link.value)
    try:
        with trio.fail_after(CHANGE_S):
            await work(link)
    except trio.TooSlowError:
        raise MeshError("timeout", what="the change of the membership", seconds=CHANGE_S) from None
    except LinkClosed:
        raise MeshError("broker_unreachable", url=url, why="the connection was lost") from None
    except ChainError as error:
        raise MeshError("not_allowed", why=_why(mesh, error.reason)) from None
    except RemoteError as error:
        own = own_words(error, url)
        if own.code not in ("broker_refused", "rate_limited"):
            own = MeshError("broker_refused", url=url, why=own.message)
        raise own from None
    except (CryptoError, CodecError) as error:
        raise not_genuine(error, url) from None


def _why(mesh: Mesh, reason: str) -> str:
    text = WHY.get(reason, f"the mesh does not allow that: {REASONS[reason]}")
    return text.format(mesh=mesh.slug, managers=name_managers(mesh))


async def wait_confirmed(app: "App", mesh: Mesh, seq: int, seconds: float) -> list[DeviceId]:
    """Wait until every other active device was seen to hold record `seq`, or for so long; those that were not yet."""
    with app.node.events.subscribe(frozenset({"presence", "mesh"})) as changes, trio.move_on_after(seconds):
        while mesh.confirmations.waiting(mesh.state, seq, app.node.device):
            await changes.take()
    return mesh.confirmations.waiting(mesh.state, seq, app.node.device)
