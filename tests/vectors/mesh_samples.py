"""A small mesh with fixed keys: two members, three devices, one invite, two epochs. The same bytes at every run.

Only what the library's HPKE seals differs from run to run.
"""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from mesh_protocol.chain import (
    AddDevice,
    AddMember,
    Epoch,
    Genesis,
    InviteOpen,
    Record,
    epoch_kc,
    invite_id_of,
    make_record,
    mesh_id_of,
)
from mesh_protocol.envelope import Kind, Lane, Message, Origin
from mesh_protocol.hello import BrokerHello, ClientHello, sign_client_hello, transcript_hash
from mesh_protocol.ids import InviteId, MemberId, MeshId, MsgId
from mesh_protocol.invite import InviteLink, JoinRequest, SealedName, invite_key, seal_joiner_name
from mesh_protocol.keys import PrekeyPrivate, SignedPrekey, SigningKey, sign_prekey
from mesh_protocol.live import LiveFrame, channel_id
from mesh_protocol.members import ChainState, extend
from mesh_protocol.names import member_subject, seal_name
from mesh_protocol.receipt import Bounce, ReceiptRow
from mesh_protocol.seals import MeshKeys
from mesh_protocol.tip import EMPTY_LOG_HEAD, TipRef, log_head, marker

NOW_MS = 1_780_000_000_000
DAY_MS = 86_400_000


