"""What the broker needs of its storage. One conformance suite holds for every engine.

Reads are bounded and answer at once. A write is queued in the order of the calls and returns a `Promise`; it is durable
(fsynced) when that is fulfilled, and either all of it is there or none. A `box` is a device's place in a mesh, an opaque
number that never changes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

from mesh_protocol.ids import DeviceId, InviteId, MemberId, MeshId, MsgId

T_co = TypeVar("T_co", covariant=True)


class Promise(Protocol[T_co]):
    """A queued write."""

    async def wait(self) -> T_co:
        """The result, when it is durable. Raises the `MeshError` that refused it, or `StorageFailed`."""

    @property
    def succeeded(self) -> bool: ...

    @property
    def result(self) -> T_co:
        """What it gave, once it has succeeded."""

    @property
    def failed(self) -> bool:
        """Decided in the writer, before any later write runs."""

    def settled(self, callback: Callable[[], None]) -> None:
        """Call `callback` in the event loop when it is durable or has failed, whoever still waits."""


class Settling(Protocol):
    """What can be asked of a queued write of any kind."""

    @property
    def failed(self) -> bool: ...


class Place(Protocol):
    """An envelope's turn among those of its way."""

    def begin(self) -> bool:
        """False when one before it was refused for now: then this one must be too."""

    def refuse(self) -> None:
        """This one is refused for now."""


class ChainEnd(NamedTuple):
    """How far the chain and the log of a mesh have come; hashes are 32 bytes."""

    seq: int
    head: bytes
    log_seq: int
    log_head: bytes


class Growth(NamedTuple):
    """One append: encoded records from number `first` on, the log markers that follow number `log_first - 1` as
    (marker, head), where both end, and what comes with them.

    `seals` are (device, epoch, encoded). `admitted` are (invite, device) whose join requests are answered; `closed`
    invites lose all of theirs; `gone` devices lose their prekeys and seals, which nobody is to use even if they come back.
    """

    first: int
    records: Sequence[bytes]
    log_first: int
    markers: Sequence[tuple[bytes, bytes]]
    end: ChainEnd
    devices: Sequence[DeviceId]
    seals: Sequence[tuple[DeviceId, int, bytes]] = ()
    admitted: Sequence[tuple[InviteId, DeviceId]] = ()
    closed: Sequence[InviteId] = ()
    gone: Sequence[DeviceId] = ()


class Switch(NamedTuple):
    """Another history in the place of a chain's end. `growth` begins where they part; `branches` are all records that lie
    beside the chain from now on, encoded, by hash; seals from epoch `first_epoch` on were for the old end."""

    growth: Growth
    first_epoch: int
    branches: Mapping[bytes, bytes]


class MailKey(NamedTuple):
    """What makes an envelope the same envelope. `sender` and `box` are boxes."""

    sender: int
    box: int
    msg_id: MsgId
    attempt: int


class Mail(NamedTuple):
    """An envelope to keep. `lane` is 0 now, 1 next, 2 low; `member` sent it."""

    key: MailKey
    member: MemberId
    lane: int
    expires_ms: int
    envelope: bytes


class Quota(NamedTuple):
    """Bounds of one mailbox, and of one sending member's part of it."""

    rows: int
    bytes: int
    member_rows: int
    member_bytes: int


class Accepted(NamedTuple):
    """`seq` counts the envelopes of a mesh; `at_ms` is when it was first accepted."""

    seq: int
    at_ms: int


class Waiting(NamedTuple):
    """An envelope that lies in a mailbox. `sender` is its sender's box."""

    mseq: int
    size: int
    expires_ms: int
    sender: int


class Box(NamedTuple):
    """A device's mailbox: the number it gives next, the lowest number that still lies there (or would), what lies there."""

    next_mseq: int
    floor: int
    rows: int
    bytes: int
    generation: int


class Join(NamedTuple):
    """A join request that waits."""

    id: int
    data: bytes


class Given(NamedTuple):
    """A one-time prekey that is handed out: the place in its encoded batch; `left` of its device remain."""

    box: int
    place: int
    batch: bytes
    left: int


