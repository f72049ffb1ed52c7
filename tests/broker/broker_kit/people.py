"""Devices, meshes and messages made with the real cryptography, from seeds."""

from dataclasses import dataclass, field
from hashlib import sha256

from mesh_protocol.chain import (
    AddDevice,
    AddMember,
    Epoch,
    Genesis,
    InviteOpen,
    Record,
    RemoveMember,
    epoch_kc,
    invite_id_of,
    make_record,
    mesh_id_of,
)
from mesh_protocol.envelope import Message, seal_envelope, sign_message
from mesh_protocol.ids import DeviceId, InviteId, MemberId, MeshId, MsgId
from mesh_protocol.invite import JoinRequest, invite_key, seal_joiner_name, sign_join_request
from mesh_protocol.keys import PrekeyPrivate, SignedPrekey, SigningKey, sign_prekey
from mesh_protocol.names import member_subject, seal_name
from mesh_protocol.seals import EpochSeal, MeshKeys, seal_keys
from mesh_protocol.tip import TipRef

START_MS = 1_800_000_000_000
"""The stand's clock begins here."""
EMPTY_TIP = TipRef(0, bytes(32), 0, bytes(32))


def seeded(*words: object) -> bytes:
    """32 bytes of a seed."""
    return sha256(repr(words).encode()).digest()


class Device:
    """One install with all its keys."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seeds = seeded("device", name), seeded("prekey", name)
        self.key = SigningKey.from_seed(self.seeds[0])
        self.prekey = PrekeyPrivate.from_seed(self.seeds[1])
        self.member_id = MemberId(seeded("member", name)[:16])

    @property
    def id(self) -> DeviceId:
        return self.key.public

    def signed_prekey(self, mesh_id: MeshId, prekey_id: int = 1) -> SignedPrekey:
        return sign_prekey(self.key, mesh_id, prekey_id, self.prekey.public, START_MS)


@dataclass
class Mesh:
    """A mesh as its owner's daemon holds it. `records` is the chain so far."""

    owner: Device
    records: list[Record]
    keys: MeshKeys
    broker_key: bytes
    secrets: list[bytes] = field(default_factory=list)

    @property
    def id(self) -> MeshId:
        return mesh_id_of(self.records[0])

    @property
    def head(self) -> bytes:
        return self.records[-1].hash

    @property
    def salt(self) -> bytes:
        return Genesis.decode(self.records[0].body).salt

    def sealed_name(self, device: Device) -> bytes:
        return seal_name(
            self.keys.name_key,
            member_subject(device.member_id, self.salt),
            device.name,
            seeded("nonce", device.name)[:24],
        )

    def signed(self, kind: str, body: bytes, signer: Device | None = None, after: Record | None = None) -> Record:
        """The next record, not yet in the chain."""
        return make_record(after or self.records[-1], kind, body, (signer or self.owner).key, self.id)

    def add_member(self, device: Device, role: str = "member", invite: bytes = b"") -> Record:
        return self.signed(
            "add_member", AddMember(device.member_id, role, device.id, self.sealed_name(device), invite).encode()
        )

    def add_device(self, member: Device, device: Device, epoch: int = 2) -> list[Record]:
        """Another device of a member, with the epoch it needs."""
        first = self.signed("add_device", AddDevice(member.member_id, device.id).encode(), member)
        kc = epoch_kc(self.id, epoch, seeded("gk", epoch))
        return [first, self.signed("epoch", Epoch(epoch, kc).encode(), member, after=first)]

    def remove(self, device: Device, epoch: int = 2) -> list[Record]:
        """The removal of a member, with the epoch it needs."""
        first = self.signed("remove_member", RemoveMember(device.member_id, False).encode())
        kc = epoch_kc(self.id, epoch, seeded("gk", epoch))
        return [first, self.signed("epoch", Epoch(epoch, kc).encode(), after=first)]

    def open_invite(self, secret: bytes, uses: int = 1, expires_ms: int = START_MS + 3_600_000) -> Record:
        pub = invite_key(secret).public
        return self.signed("invite_open", InviteOpen(pub, "member", uses, expires_ms, False).encode())

    def seal_for(self, device: Device, epoch: int = 1) -> EpochSeal:
        return seal_keys(self.id, epoch, device.signed_prekey(self.id), self.keys, EMPTY_TIP)


def new_mesh(owner: Device, broker_key: bytes, word: str = "mesh", name: str = "team") -> Mesh:
    """Genesis and the first epoch."""
    name_key, gk, salt = seeded("name", word), seeded("gk", 1, word), seeded("salt", word)[:16]
    genesis = Genesis(
        salt,
        owner.member_id,
        owner.id,
        SigningKey.from_seed(seeded("recovery", word)).public,
        broker_key,
        ("ws://127.0.0.1:1",),
        seal_name(name_key, salt, name, seeded("nonce", word)[:24]),
        seal_name(name_key, member_subject(owner.member_id, salt), owner.name, seeded("nonce2", word)[:24]),
    )
    first = make_record(None, "genesis", genesis.encode(), owner.key, None)
    mesh_id = mesh_id_of(first)
    second = make_record(first, "epoch", Epoch(1, epoch_kc(mesh_id, 1, gk)).encode(), owner.key, mesh_id)
    return Mesh(owner, [first, second], MeshKeys(name_key, {1: gk}), broker_key, [name_key, gk])


def invite_id(record: Record) -> InviteId:
    return invite_id_of(record)


def join_request(mesh: Mesh, invite: Record, secret: bytes, joiner: Device) -> bytes:
    """A request to join, with the name sealed to the owner."""
    spk = joiner.signed_prekey(mesh.id)
    name = seal_joiner_name(mesh.id, invite_id_of(invite), joiner.id, joiner.name, mesh.owner.signed_prekey(mesh.id))
    request = JoinRequest(mesh.id, invite_id_of(invite), joiner.id, spk, EMPTY_TIP, (name,))
    return sign_join_request(request, invite_key(secret), joiner.key)


def envelope(
    mesh: Mesh,
    sender: Device,
    to: Device,
    number: int | bytes,
    *,
    text: str = "hello",
    lane: str = "next",
    attempt: int = 0,
    expires_ms: int = START_MS + 86_400_000,
) -> bytes:
    """A sealed message; `number` makes its id."""
    msg_id = MsgId(number if isinstance(number, bytes) else seeded("msg", number)[:16])
    message = Message(
        mesh.id,
        sender.member_id,
        sender.id,
        "",
        "human",
        to.member_id,
        to.id,
        "",
        msg_id,
        bytes(16),
        1,
        START_MS,
        expires_ms,
        "text",
        lane,
        b"",
        EMPTY_TIP,
        "text/plain",
        text.encode(),
    )
    return seal_envelope(sign_message(message, sender.key), attempt=attempt, spk=to.signed_prekey(mesh.id))
