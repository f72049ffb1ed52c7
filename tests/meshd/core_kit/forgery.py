"""Envelopes and records that an attacker makes: everything is real but what the test says is not."""

from dataclasses import replace

from broker_kit.people import seeded
from core_kit.core import Core, virtual_ms
from core_kit.town import BROKER_KEY
from mesh_protocol.chain import AddMember, InviteOpen, Record, make_record
from mesh_protocol.envelope import Message, seal_envelope, sign_message
from mesh_protocol.ids import DeviceId, MemberId, MsgId
from mesh_protocol.keys import SigningKey
from mesh_protocol.names import member_subject, seal_name
from mesh_protocol.tip import TipRef, sign_tip
from meshd.store.meshes import read_chain

MALLORY = SigningKey.from_seed(seeded("mallory"))


class Impostor:
    """Signs with its own key and says it is `claimed`. Stands where a SigningKey is wanted."""

    def __init__(self, claimed: DeviceId) -> None:
        self.public = claimed

    def sign(self, message: bytes) -> bytes:
        return MALLORY.sign(message)


def write_message(sender: Core, victim: Core, text: str, number: int = 1, **changes: object) -> Message:
    """A message as `sender`'s daemon would write it for `victim`, with `changes`."""
    mesh = victim.mesh()
    tip = TipRef(mesh.state.seq, mesh.state.head, 0, bytes(32))
    message = Message(
        mesh_id=mesh.id,
        from_member=mesh.state.devices[sender.app.node.device].member_id,
        from_device=sender.app.node.device,
        from_session="",
        origin="human",
        to_member=mesh.row.member,
        to_device=victim.app.node.device,
        to_session="",
        msg_id=MsgId(seeded("forged", text, number)[:16]),
        conv_id=bytes(16),
        stream_seq=1000 + number,
        created_ms=virtual_ms(),
        expires_ms=virtual_ms() + 86_400_000,
        kind="text",
        lane="next",
        reply_to=b"",
        tip=tip,
        content_type="text/plain",
        content=text.encode(),
    )
    return replace(message, **changes)  # type: ignore[arg-type]


def seal_for(victim: Core, message: Message, key: "SigningKey | Impostor", attempt: int = 1) -> bytes:
    """The envelope of `message` for `victim`, signed with `key`."""
    prekey = victim.mesh().prekey
    assert prekey is not None
    return seal_envelope(sign_message(message, key), attempt=attempt, spk=prekey)  # type: ignore[arg-type]


def own_envelope(sender: Core, victim: Core, text: str, number: int = 1, **changes: object) -> bytes:
    """An envelope that `sender`, a member gone bad, makes with its own true key."""
    return seal_for(victim, write_message(sender, victim, text, number, **changes), sender.app.node.key)


def signed_tip(core: Core, records: list[Record], key: SigningKey = BROKER_KEY) -> bytes:
    """The broker's signed statement that the mesh's chain ends with the last of `records`."""
    last = records[-1]
    return sign_tip(key, core.mesh().id, TipRef(last.seq, last.hash, last.seq, bytes(32))).encode()


def chain_of(core: Core) -> list[Record]:
    """The chain as `core` holds it on its disk."""
    return [Record.decode(data) for data in read_chain(core.app.node.db.reader, core.mesh().id)]


def ghost_record(core: Core, after: Record, signer: SigningKey, device: DeviceId = MALLORY.public) -> Record:
    """A record that adds mallory as a member, signed by `signer`."""
    mesh = core.mesh()
    assert mesh.keys is not None
    member = MemberId(seeded("mallory's member")[:16])
    subject = member_subject(member, mesh.state.genesis.salt)
    body = AddMember(member, "member", device, seal_name(mesh.keys.name_key, subject, "mallory", seeded("n")[:24]), b"")
    return make_record(after, "add_member", body.encode(), signer, mesh.id)


def invite_record(core: Core, after: Record, signer: SigningKey, word: str = "invite") -> Record:
    """A record that opens an invite."""
    body = InviteOpen(SigningKey.from_seed(seeded(word)).public, "member", 1, virtual_ms() + 3_600_000, False)
    return make_record(after, "invite_open", body.encode(), signer, core.mesh().id)
