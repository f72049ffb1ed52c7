"""A backup's bytes: what is read is what was written, and nothing in it is believed because the passphrase was right."""

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

import pytest

from broker_kit.people import Device, Mesh, new_mesh, seeded
from mesh_protocol.keys import SigningKey
from mesh_protocol.pae import BadEncoding, lst, unlst_exactly
from mesh_protocol.seals import MeshKeys
from meshd.backup import (
    MAGIC,
    Backup,
    BackupMesh,
    BackupPin,
    BackupTrust,
    BadBackup,
    open_backup,
    seal_backup,
    stretch_backup,
)
from meshd.keys.argon2 import BACKUP_MEMORY, OPS
from meshd.restoring import verify_backup

ANN, BOB = Device("ann"), Device("bob")
PASSPHRASE = b"correct horse battery"


def cheap(passphrase: bytes, salt: bytes) -> bytes:
    return sha256(passphrase + salt).digest()


def mesh() -> Mesh:
    made = new_mesh(ANN, seeded("broker"))
    made.records.append(made.add_member(BOB))
    return made


def entry() -> BackupMesh:
    made = mesh()
    return BackupMesh(
        mesh_id=made.id,
        slug="team",
        me="ann",
        member=ANN.member_id,
        broker_url="ws://127.0.0.1:1",
        broker_key=made.broker_key,
        keys=made.keys,
        recovery=seeded("recovery", "mesh"),
        records=tuple(made.records),
        pins=(BackupPin(BOB.member_id, "bob", (BOB.id,), 7),),
        trust=(BackupTrust(BOB.member_id, "hold", frozenset({"wake", "files"}), 8),),
    )


def whole(**changed: object) -> Backup:
    backup = Backup(5, ANN.id, ANN.seeds[0], 9, entry().mesh_id, (entry(),))
    return replace(backup, **changed)  # type: ignore[arg-type]


def sealed(backup: Backup) -> bytes:
    return seal_backup(backup, PASSPHRASE, cheap, bytes(16), bytes(24))


def test_what_is_read_is_what_was_written() -> None:
    for backup in (whole(), whole(seed=b""), whole(meshes=(), default=b"")):
        assert open_backup(sealed(backup), PASSPHRASE, cheap) == backup
    (genuine,) = verify_backup(whole())
    assert len(genuine.state.members) == 2


def test_nothing_secret_is_printed_with_a_backup() -> None:
    shown = repr(whole())
    for secret in (ANN.seeds[0], seeded("recovery", "mesh"), entry().keys.name_key, *entry().keys.epochs.values()):
        assert repr(secret)[2:-1] not in shown


def test_the_key_of_a_backup_is_argon2id_with_256_mib_and_3_passes() -> None:
    from nacl import pwhash

    assert (BACKUP_MEMORY, OPS) == (256 * 1024 * 1024, 3)
    expected = pwhash.argon2id.kdf(32, PASSPHRASE, bytes(16), opslimit=3, memlimit=BACKUP_MEMORY)
    assert stretch_backup(PASSPHRASE, bytes(16)) == expected


@pytest.mark.parametrize("data", [b"", MAGIC, MAGIC + bytes(40), b"meshd-backup-2\n" + bytes(100), b"x" * 1000])
def test_what_is_no_backup_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(BadBackup, match="no backup of meshd"):
        open_backup(data, PASSPHRASE, cheap)


def test_a_field_too_many_or_of_the_wrong_size_is_not_understood() -> None:
    good = unlst_exactly(whole().encode(), 6)
    row = unlst_exactly(entry().encode(), 12)
    bad = [lst(*good, b""), lst(*good[:5]), lst(*good[:2], b"short", *good[3:]), lst(good[0], bytes(31), *good[2:])]
    for place in (0, 3, 5, 6, 7, 8, 9, 10, 11):
        bad.append(lst(*good[:5], lst(lst(*row[:place], row[place] + b"\0", *row[place + 1 :]))))
    bad.append(lst(*good[:5], lst(lst(*row, b""))))
    for content in bad:
        with pytest.raises(BadEncoding):
            Backup.decode(content)


def test_another_devices_key_is_refused() -> None:
    with pytest.raises(BadBackup, match="another device's"):
        open_backup(sealed(whole(seed=BOB.seeds[0])), PASSPHRASE, cheap)


FALSE: dict[str, Callable[[BackupMesh], BackupMesh]] = {
    "no chain": lambda it: replace(it, records=()),
    "another mesh's chain": lambda it: replace(it, records=tuple(new_mesh(BOB, seeded("broker"), "other").records)),
    "a chain that is cut inside": lambda it: replace(it, records=(it.records[0], it.records[2])),
    "a record that nobody signed": lambda it: replace(
        it, records=(*it.records[:2], replace(it.records[2], sig=bytes(64)))
    ),
    "another epoch key": lambda it: replace(it, keys=MeshKeys(it.keys.name_key, {1: bytes(32)})),
    "a key of an epoch that was not": lambda it: replace(
        it, keys=MeshKeys(it.keys.name_key, {**it.keys.epochs, 2: bytes(32)})
    ),
    "another name key": lambda it: replace(it, keys=MeshKeys(bytes(32), it.keys.epochs)),
    "another recovery key": lambda it: replace(it, recovery=seeded("recovery", "other")),
}


@pytest.mark.parametrize("change", FALSE.values(), ids=FALSE.keys())
def test_what_does_not_belong_together_is_not_restored(change: Callable[[BackupMesh], BackupMesh]) -> None:
    backup = open_backup(sealed(whole(meshes=(change(entry()),))), PASSPHRASE, cheap)
    with pytest.raises(BadBackup, match="of team is not genuine"):
        verify_backup(backup)


def test_the_recovery_key_of_the_kit_is_the_one_in_genesis() -> None:
    assert entry().verify().genesis.recovery_pub == SigningKey.from_seed(seeded("recovery", "mesh")).public
