"""Letting a restored device in: by the recovery key, or by a device of the mesh that its person shows the new one to."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from mesh_protocol.chain import AddDevice, AddMember, AddSigner, Body, Record, RevokeDevice, make_record
from mesh_protocol.chain_changes import MAX_KEPT
from mesh_protocol.chain_state import ChainState, Device
from mesh_protocol.ids import DeviceId, MemberId
from mesh_protocol.keys import CryptoError, SignedPrekey, SigningKey, verify_prekey
from mesh_protocol.names import member_subject, seal_name
from mesh_protocol.rotation import Rotation, rotate
from mesh_protocol.tip import TipRef
from mesh_protocol.wire.errors import MeshError
from meshd.link.admission import Change, Membership
from meshd.link.greeting import Greeting, fetch_chain, follow_tip, keep_keys, read_tip, say_hello
from meshd.link.meshlink import MeshLink
from meshd.link.prekeys import fetch_prekeys
from meshd.link.turning import turn_epoch
from meshd.log import Id, get_logger
from meshd.membership import Person
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.prekeys import require_fresh
from meshd.removal import change_rights, while_online
from meshd.store import meshes as store

if TYPE_CHECKING:
    from meshd.app import App

log = get_logger("recovering")


def write_code(mesh: Mesh) -> str:
    """What a restored device shows so that another lets it in: its signed prekey, and so its key and the mesh's id."""
    assert mesh.prekey is not None
    return base64.urlsafe_b64encode(mesh.prekey.encode()).decode().rstrip("=")


def read_code(node: Node, slug: str, code: str) -> tuple[Mesh, SignedPrekey]:
    """The mesh that such a code is for, and the verified prekey. `slug` names the mesh, or is empty. Raises `MeshError`."""
    named = node.find_mesh(slug)
    try:
        data = base64.b64decode(code + "=" * (-len(code) % 4), altchars=b"-_", validate=True)
        prekey = SignedPrekey.decode(data)
        mesh = named if slug else node.meshes.get(prekey.mesh_id, named)
        verify_prekey(prekey, mesh.id, prekey.device)
        require_fresh(node, prekey.made_ms)
    except (binascii.Error, ValueError, CryptoError):
        what = "this is no code of a machine that was restored for this mesh: run mesh restore there once more, copy it whole"
        raise MeshError("bad_request", what=what) from None
    return mesh, prekey


async def admit_restored(app: "App", mesh: Mesh, person: Person, prekey: SignedPrekey) -> Rotation:
    """Sign a restored device in: one of this machine's own person, or of a member none of whose devices is left.

    Raises `MeshError`.
    """
    member = person.member
    active = mesh.state.active_devices(member.member_id)
    if active and member.member_id != mesh.row.member:
        machines = "1 machine" if len(active) == 1 else f"{len(active)} machines"
        why = (
            f"{person.name} still has {machines} in {mesh.slug}: one of them lets the new one in, with this same"
            f" command; lost ones are taken out first, with mesh device revoke"
        )
        raise MeshError("not_allowed", why=why)
    if mesh.state.is_active(prekey.device):
        raise MeshError("not_allowed", why=f"this machine is in {mesh.slug} already")
    mesh.peer_prekeys[prekey.device] = prekey
    made: list[Rotation] = []

    async def append(link: MeshLink) -> None:
        made.append(await turn_epoch(app.node, mesh, link, lambda: [AddDevice(member.member_id, prekey.device)]))
        link.presence.set()

    await while_online(app, mesh, append)
    if member.role != "member" and app.node.device in mesh.state.signers:
        # An admin's role is worth something when his device may sign.
        await change_rights(app, mesh, [AddSigner(prekey.device)])
    log.info("a restored device was let in", mesh=Id(mesh.id), device=Id(prekey.device))
    app.node.events.publish("mesh", mesh=mesh.slug)
    return made[-1]


async def recover(app: "App", mesh: Mesh, seed: bytes, *, lost: bool) -> tuple[DeviceId, ...]:
    """Let this machine into a mesh by its recovery key; the devices that went. Raises `MeshError`.

    `lost`: the member's other devices are taken out in the same append; without it, one that is left forbids this.
    """
    node = app.node
    async with app.brokers.visit(mesh.row.broker_url) as greeting:
        if greeting.challenge.broker_key != mesh.row.broker_key:
            raise MeshError(
                "broker_refused", url=mesh.row.broker_url, why="it has another key than the mesh's chain names"
            )
        key = SigningKey.from_seed(seed)
        answer = await say_hello(greeting, mesh.id, key, generation=0, nonce=node.seams.rng(32))
        tip = read_tip(mesh.id, mesh.row.broker_key, answer.tip)
        await follow_tip(node, greeting.connection, mesh, tip)
        if mesh.state.is_active(node.device):  # an earlier attempt died behind its append
            await keep_place(node, mesh)
            return ()
        return await _append_ourselves(node, mesh, greeting, key, lost=lost)


