"""One mesh in memory: its verified chain, its keys, its names. What is here is also on disk, or is derived from it."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

import trio

from mesh_protocol.chain import Record
from mesh_protocol.ids import DeviceId, MemberId, MeshId
from mesh_protocol.keys import CryptoError, PrekeyPrivate, SignedPrekey
from mesh_protocol.members import ChainState, Member, extend
from mesh_protocol.names import compare_form, member_subject, open_name
from mesh_protocol.seals import MeshKeys
from mesh_protocol.tip import TipRef
from mesh_protocol.wire.errors import MeshError
from meshd.branches import Fork
from meshd.confirming import Confirmations
from meshd.doubts import Doubts
from meshd.invited import Opened
from meshd.knocks import Knock
from meshd.lacking import Lacking
from meshd.link.table import LinkEvent, LinkState, advance
from meshd.shelf import Shelf
from meshd.store.meshes import MeshRow
from meshd.store.prekeys import Use

LEAVING: Final = "leaving"
EMPTY_TIP: Final = TipRef(0, bytes(32), 0, bytes(32))


class Stream(NamedTuple):
    """Numbers of the stream between this device and another one."""

    sent: int
    got: int


class Arriving(Protocol):
    """A message on its way to the disk."""

    @property
    def failed(self) -> bool:
        """It is not there, and will not be. Known in the writer before anything behind it is written."""


@dataclass(slots=True, eq=False)
class Mesh:
    """The state of one mesh. Only the event loop touches it.

    `chain` is None until a joining machine has verified a first chain; `keys` is None until it was admitted.
    `hashes[i]` is the hash of record i, to judge a peer's claim about an older tip.
    """

    row: MeshRow
    chain: ChainState | None = None
    last: Record | None = None
    hashes: list[bytes] = field(default_factory=list)
    keys: MeshKeys | None = None
    prekeys: dict[int, PrekeyPrivate] = field(default_factory=dict)
    prekey: SignedPrekey | None = None
    peer_prekeys: dict[DeviceId, SignedPrekey] = field(default_factory=dict)
    peers_asked_ms: int = 0
    """When all of these were last fetched anew."""
    shelf: Shelf = field(default_factory=Shelf)
    claims: dict[int, Use] = field(default_factory=dict)
    """One-time prekeys of ours whose message is being committed."""
    spent: bool = False
    """One was used since the log of the database was last cut."""
    replace_onetime: bool = False
    """Those that lie at the broker are not to be given out any more."""
    streams: dict[DeviceId, Stream] = field(default_factory=dict)
    arriving: Arriving | None = None
    """The newest message of this connection: what comes behind one that cannot be stored is not stored either."""
    tip: TipRef = EMPTY_TIP
    link: LinkState = LinkState.OFFLINE
    link_since_ms: int = 0
    link_why: str = ""
    turned_out: bool = False
    """The broker said last that this machine is not in the mesh, whose chain lists it here."""
    names: dict[MemberId, str] = field(default_factory=dict)
    former_names: dict[MemberId, str] = field(default_factory=dict)
    """Of those who were removed: what they wrote is still shown under them."""
    alarm: str = ""
    """Why sending is stopped: the broker served another history. Empty: all is well."""
    branches: dict[bytes, Record] = field(default_factory=dict)
    """Valid records of other histories, by hash: of those that wait for a resolve, and of those that are void."""
    withheld: dict[bytes, int] = field(default_factory=dict)
    """Hash and number of records that the broker signed for another member and shows to nobody here; for the daemon's life."""
    evidence: dict[bytes, bytes] = field(default_factory=dict)
    """Tips that the broker signed of other histories than ours, encoded, by the hash of the record that they name."""
    beside: int = 0
    """How many records of other histories the broker keeps, when we last read them."""
    broker_forgot: bool = False
    """It signed another history than ours, as one does that was restored from a backup: it forgot mail as well."""
    parted: int = sys.maxsize
    """What was told to the devices above this record was told to those of another history: it is told anew."""
    fork: Fork | None = None
    """The mesh is frozen between histories; `alarm` says so then."""
    heard_mseq: int = 0
    """The highest number of an envelope that the broker has handed us."""
    signed_tip: bytes = b""
    """The newest tip of our own history that the broker signed, encoded."""
    doubts: Doubts = field(default_factory=Doubts)
    lacking: Lacking = field(default_factory=Lacking)
    confirmations: Confirmations = field(default_factory=Confirmations)
    wishes: trio.Event = field(default_factory=trio.Event)
    """Set when somebody's machine says that it wants to leave."""
    knocks: dict[int, Knock] = field(default_factory=dict)
    """Who waits for a person's yes, by the number at the broker; only a signer's machine knows."""
    invited: Opened = field(default_factory=Opened)

    @property
    def id(self) -> MeshId:
        return self.row.mesh

    @property
    def slug(self) -> str:
        return self.row.slug

    @property
    def state(self) -> ChainState:
        """The verified chain of a mesh that has one."""
        assert self.chain is not None, "asked for the chain of a mesh that has none yet"
        return self.chain

    @property
    def leaving(self) -> bool:
        """This machine has dropped its keys and waits for somebody to sign that it is out."""
        return self.row.state == LEAVING

    @property
    def standing(self) -> str:
        """joined, leaving, failed (its invite lets nobody in) or pending."""
        if self.leaving:
            return LEAVING
        return "joined" if self.active else ("failed" if self.row.trouble else "pending")

    @property
    def active(self) -> bool:
        """This machine is a member and holds the keys."""
        return self.row.state == "active" and self.keys is not None and self.chain is not None

    @property
    def failed_why(self) -> str:
        """Why this machine was never let in, as it is said to a person; empty while nothing forbids it."""
        if not self.row.trouble:
            return ""
        return MeshError(self.row.trouble, when="meanwhile", why="this machine was not signed in").message

    def move_link(self, event: LinkEvent, now_ms: int, why: str = "") -> None:
        """Apply a link event."""
        state = advance(self.link, event)
        if state is not self.link:
            self.link_since_ms = now_ms
        self.link = state
        self.link_why = why

    def grow(self, records: Sequence[Record]) -> None:
        """Extend the verified chain. Raises `ChainError` and changes nothing if any record breaks a rule."""
        if records:
            self.adopt(extend(self.chain, records), records)

    def adopt(self, state: ChainState, records: Sequence[Record]) -> None:
        """Take over `state`, which `extend` made of our own and `records`."""
        self._forget_prekeys(state)
        self.chain = state
        self.last = records[-1]
        self.confirmations.cut(len(self.hashes))
        self.hashes.extend(record.hash for record in records)
        for record in records:
            if record.signer in state.devices:
                self.confirmations.signed(record.signer, record.seq)
        self.rename()

    def _forget_prekeys(self, state: ChainState) -> None:
        """Of devices that are out under `state`, or went and came back: whoever comes back has made others."""
        before = self.chain.devices if self.chain is not None else {}
        for device in [*self.peer_prekeys]:
            listed, was = state.devices.get(device), before.get(device)
            if listed is None or not listed.active or (was is not None and was.added_seq != listed.added_seq):
                del self.peer_prekeys[device]
                self.shelf.drop(device)

    def rename(self) -> None:
        """Work out the display names: first in chain order keeps a name, a later equal one gets its id behind it.

        Members of now come before those who were removed.
        """
        if self.chain is None or self.keys is None:
            return
        taken: set[str] = set()
        self.names = self._name(self.chain.members.values(), taken)
        self.former_names = self._name(self.chain.former.values(), taken)

    def _name(self, members: Iterable[Member], taken: set[str]) -> dict[MemberId, str]:
        names: dict[MemberId, str] = {}
        assert self.chain is not None
        assert self.keys is not None
        salt = self.chain.genesis.salt
        for member in sorted(members, key=lambda m: m.added_seq):
            try:
                name = open_name(self.keys.name_key, member_subject(member.member_id, salt), member.sealed_name)
            except CryptoError:
                name = f"member-{member.member_id.hex()[:8]}"
            if compare_form(name) in taken:
                name = f"{name}~{member.member_id.hex()[:4]}"
            taken.add(compare_form(name))
            names[member.member_id] = name
        return names

    def name_of(self, member: MemberId) -> str:
        return self.names.get(member) or self.former_names.get(member, f"member-{member.hex()[:8]}")

    def title(self) -> str:
        """The mesh's own name, as its maker called it."""
        if self.chain is None or self.keys is None:
            return self.slug
        try:
            return open_name(self.keys.name_key, self.chain.genesis.salt, self.chain.genesis.sealed_mesh_name)
        except CryptoError:
            return self.slug

    def forget_secrets(self) -> None:
        """Of a mesh that is left nothing stays in memory that opens or says anything."""
        self.keys = self.prekey = None
        for kept in (self.prekeys, self.claims, self.streams, self.names, self.former_names, self.knocks):
            kept.clear()
        self.shelf.clear()

    def end_claim(self, prekey_id: int) -> None:
        """A message that a one-time prekey of ours opened is stored, or is not."""
        self.claims.pop(prekey_id, None)

    def next_stream(self, device: DeviceId) -> int:
        """Take the next number of the stream to `device`."""
        sent, got = self.streams.get(device, Stream(0, 0))
        self.streams[device] = Stream(sent + 1, got)
        return sent + 1

    def return_stream(self, device: DeviceId, number: int) -> None:
        """Give back the last number taken: what it was for is not stored, and its gap would look like a loss."""
        sent, got = self.streams.get(device, Stream(0, 0))
        if sent == number:
            self.streams[device] = Stream(sent - 1, got)

    def note_got(self, device: DeviceId, number: int, now_ms: int) -> int:
        """Note a number of the stream from `device`; returns how many are missing before it."""
        sent, got = self.streams.get(device, Stream(0, 0))
        missing = number - got - 1 if got and number > got + 1 else 0
        self.streams[device] = Stream(sent, max(got, number))
        self.doubts.came(device, number)
        if missing:
            self.doubts.miss(device, got + 1, number, now_ms)
        return missing
