"""Backups: made, checked, and come back from."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import apsw

from mesh_protocol.io.connection import Reply
from mesh_protocol.op import write_answer
from mesh_protocol.ops.backup import (
    AdmittedDevice,
    BackupAnswer,
    BackupRow,
    BringBackup,
    BroughtAnswer,
    CheckBackup,
    ConfirmBackup,
    MadeBackup,
    MakeBackup,
    ReadAnswer,
    ReadBackup,
    RecoveryAnswer,
    Restore,
    RestoreAnswer,
    RestoreDevice,
    RestoredRow,
    ShowRecovery,
)
from mesh_protocol.wire.errors import MeshError
from meshd.backup import MAX_BACKUP, Backup, BadBackup, open_backup, seal_backup
from meshd.families.keys import require_passphrase
from meshd.gathering import PIECE, gather, may_be_restored
from meshd.grants import name_managers
from meshd.keys.states import KeysNotReady
from meshd.local.dispatch import Call, handles
from meshd.membership import find_person, name_devices
from meshd.recovering import admit_restored, keep_place, read_code, recover, write_code
from meshd.recovery import print_recovery, recovery_seed
from meshd.restoring import Genuine, known_as_device, plant_as_new, plant_as_same, verify_backup
from meshd.store.recovery import drop_sealed, set_backed_up

if TYPE_CHECKING:
    from meshd.app import App

T = TypeVar("T")


@handles(MakeBackup)
async def make_backup(call: Call, request: MakeBackup) -> MadeBackup:
    app, node = call.app, call.app.node
    passphrase = require_passphrase(request.passphrase)
    mesh = node.find_mesh("")
    if not any(may_be_restored(each) for each in node.meshes.values()):
        raise MeshError("mesh_local_only", mesh=mesh.slug)
    async with app.keys_changing:
        seed = app.keystore.device_seed() if request.include_device_key else b""
    backup = gather(node, seed, recovery=request.recovery)
    if request.recovery and not any(mesh.recovery for mesh in backup.meshes):
        raise MeshError("not_found", what="recovery key on this machine", id="of any mesh")
    salt, nonce = node.seams.rng(16), node.seams.rng(24)
    stretched = app.shipments.stretched
    data = await _stretching(app, lambda: seal_backup(backup, passphrase, stretched, salt, nonce))
    if len(data) > MAX_BACKUP:
        raise MeshError("too_large", what="the backup", size=len(data), limit=MAX_BACKUP)
    return MadeBackup(
        parcel=app.shipments.offer(data),
        size=len(data),
        meshes=[mesh.slug for mesh in backup.meshes],
        left_out=[mesh.slug for mesh in node.meshes.values() if not may_be_restored(mesh)],
        recovery=[mesh.slug for mesh in backup.meshes if mesh.recovery],
        device_key=bool(seed),
    )


@handles(ReadBackup)
async def read_backup(call: Call, request: ReadBackup) -> Reply:
    piece = call.app.shipments.read(request.parcel, request.offset)
    return Reply(write_answer(ReadAnswer(more=len(piece) == PIECE)), piece)


@handles(BringBackup)
async def bring_backup(call: Call, request: BringBackup) -> BroughtAnswer:
    parcel = call.app.shipments.take(request.parcel, request.size, call.body)
    return BroughtAnswer(parcel=parcel, got=len(call.body))


@handles(CheckBackup)
async def check_backup(call: Call, request: CheckBackup) -> BackupAnswer:
    backup, meshes = await _open(call.app, request.parcel, request.passphrase)
    return _told(backup, meshes, [])


@handles(ConfirmBackup)
async def confirm_backup(call: Call, request: ConfirmBackup) -> BackupAnswer:
    app, node = call.app, call.app.node
    backup, meshes = await _open(app, request.parcel, request.passphrase)
    held = [
        mesh
        for genuine in meshes
        if genuine.entry.recovery and (mesh := node.meshes.get(genuine.entry.mesh_id)) is not None and mesh.active
    ]
    now = node.now()

    def work(tx: apsw.Connection) -> None:
        for mesh in held:
            set_backed_up(tx, mesh.id, now)
            if request.drop_recovery:
                drop_sealed(tx, mesh.id)

    await node.db.write(work)
    if request.drop_recovery and held:
        node.db.cut_log()
    return _told(backup, meshes, [mesh.slug for mesh in held] if request.drop_recovery else [])


@handles(Restore)
async def restore(call: Call, request: Restore) -> RestoreAnswer:
    app, node = call.app, call.app.node
    backup, meshes = await _open(app, request.parcel, request.passphrase)
    if request.same_device:
        if not backup.seed:
            raise MeshError("bad_backup", why="the backup does not hold the machine's key: leave --same-device out")
        await plant_as_same(node, backup, meshes)
        rows = [_row(each.entry.slug, each.entry.me, "restored") for each in meshes]
        return RestoreAnswer(device=backup.device.hex(), restart=True, meshes=rows)
    rows = [await _restore_one(app, backup, each, lost=request.lost) for each in meshes]
    return RestoreAnswer(device=node.device.hex(), restart=False, meshes=rows)


async def _restore_one(app: "App", backup: Backup, genuine: Genuine, *, lost: bool) -> RestoredRow:
    node, entry = app.node, genuine.entry
    mesh = node.meshes.get(entry.mesh_id)
    if mesh is not None and known_as_device(node, mesh.id):
        if mesh.active:  # a restore may have died behind its append, and the chain come in since
            await keep_place(node, mesh)
        return _row(mesh.slug, mesh.row.me, "here")
    if mesh is None:
        mesh = await plant_as_new(node, genuine, backup.made_ms, default=backup.default == entry.mesh_id)
    why, gone = "", list[str]()
    if entry.recovery:
        try:
            taken = await recover(app, mesh, entry.recovery, lost=lost)
            gone = name_devices(mesh, taken)
        except MeshError as error:
            why = error.message
    app.brokers.add(mesh)
    if mesh.state.is_active(node.device):
        return _row(mesh.slug, mesh.row.me, "restored", revoked=gone)
    return _row(mesh.slug, mesh.row.me, "waiting", why=why, code=write_code(mesh), ask=name_managers(mesh))


@handles(RestoreDevice)
async def restore_device(call: Call, request: RestoreDevice) -> AdmittedDevice:
    app = call.app
    mesh, prekey = read_code(app.node, request.mesh, request.code)
    if not mesh.active:
        raise MeshError("not_allowed", why=f"this machine is not in {mesh.slug} yet: it waits to be let in")
    person = find_person(mesh, request.peer, "member")
    made = await admit_restored(app, mesh, person, prekey)
    return AdmittedDevice(
        device=prekey.device.hex(),
        member=person.name,
        mesh=mesh.slug,
        epoch=made.state.epoch,
        unsealed=name_devices(mesh, made.unsealed),
    )


@handles(ShowRecovery)
async def show_recovery(call: Call, request: ShowRecovery) -> RecoveryAnswer:
    mesh = call.app.node.find_mesh(request.mesh)
    seed = recovery_seed(call.app.node, mesh) if mesh.active else None
    if seed is None:
        raise MeshError("not_found", what="recovery key here of", id=mesh.slug)
    return RecoveryAnswer(mesh=mesh.slug, key=print_recovery(seed))


async def _open(app: "App", parcel: str, passphrase: str) -> tuple[Backup, list[Genuine]]:
    """A brought backup, opened and verified."""
    data, stretched, secret = app.shipments.brought(parcel), app.shipments.stretched, passphrase.encode()
    if not secret:
        raise MeshError("bad_request", what="a backup has a passphrase: give it")

    def work() -> tuple[Backup, list[Genuine]]:
        backup = open_backup(data, secret, stretched)
        return backup, verify_backup(backup)

    try:
        return await _stretching(app, work)
    except BadBackup as error:
        raise MeshError("bad_backup", why=str(error)) from None


async def _stretching(app: "App", work: Callable[[], T]) -> T:
    """Do what stretches a passphrase, in a thread; one at a time, because each takes 256 MiB."""
    try:
        async with app.keys_changing:
            return await app.seams.threads(work)
    except KeysNotReady as error:
        raise MeshError("keys_unavailable", why=str(error)) from None


def _told(backup: Backup, meshes: list[Genuine], dropped: list[str]) -> BackupAnswer:
    rows = [
        BackupRow(
            mesh=entry.slug,
            me=entry.me,
            broker=entry.broker_url,
            members=len(state.members),
            records=state.seq,
            epochs=len(entry.keys.epochs),
            recovery=bool(entry.recovery),
        )
        for entry, state in meshes
    ]
    return BackupAnswer(
        made_ms=backup.made_ms,
        device=backup.device.hex(),
        device_key=bool(backup.seed),
        meshes=rows,
        dropped=dropped,
    )


def _row(
    mesh: str, me: str, state: str, *, why: str = "", code: str = "", ask: str = "", revoked: list[str] | None = None
) -> RestoredRow:
    return RestoredRow(mesh=mesh, me=me, state=state, why=why, code=code, ask=ask, revoked=revoked or [])