async def _append_ourselves(
    node: Node, mesh: Mesh, greeting: Greeting, key: SigningKey, *, lost: bool
) -> tuple[DeviceId, ...]:
    connection = greeting.connection
    old = mesh.row.member
    if not lost and mesh.state.active_devices(old):
        raise MeshError("not_allowed", why="another machine of yours is still in it; if all are lost, add --lost")
    fresh = MemberId(node.seams.rng(16))
    others = [device for device in mesh.state.devices if mesh.state.is_active(device)]
    await fetch_prekeys(node, connection, mesh, others)
    made: list[Rotation] = []

    def make(head: Record) -> Change:
        assert mesh.keys is not None
        assert mesh.prekey is not None
        state = mesh.state
        bodies = _return_of(state, old, node.device) or [_admission(node, mesh, fresh)]
        rotation = rotate(
            state,
            head,
            bodies,
            key=key,
            keys=mesh.keys,
            new_key=node.seams.rng(32),
            prekeys={**mesh.peer_prekeys, node.device: mesh.prekey},
            tip=mesh.tip,
        )
        made.append(rotation)
        records = [*rotation.records]
        member = rotation.state.member_of(node.device)
        if member is not None and member.role != "member":
            records.append(make_record(records[-1], "add_signer", AddSigner(node.device).encode(), key, mesh.id))
        return Change(records, rotation.seals)

    async def sync() -> None:
        await fetch_chain(node, connection, mesh)

    def heard(tip: TipRef) -> None:
        mesh.tip = tip

    before = mesh.state
    await Membership(node, mesh, connection, sync, heard).append(make)
    node.seams.reached("FP-25")  # as at FP-17: our own seal lies at the broker
    await keep_place(node, mesh)
    await keep_keys(node, mesh, made[-1].keys)
    log.info("let in by the recovery key", mesh=Id(mesh.id))
    return tuple(each for each in before.devices if before.is_active(each) and not mesh.state.is_active(each))


async def keep_place(node: Node, mesh: Mesh) -> None:
    """Who was removed comes back as another member."""
    member = mesh.state.devices[node.device].member_id
    if member != mesh.row.member:
        row = mesh.row._replace(member=member)
        await node.db.write(lambda tx: store.put_mesh(tx, row))
        mesh.row = row


def _return_of(state: ChainState, member_id: MemberId, device: DeviceId) -> list[Body]:
    """A member's own lost devices go, the new one comes; nothing for one who is no member any more. Pure."""
    member = state.members.get(member_id)
    if member is None:
        return []
    devices = dict(state.devices)
    bodies: list[Body] = []
    for each in member.devices:
        if devices[each].active:
            going, kept = _goes(state, devices, each, member_id)
            bodies.append(RevokeDevice(each, tuple(sorted(kept)[:MAX_KEPT])))
            for gone in going:
                devices[gone] = replace(devices[gone], active=False)
    return [*bodies, AddDevice(member_id, device)]


def _goes(
    state: ChainState, devices: Mapping[DeviceId, Device], lost: DeviceId, member_id: MemberId
) -> tuple[set[DeviceId], set[DeviceId]]:
    """What a revocation of a lost device takes along of its member's own, and what of others' it is made to keep."""
    going, kept = {lost}, set[DeviceId]()
    for each in sorted(devices.values(), key=lambda entry: entry.added_seq):
        by_going = each.active and each.added_by in going
        if by_going and state.members[each.member_id].added_seq != each.added_seq:
            (going if each.member_id == member_id else kept).add(each.device)
    return going, kept


def _admission(node: Node, mesh: Mesh, member_id: MemberId) -> AddMember:
    """Who was removed comes back under his name and in the role that he had; as an owner where nobody is one."""
    assert mesh.keys is not None
    state = mesh.state
    former = state.former.get(mesh.row.member)
    owned = any(member.role == "owner" for member in state.members.values())
    role = former.role if former is not None and owned else "owner"
    subject = member_subject(member_id, state.genesis.salt)
    return AddMember(
        member_id, role, node.device, seal_name(mesh.keys.name_key, subject, mesh.row.me, node.seams.rng(24)), b""
    )
