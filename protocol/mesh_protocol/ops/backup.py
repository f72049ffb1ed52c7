"""Backups: making one, checking one, coming back from one. The client alone reads and writes the file."""

from typing import Annotated

import msgspec

from mesh_protocol.op import Answer, Command, Request, Tier, op
from mesh_protocol.ops.fields import Id, MeshArg
from mesh_protocol.ops.keys import Passphrase
from mesh_protocol.ops.members import CHANGE_ERRORS, Member

Size = Annotated[int, msgspec.Meta(ge=0, le=2**40)]
PASSPHRASE = frozenset({"passphrase"})
PARCEL = frozenset({"passphrase", "parcel"})


class MadeBackup(Answer, frozen=True):
    """A backup of `size` bytes to fetch under the id `parcel`. `meshes` are in it; `left_out` live on this machine's own
    broker and end with it; of `recovery` it holds the recovery keys."""

    parcel: str
    size: int
    meshes: list[str]
    left_out: list[str]
    recovery: list[str]
    device_key: bool


@op(
    "backup.make",
    answer=MadeBackup,
    tier=Tier.USER,
    guarded=True,
    audited=("recovery", "include_device_key"),
    errors=("no_mesh", "mesh_local_only", "not_found", "keys_unavailable", "too_large"),
    command=Command("backup", hidden=PASSPHRASE),
    payload="passphrase",
)
class MakeBackup(Request, frozen=True):
    """Write a file, sealed under a passphrase, with which you come back when this machine is gone.

    It holds the meshes with their history of members and their keys, whom you verified and trust; no message.
    """

    passphrase: Passphrase
    recovery: Annotated[
        bool, msgspec.Meta(description="also the recovery keys: they let you in when all your machines are lost")
    ] = False
    include_device_key: Annotated[
        bool, msgspec.Meta(description="also this machine's own key: whoever opens the file can be this machine")
    ] = False


class ReadAnswer(Answer, frozen=True):
    """The piece is the frame's body; `more` says that others follow."""

    more: bool


@op("backup.read", answer=ReadAnswer, tier=Tier.USER, errors=("not_found",))
class ReadBackup(Request, frozen=True):
    """A piece of a backup that was made; sealed as it is."""

    parcel: Id
    offset: Size


class BroughtAnswer(Answer, frozen=True):
    """`got` bytes are here."""

    parcel: str
    got: int


@op("backup.bring", answer=BroughtAnswer, tier=Tier.USER, errors=("not_found", "too_large"))
class BringBackup(Request, frozen=True):
    """The next piece of a backup's file, in the frame's body; without a `parcel` the first of `size` bytes."""

    size: Size
    parcel: Annotated[str, msgspec.Meta(max_length=64)] = ""


class BackupRow(Answer, frozen=True):
    """A mesh in a backup: its name here, yours in it, how much of its history and how many of its keys are there."""

    mesh: str
    me: str
    broker: str
    members: int
    records: int
    epochs: int
    recovery: bool


class BackupAnswer(Answer, frozen=True):
    """What a backup holds, every part of it verified. `dropped` meshes have their recovery key here no longer."""

    made_ms: int
    device: str
    device_key: bool
    meshes: list[BackupRow]
    dropped: list[str]


@op(
    "backup.check",
    answer=BackupAnswer,
    tier=Tier.USER,
    guarded=True,
    errors=("not_found", "bad_backup", "keys_unavailable"),
    command=Command("backup check", hidden=PARCEL),
    payload="passphrase",
)
class CheckBackup(Request, frozen=True):
    """Open a backup, verify all of it, and show what it holds. Nothing is restored."""

    parcel: Id
    passphrase: Passphrase


@op(
    "backup.confirm",
    answer=BackupAnswer,
    tier=Tier.USER,
    guarded=True,
    audited=("drop_recovery",),
    errors=("not_found", "bad_backup", "keys_unavailable"),
    payload="passphrase",
)
class ConfirmBackup(Request, frozen=True):
    """Verify a backup as it lies in its file. Recovery keys that it holds count as backed up from then on."""

    parcel: Id
    passphrase: Passphrase
    drop_recovery: bool = False
    """Remove those recovery keys from this machine."""


class RestoredRow(Answer, frozen=True):
    """`state`: restored, waiting (another machine has to sign this one in with `code`), here (it was in it already), or
    failed; `why` says more. `ask` names who may sign; `revoked` are lost machines that were taken out."""

    mesh: str
    me: str
    state: str
    why: str
    code: str
    ask: str
    revoked: list[str]


class RestoreAnswer(Answer, frozen=True):
    """`restart`: the daemon has to be started anew, and then is the machine of the backup."""

    device: str
    restart: bool
    meshes: list[RestoredRow]


@op(
    "backup.restore",
    answer=RestoreAnswer,
    tier=Tier.USER,
    guarded=True,
    audited=("same_device", "lost"),
    errors=("not_found", "bad_backup", "keys_unavailable"),
    command=Command("restore", hidden=PARCEL),
    payload="passphrase",
)
class Restore(Request, frozen=True):
    """Come back from a backup, as a new machine of the same person; or with --same-device as that very machine.

    A new machine is let in by another one of yours, by an owner or admin when you have none left, or by the recovery key.
    """

    parcel: Id
    passphrase: Passphrase
    same_device: Annotated[
        bool,
        msgspec.Meta(description="be the machine of the backup, which must never run again; needs its key in the file"),
    ] = False
    lost: Annotated[
        bool, msgspec.Meta(description="your other machines are lost: take them out, by the recovery key in the file")
    ] = False


class AdmittedDevice(Answer, frozen=True):
    """The device is in the chain. `unsealed` could not be given the new key and ask for it."""

    device: str
    member: str
    mesh: str
    epoch: int
    unsealed: list[str]


@op(
    "device.restore",
    answer=AdmittedDevice,
    tier=Tier.USER,
    guarded=True,
    audited=("peer",),
    errors=(*CHANGE_ERRORS, "unknown_recipient"),
    command=Command("device restore", args=("peer", "code")),
)
class RestoreDevice(Request, frozen=True):
    """Let a restored machine in: one of your own, or of a member who has no machine left.

    Make sure that it is his: whoever is let in under his name reads what is written to him. Everybody is told of it.
    """

    peer: Member
    code: Annotated[
        str, msgspec.Meta(min_length=1, max_length=512, description="what mesh restore shows there; - reads it")
    ]
    mesh: MeshArg = ""


class RecoveryAnswer(Answer, frozen=True):
    """`key` is the printed form: whoever has it may change everything in the mesh."""

    mesh: str
    key: str


@op(
    "backup.recovery",
    answer=RecoveryAnswer,
    tier=Tier.USER,
    guarded=True,
    audited=(),
    errors=("unknown_mesh", "no_mesh", "not_found"),
    command=Command("keys recovery"),
)
class ShowRecovery(Request, frozen=True):
    """Print the recovery key of a mesh, to be kept on paper, while it is still on this machine."""

    mesh: MeshArg = ""
