"""Changing who belongs to a mesh: the records, the new epoch with its seals, and who has confirmed it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from mesh_protocol.chain import Body, Record, make_record, type_of
from mesh_protocol.chain_state import REASONS
from mesh_protocol.ids import DeviceId
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.keys import CryptoError
from mesh_protocol.members import ChainError, extend
from mesh_protocol.rotation import Rotation, rotate
from mesh_protocol.wire.codec import CodecError
from mesh_protocol.wire.errors import MeshError, RemoteError
from meshd.link.admission import Change
from meshd.link.greeting import keep_keys
from meshd.link.meshlink import MeshLink
from meshd.link.prekeys import fetch_prekeys
from meshd.link.refusals import not_genuine, own_words
from meshd.log import Id, get_logger
from meshd.mesh import Mesh

if TYPE_CHECKING:
    from meshd.app import App

log = get_logger("removal")

CHANGE_S: Final = 15.0

WHY: Final = {
    "wrong_signer": "this machine may not do that in {mesh}: {managers} may",
    "not_permitted": "your role does not allow that in {mesh}: {managers} may",
    "role_too_high": "that concerns a role above yours in {mesh}: an owner may do it",
    "own_removal": "nobody removes himself: another member who may, or another device of yours, has to do it",
    "last_signer": "{mesh} would be left without an owner who can sign: make somebody else an owner first",
}


class Outcome(NamedTuple):
    """What a removal came to. `gone` devices were active before, `unsealed` remaining ones got no key."""

    epoch: int
    gone: tuple[DeviceId, ...]
    unsealed: tuple[DeviceId, ...]
    invites_closed: int


async def change_rights(app: "App", mesh: Mesh, bodies: Sequence[Body]) -> None:
    """Append records that need no new epoch. Raises `MeshError`."""

    def make(head: Record) -> Change:
        records: list[Record] = []
        for body in bodies:
            previous = records[-1] if records else head
            records.append(make_record(previous, type_of(body), body.encode(), app.node.key, mesh.id))
        extend(mesh.state, records)
        return Change(records)

    async def append(link: MeshLink) -> None:
        await link.membership.append(make)

    await _while_online(app, mesh, append)


async def remove(app: "App", mesh: Mesh, bodies: Sequence[Body]) -> Outcome:
    """Append removals with the epoch that ends them, sealed to every device that stays. Raises `MeshError`."""
    node = app.node
    made: list[Rotation] = []

    def make(head: Record) -> Change:
        assert mesh.keys is not None
        own = {node.device: mesh.prekey} if mesh.prekey is not None else {}
        rotation = rotate(
            mesh.state,
            head,
            bodies,
            key=node.key,
            keys=mesh.keys,
            new_key=node.seams.rng(32),
            prekeys={**mesh.peer_prekeys, **own},
            tip=mesh.tip,
        )
        made.append(rotation)
        return Change(rotation.records, rotation.seals)

    before = mesh.state

    async def append(link: MeshLink) -> None:
        others = [device for device in mesh.state.devices if mesh.state.is_active(device) and device != node.device]
        await fetch_prekeys(node, link.greeting.connection, mesh, others)
        await link.membership.append(make)
        # Its own seal lies at the broker too, for a daemon that dies here.
        node.seams.reached("FP-17")
        await keep_keys(node, mesh, made[-1].keys)
        link.presence.set()

    await _while_online(app, mesh, append)
    after = made[-1].state
    log.info("removed from a mesh", mesh=Id(mesh.id))
    node.events.publish("mesh", mesh=mesh.slug)
    return Outcome(
        epoch=after.epoch,
        gone=tuple(device for device in after.devices if before.is_active(device) and not after.is_active(device)),
        unsealed=made[-1].unsealed,
        invites_closed=sum(was.open and not after.invites[each].open for each, was in before.invites.items()),
    )


async def _while_online(app: "App", mesh: Mesh, work: Callable[[MeshLink], Awaitable[None]]) -> None:
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
    managers = [
        mesh.name_of(member.member_id)
        for member in mesh.state.members.values()
        if "manage_permissions" in member.permissions and member.member_id != mesh.row.member
    ]
    text = WHY.get(reason, f"the mesh does not allow that: {REASONS[reason]}")
    return text.format(mesh=mesh.slug, managers=" or ".join(managers[:5]) or "nobody else")


async def wait_confirmed(app: "App", mesh: Mesh, epoch: int, seconds: float) -> list[DeviceId]:
    """Wait until every other active device was heard under the new key, or for so long; those that were not yet."""

    def waiting() -> list[DeviceId]:
        state = mesh.state
        others = (device for device in state.devices if state.is_active(device) and device != app.node.device)
        return [device for device in others if (heard := app.board.of(mesh.id, device)) is None or heard.epoch < epoch]

    with app.node.events.subscribe(frozenset({"presence", "mesh"})) as changes, trio.move_on_after(seconds):
        while waiting():
            await changes.take()
    return waiting()