@dataclass(frozen=True)
class Samples:
    """Everything a test needs of one mesh; `tag` makes another mesh with other keys throughout."""

    tag: str

    def seed(self, name: str, size: int = 32) -> bytes:
        return sha256(f"meshd samples {self.tag} {name}".encode()).digest()[:size]

    def key(self, name: str) -> SigningKey:
        return SigningKey.from_seed(self.seed(name))

    def prekey(self, name: str) -> PrekeyPrivate:
        return PrekeyPrivate.from_seed(self.seed(name + " prekey"))

    def spk(self, name: str, prekey_id: int = 7) -> SignedPrekey:
        return sign_prekey(self.key(name), self.mesh_id, prekey_id, self.prekey(name).public, NOW_MS)

    def member(self, name: str) -> MemberId:
        return MemberId(self.seed(name + " member", 16))

    @cached_property
    def salt(self) -> bytes:
        return self.seed("salt", 16)

    @cached_property
    def keys(self) -> MeshKeys:
        return MeshKeys(self.seed("name key"), {1: self.seed("epoch 1"), 2: self.seed("epoch 2")})

    def sealed_name(self, name: str) -> bytes:
        subject = member_subject(self.member(name), self.salt)
        return seal_name(self.seed("name key"), subject, name, self.seed(name + " name nonce", 24))

    @cached_property
    def genesis(self) -> Genesis:
        return Genesis(
            salt=self.salt,
            member_id=self.member("alice"),
            device=self.key("alice").public,
            recovery_pub=self.key("recovery").public,
            broker_key=self.key("broker").public,
            broker_urls=("wss://broker.example/mesh", "ws://127.0.0.1:7777"),
            sealed_mesh_name=seal_name(self.seed("name key"), self.salt, "team", self.seed("mesh name nonce", 24)),
            sealed_member_name=self.sealed_name("alice"),
        )

    @cached_property
    def genesis_record(self) -> Record:
        return make_record(None, "genesis", self.genesis.encode(), self.key("alice"), None)

    @cached_property
    def mesh_id(self) -> MeshId:
        return mesh_id_of(self.genesis_record)

    def record(self, previous: Record, kind: str, body: bytes, signer: str) -> Record:
        return make_record(previous, kind, body, self.key(signer), self.mesh_id)

    def epoch_body(self, epoch: int) -> bytes:
        return Epoch(epoch, epoch_kc(self.mesh_id, epoch, self.seed(f"epoch {epoch}"))).encode()

    @cached_property
    def invite_open(self) -> InviteOpen:
        public = invite_key(self.seed("invite secret")).public
        return InviteOpen(public, "admin", 1, NOW_MS + DAY_MS, False)

    @cached_property
    def records(self) -> tuple[Record, ...]:
        """genesis, epoch 1, invite_open, add_member bob, add_device of bob, epoch 2."""
        genesis = self.genesis_record
        first = self.record(genesis, "epoch", self.epoch_body(1), "alice")
        opened = self.record(first, "invite_open", self.invite_open.encode(), "alice")
        bob = AddMember(
            self.member("bob"),
            "admin",
            self.key("bob").public,
            self.sealed_name("bob"),
            invite_id_of(opened),
        )
        added = self.record(opened, "add_member", bob.encode(), "alice")
        device = AddDevice(self.member("bob"), self.key("bob laptop").public)
        second = self.record(added, "add_device", device.encode(), "bob")
        return (
            genesis,
            first,
            opened,
            added,
            second,
            self.record(second, "epoch", self.epoch_body(2), "bob"),
        )

    @cached_property
    def state(self) -> ChainState:
        return extend(None, self.records)

    @cached_property
    def invite_id(self) -> InviteId:
        return invite_id_of(self.records[2])

    @cached_property
    def tip(self) -> TipRef:
        """The broker's tip after these records, each with its marker in the log."""
        head = EMPTY_LOG_HEAD
        records = self.records
        for record in records:
            head = log_head(self.mesh_id, record.seq, head, marker(record.seq, record.hash))
        return TipRef(len(records), records[-1].hash, len(records), head)

    def message(self, content: bytes = b"the tests pass on my machine", **changes: object) -> Message:
        fields: dict[str, object] = {
            "mesh_id": self.mesh_id,
            "from_member": self.member("alice"),
            "from_device": self.key("alice").public,
            "from_session": "6d1f2a0c",
            "origin": Origin.AGENT.value,
            "to_member": self.member("bob"),
            "to_device": self.key("bob").public,
            "to_session": "web",
            "msg_id": MsgId(self.seed("message", 16)),
            "conv_id": self.seed("conversation", 16),
            "stream_seq": 41,
            "created_ms": NOW_MS,
            "expires_ms": NOW_MS + 30 * DAY_MS,
            "kind": Kind.TEXT.value,
            "lane": Lane.NEXT.value,
            "reply_to": b"",
            "tip": self.tip,
            "content_type": "text/plain",
            "content": content,
        }
        fields.update(changes)
        return Message(**fields)  # type: ignore[arg-type]

    @cached_property
    def receipt_row(self) -> ReceiptRow:
        return ReceiptRow(
            MsgId(self.seed("message", 16)),
            1,
            self.seed("message hash"),
            "shown",
            "",
            "web",
            "inbox-socket",
            NOW_MS + 5,
            2,
        )

    @cached_property
    def bounce(self) -> Bounce:
        msg_id = MsgId(self.seed("message", 16))
        return Bounce(msg_id, 1, self.seed("outer hash"), "prekey_gone", self.spk("bob", 8))

    @cached_property
    def client_hello(self) -> ClientHello:
        return ClientHello(
            self.key("broker").public,
            self.mesh_id,
            self.key("bob").public,
            self.seed("challenge"),
            self.seed("hello nonce"),
            1,
            3,
            12,
        )

    @cached_property
    def broker_hello(self) -> BrokerHello:
        hello = self.client_hello
        transcript = transcript_hash(hello, sign_client_hello(hello, self.key("bob")))
        return BrokerHello(transcript, 2, self.seed("session", 16), NOW_MS)

    @cached_property
    def link(self) -> InviteLink:
        return InviteLink(self.mesh_id, self.invite_id, "wss://broker.example/mesh", self.seed("invite secret"))

    def join_request(self, names: tuple[SealedName, ...] | None = None) -> JoinRequest:
        if names is None:
            device = self.key("carol").public
            names = (seal_joiner_name(self.mesh_id, self.invite_id, device, "carol", self.spk("alice")),)
        return JoinRequest(
            self.mesh_id,
            self.invite_id,
            self.key("carol").public,
            self.spk("carol"),
            self.tip,
            names,
        )

    @cached_property
    def live_frame(self) -> LiveFrame:
        return LiveFrame(
            self.mesh_id,
            self.key("bob").public,
            2,
            12,
            345,
            channel_id(self.seed("epoch 2"), "presence"),
            "presence",
            NOW_MS,
            self.tip,
            b'{"status":"idle"}',
        )


HERE = Samples("here")
ELSEWHERE = Samples("elsewhere")
