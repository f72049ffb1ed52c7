"""One mesh in memory: its verified chain, its keys, its names. What is here is also on disk, or is derived from it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from mesh_protocol.chain import Record
from mesh_protocol.ids import DeviceId, MemberId, MeshId
from mesh_protocol.keys import CryptoError, PrekeyPrivate, SignedPrekey
from mesh_protocol.members import ChainState, Member, extend
from mesh_protocol.names import compare_form, member_subject, open_name
from mesh_protocol.seals import MeshKeys
from mesh_protocol.tip import TipRef
from meshd.doubts import Doubts
from meshd.link.table import LinkEvent, LinkState, advance
from meshd.shelf import Shelf
from meshd.store.meshes import MeshRow
from meshd.store.prekeys import Use

EMPTY_TIP: Final = TipRef(0, bytes(32), 0, bytes(32))


class Stream(NamedTuple):
    """Numbers of the stream between this device and another one."""

    sent: int
    got: int


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
    tip: TipRef = EMPTY_TIP
    link: LinkState = LinkState.OFFLINE
    link_since_ms: int = 0
    link_why: str = ""
    names: dict[MemberId, str] = field(default_factory=dict)
    former_names: dict[MemberId, str] = field(default_factory=dict)
    """Of those who were removed: what they wrote is still shown under them."""
    alarm: str = ""
    """Why sending is stopped: the broker served another history. Empty: all is well."""
    doubts: Doubts = field(default_factory=Doubts)

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
    def active(self) -> bool:
        """This machine is a member and holds the keys."""
        return self.row.state == "active" and self.keys is not None and self.chain is not None

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
        self.chain = state
        self.last = records[-1]
        self.hashes.extend(record.hash for record in records)
        self.rename()

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