class Store(Protocol):
    """Everything a broker keeps."""

    # Meshes and chains.

    def chain_end(self, mesh: MeshId) -> ChainEnd | None:
        """None for a mesh that is not here."""

    def records(self, mesh: MeshId, after: int, count: int, size: int) -> list[bytes]:
        """Encoded records above number `after`: at most `count`, and at most `size` bytes after the first."""

    def box(self, mesh: MeshId, device: DeviceId) -> int | None:
        """The box of a device that the chain has ever listed."""

    def create(self, mesh: MeshId, growth: Growth, creator: DeviceId, free: int | None, at_ms: int) -> Promise[bool]:
        """Keep a new mesh; False if it exists. With `free`, refused (`admission_needed`) when `creator` has made as
        many meshes without a token."""

    def append(self, mesh: MeshId, previous: bytes, growth: Growth) -> Promise[None]:
        """Refused with `chain_conflict` unless the chain's head is `previous`."""

    def branch(self, mesh: MeshId) -> list[bytes]:
        """All records that lie beside the chain, encoded, in no order."""

    def keep_branch(self, mesh: MeshId, records: Sequence[tuple[bytes, bytes]]) -> Promise[None]:
        """Add records, each its hash and itself encoded, to those beside the chain."""

    def log_place(self, mesh: MeshId, item: bytes) -> tuple[int, bytes]:
        """The number of a log item that is there once, and the log's head after it."""

    def switch(self, mesh: MeshId, previous: bytes, switch: Switch) -> Promise[None]:
        """Refused with `chain_conflict` unless the chain's head is `previous`."""

    def seals(self, box: int, size: int) -> list[bytes]:
        """Encoded seals for a device, oldest epoch first, at most `size` bytes."""

    def drop_seals(self, box: int, epoch: int) -> Promise[None]:
        """Forget the seals of epochs up to `epoch`."""

    # Devices.

    def raise_generation(self, box: int, generation: int) -> Promise[int]:
        """Keep the highest generation a device has said; returns what is kept."""

    def put_prekey(self, box: int, prekey: bytes) -> Promise[None]:
        """Replace the device's prekey."""

    def drop_prekeys(self, box: int) -> Promise[None]:
        """Forget the device's prekey, and all its one-time prekeys."""

    def prekey(self, box: int) -> bytes | None: ...

    def add_onetime(self, box: int, first: int, size: int, batch: bytes, *, replace: bool) -> Promise[int]:
        """Keep a batch of `size` one-time prekeys, numbered from `first`, behind those of a device, or in their place; the
        number that is left. Of more than two batches the oldest is forgotten; a batch that is here stays as it is."""

    def onetime_left(self, box: int) -> int:
        """One-time prekeys of a device that can still be handed out."""

    def next_onetime(self, box: int) -> int:
        """The id of the one that is handed out next; 0 when there is none."""

    def take_onetime(self, boxes: Sequence[int]) -> Promise[list[Given]]:
        """Hand out one of each device that has any; once this is durable, none of them is ever handed out again."""

    # Mail.

    def accepted(self, key: MailKey) -> Accepted | None:
        """When this envelope was accepted, if it was."""

    def accept(
        self, mesh: MeshId, mail: Mail, quota: Quota, at_ms: int, place: Place | None = None
    ) -> Promise[Accepted]:
        """Dedupe row, envelope and mailbox row with the next number; a repeat changes nothing and gets the first
        answer. Refused with `mailbox_full`, or with `out_of_turn` where `place` says so."""

    def accept_many(
        self, mesh: MeshId, mails: Sequence[Mail], tail: bytes, quota: Quota, at_ms: int, places: Sequence[Place]
    ) -> Promise[list[Accepted | str]]:
        """One message to many, in one transaction: each of `mails` is an envelope without its end, and `tail`, kept
        once, is the end of all. For each the answer, or the code of its refusal."""

    def mailbox(self, box: int, above: int = 0) -> Box:
        """`floor` looks at the numbers above `above`."""

    def waiting(self, box: int, lane: int, after: int, count: int) -> list[Waiting]:
        """Envelopes of one lane numbered above `after`, in order."""

    def envelope(self, box: int, mseq: int) -> bytes | None:
        """None if it is gone."""

    def acknowledge(self, box: int, acked: int, sacks: Sequence[tuple[int, int]]) -> Promise[int]:
        """Delete the envelopes up to `acked` and in the closed ranges; the number that was there."""

    def expire(self, now_ms: int, dedupe_before_ms: int, count: int) -> Promise[int]:
        """Delete at most `count` expired envelopes, old dedupe rows and expired join requests each; the number of
        envelopes."""

    # Joining.

    def ask(
        self, mesh: MeshId, invite: InviteId, device: DeviceId, join: bytes, expires_ms: int, room: int
    ) -> Promise[int]:
        """Keep a join request, or replace the one of the same device; its id. Refused with `rate_limited` when `room`
        requests wait already, with `invite_denied` where `deny_join` says so."""

    def joins(self, mesh: MeshId, size: int) -> list[Join]:
        """The requests that wait, oldest first, at most `size` bytes."""

    def drop_join(self, mesh: MeshId, join: int) -> Promise[None]: ...

    def deny_join(self, mesh: MeshId, join: int) -> Promise[DeviceId | None]:
        """Forget a request, and that its device may not ask under this invite again, until the request would have expired.
        The device; None if there is no such request."""

    # The whole.

    def probe(self) -> Promise[None]:
        """Write something: fulfilled, the storage takes writes."""
