"""Backups between machines of a world, by the operations that the commands use; Argon2id is tried elsewhere."""

from hashlib import sha256
from typing import Any

from world.machine import Machine
from world.talk import Answer

PASSPHRASE = "correct horse battery"


def cheap(passphrase: bytes, salt: bytes) -> bytes:
    """In place of Argon2id, which takes a child process, 256 MiB and a second."""
    return sha256(passphrase + salt).digest()


async def bring(machine: Machine, data: bytes, piece: int = 100_000) -> str:
    """Take a backup's bytes to a daemon."""
    parcel = ""
    for start in range(0, len(data), piece):
        answer = await machine.call("backup.bring", size=len(data), parcel=parcel, body=data[start : start + piece])
        parcel = str(answer["parcel"])
    return parcel


async def make(machine: Machine, **asked: Any) -> bytes:
    """A backup's bytes."""
    machine.app.shipments.stretched = cheap
    made = await machine.call("backup.make", passphrase=PASSPHRASE, **asked)
    data, more = b"", True
    while more:
        answer = await machine.call("backup.read", parcel=made["parcel"], offset=len(data))
        data, more = data + answer["body"], bool(answer["more"])
    assert len(data) == made["size"]
    return data


async def opened(machine: Machine, method: str, data: bytes, passphrase: str = PASSPHRASE, **asked: Any) -> Answer:
    """Check, confirm or restore a backup."""
    machine.app.shipments.stretched = cheap
    return await machine.call(method, parcel=await bring(machine, data), passphrase=passphrase, **asked)


async def refused(machine: Machine, method: str, data: bytes, passphrase: str = PASSPHRASE, **asked: Any) -> str:
    """The code with which that is refused."""
    machine.app.shipments.stretched = cheap
    return await machine.refusal(method, parcel=await bring(machine, data), passphrase=passphrase, **asked)
