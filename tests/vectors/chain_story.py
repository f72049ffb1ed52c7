"""A mesh told record by record: who signs what, with the epoch that an append needs added by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from mesh_protocol.chain import (
    AddDevice,
    AddMember,
    AddSigner,
    Body,
    BrokerKey,
    Epoch,
    InviteClose,
    InviteOpen,
    Policy,
    Record,
    RemoveMember,
    RemoveSigner,
    Resolve,
    RevokeDevice,
    SetName,
    SetRole,
    Snapshot,
    Unban,
    epoch_kc,
    type_of,
)
from mesh_protocol.ids import InviteId
from mesh_protocol.members import ChainState, extend
from mesh_samples import DAY_MS, HERE, NOW_MS, Samples

AWAIT = ("add_device", "revoke_device", "remove_member")


@dataclass(frozen=True)
class Story:
    """`records` make a valid chain of the mesh of `samples`; to tell on makes another story."""

    samples: Samples
    records: tuple[Record, ...]

    @cached_property
    def state(self) -> ChainState:
        return extend(None, self.records)

    @property
    def last(self) -> Record:
        return self.records[-1]

    def make(self, signer: str, *bodies: Body, tag: str = "") -> list[Record]:
        """Records on top, signed by `signer`, judged by nobody; `tag` makes another epoch key than without."""
        records: list[Record] = []
        for body in (*bodies, *self._epoch(bodies, tag)):
            previous = records[-1] if records else self.last
            records.append(self.samples.record(previous, type_of(body), body.encode(), signer))
        return records

    def _epoch(self, bodies: Sequence[Body], tag: str) -> Sequence[Epoch]:
        if not bodies or type_of(bodies[-1]) not in AWAIT:
            return ()
        return (self.epoch(self.state.epoch + 1, tag),)

    def epoch(self, number: int, tag: str = "") -> Epoch:
        gk = self.samples.seed(f"epoch {number}{tag}")
        return Epoch(number, epoch_kc(self.samples.mesh_id, number, gk))

    def tell(self, signer: str, *bodies: Body, tag: str = "") -> "Story":
        return Story(self.samples, (*self.records, *self.make(signer, *bodies, tag=tag)))

    # Bodies by the names of members and devices. A member's first device has his name.

    def add_member(self, name: str, role: str = "member", invite: bytes = b"", device: str = "") -> AddMember:
        key = self.samples.key(device or name).public
        return AddMember(self.samples.member(name), role, key, self.samples.sealed_name(name), invite)

    def add_device(self, name: str, device: str) -> AddDevice:
        return AddDevice(self.samples.member(name), self.samples.key(device).public)

    def revoke(self, device: str, *kept: str) -> RevokeDevice:
        return RevokeDevice(
            self.samples.key(device).public, tuple(sorted(self.samples.key(each).public for each in kept))
        )

    def remove(self, name: str, ban: bool = False) -> RemoveMember:
        return RemoveMember(self.samples.member(name), ban)

    def unban(self, name: str) -> Unban:
        return Unban(self.samples.member(name))

    def add_signer(self, device: str) -> AddSigner:
        return AddSigner(self.samples.key(device).public)

    def remove_signer(self, device: str) -> RemoveSigner:
        return RemoveSigner(self.samples.key(device).public)

    def set_role(self, name: str, role: str) -> SetRole:
        return SetRole(self.samples.member(name), role)

    def policy(self, name: str, *permissions: str) -> Policy:
        return Policy(self.samples.member(name), tuple(sorted(permissions)))

    def set_name(self, name: str, sealed: str) -> SetName:
        return SetName(self.samples.member(name), self.samples.sealed_name(sealed))

    def open_invite(self, key: str = "invite", role: str = "member", uses: int = 1) -> InviteOpen:
        return InviteOpen(self.samples.key(key).public, role, uses, NOW_MS + DAY_MS, False)

    def close_invite(self, invite_id: InviteId) -> InviteClose:
        return InviteClose(invite_id)

    def broker_key(self, key: str = "broker 2") -> BrokerKey:
        return BrokerKey(self.samples.key(key).public, ("wss://elsewhere.example/mesh",))

    def snapshot(self, log_seq: int = 10) -> Snapshot:
        head, views, blob = (self.samples.seed(f"snapshot {what}") for what in ("head", "views", "blob"))
        return Snapshot(log_seq, head, 1, views, blob)

    def resolve(self, log_seq: int = 0) -> Resolve:
        return Resolve(self.last.hash, log_seq, self.samples.seed("log head") if log_seq else bytes(32))

    # Questions, by name.

    def is_active(self, device: str) -> bool:
        return self.state.is_active(self.samples.key(device).public)

    def device_names(self, *names: str) -> list[str]:
        """Those of the names whose devices are active."""
        return [name for name in names if self.is_active(name)]


def founded(samples: Samples = HERE) -> Story:
    """alice, owner and only signer, alone."""
    genesis = samples.genesis_record
    first = samples.record(genesis, "epoch", samples.epoch_body(1), "alice")
    return Story(samples, (genesis, first))


def peopled(samples: Samples = HERE) -> Story:
    """alice (owner: alice, alice phone), bob (admin: bob, bob laptop), carol and dave (members); alice and bob sign."""
    story = founded(samples)
    story = story.tell("alice", story.add_device("alice", "alice phone"))
    story = story.tell("alice", story.add_member("bob", "admin")).tell("alice", story.add_signer("bob"))
    story = story.tell("bob", story.add_device("bob", "bob laptop"))
    return story.tell("alice", story.add_member("carol")).tell("bob", story.add_member("dave"))
