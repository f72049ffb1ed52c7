"""The durable inbox. What arrives is judged first, then stored with its dedupe mark, its place in the stream and its
`stored` receipt in one commit; only then is it acknowledged to the broker.

Judging fails closed, in this order (crypto design 2.6): shape, seen before, prekey, opening, membership, tip.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

import apsw
import trio

from mesh_protocol.envelope import Outer, SignedMessage, open_envelope, outer_hash, parse_outer
from mesh_protocol.fan import GroupOuter, is_group_envelope, parse_group_outer
from mesh_protocol.group_envelope import open_group
from mesh_protocol.ids import DeviceId, MsgId
from mesh_protocol.io.sqlite import Pending
from mesh_protocol.keys import CryptoError, verify_prekey
from mesh_protocol.prekeys import is_onetime
from mesh_protocol.receipt import MAX_REASON, Bounce
from mesh_protocol.wire.errors import MeshError
from meshd.contents import keep_content
from meshd.doubts import LATE_MS
from meshd.grants import BLOCK, HOLD, REFUSE, rule
from meshd.log import Id, get_logger
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.notes import NOTES, commit_note
from meshd.outbox import Outbox
from meshd.ownmail import own_delivery, own_message
from meshd.prekeys import find_private, require_fresh, spending
from meshd.receipts import read_facts
from meshd.sealing import MAX_ATTEMPTS, seal_delivery
from meshd.store import inbox as store
from meshd.store import outbox as sent
from meshd.store import trust
from meshd.store.inbox import InboxRow
from meshd.store.meshes import set_stream_got
from meshd.store.prekeys import Use
from meshd.voids import take_void

log = get_logger("inbox")

HELD: Final = "held by the recipient until he lets it in (mesh held)"
"""What a sender is told of a policy at the other end."""
OWN_KINDS: Final = frozenset({"standing", "details", "receipt", "bounce", "profile", "void", "tip_ask", "tip"}) | NOTES
"""What daemons tell each other; sealed to the signed prekey always."""
MAX_BOUNCES: Final = 256
BOUNCES_MS: Final = 3_600_000
"""Bounces sent to one device in an hour: a broker's forgeries must not make us flood a member. Enough for one that comes back
after days with many messages to a prekey that has had its time."""
BOUNCE_LIFETIME_MS: Final = 7 * 24 * 3600 * 1000


AnyOuter: TypeAlias = Outer | GroupOuter
Mark: TypeAlias = Callable[[apsw.Connection], "Stored"]
"""Marks an envelope as seen, in the transaction that takes in what it says."""
TakeNote: TypeAlias = Callable[[Mesh, SignedMessage, Mark], Pending["Stored"]]


class Verdict(NamedTuple):
    """What is to become of an arrived envelope: `take`, `seen`, `wait` (a newer chain is needed), `bounce`, `drop`."""

    kind: str
    why: str = ""
    outer: AnyOuter | None = None
    signed: SignedMessage | None = None


class Address(NamedTuple):
    """Who on this machine a session label means. `known` is false when no session was ever called that.

    `name` is what the message is filed under: the session's own name, or what the label says of someone else.
    """

    session_key: str
    person: bool
    known: bool
    name: str = ""


class Stored(NamedTuple):
    """What a commit did: the inbox rows to surface, and own messages that got further."""

    rows: tuple[int, ...]
    changed: tuple[MsgId, ...]


NOTHING: Final = Stored((), ())


@dataclass(slots=True, eq=False)
class Inbox:
    """`addresses` finds everybody here whom a label means, `receipts_due` wakes a mesh's receipts, `surfaced` starts the ladder,
    `profile` keeps what a device says of its groups, `told` what daemons tell each other besides, by kind."""

    node: Node
    outbox: Outbox
    addresses: Callable[[Mesh, str], list[Address]]
    receipts_due: Callable[[Mesh], None]
    surfaced: Callable[[int], None]
    profile: Callable[[Mesh, SignedMessage], Pending[Stored]]
    told: Mapping[str, TakeNote]
    _bounces: Counter[DeviceId] = field(default_factory=Counter)
    _bounces_since_ms: int = 0
    _gap: trio.Event = field(default_factory=trio.Event)

    async def watch_gaps(self) -> None:
        """Tell of numbers that stay missing in a sender's stream; for ever."""
        while True:
            await self._gap.wait()
            self._gap = trio.Event()
            await trio.sleep(LATE_MS / 1000)
            for mesh in self.node.meshes.values():
                for device, missing in mesh.doubts.late(self.node.now()):
                    log.warning("gap in a sender's stream", mesh=Id(mesh.id), device=Id(device), missing=missing)
                    sender = mesh.name_of(mesh.state.devices[device].member_id)
                    self.node.events.publish("gap", mesh=mesh.slug, sender=sender, missing=missing)

    def judge(self, mesh: Mesh, envelope: bytes) -> Verdict:
        """Open and check an envelope from the broker. Changes nothing."""
        try:
            outer = parse_group_outer(envelope) if is_group_envelope(envelope) else parse_outer(envelope)
        except CryptoError as error:
            return Verdict("drop", str(error))
        if outer.mesh_id != mesh.id or outer.to_device != self.node.device:
            return Verdict("drop", "not for this device and mesh")
        if store.is_seen(self.node.db.reader, outer.from_device, outer.msg_id):
            return Verdict("seen", outer=outer)
        if outer.from_device not in mesh.state.devices:
            return Verdict("wait", "from a device that the chain does not list", outer)
        if not mesh.state.is_active(outer.from_device):
            return Verdict("drop", "from a device that was revoked")
        prekey = find_private(self.node, mesh, outer)
        if prekey is None:
            return Verdict("bounce", "prekey_gone", outer)
        try:
            if isinstance(outer, GroupOuter):
                signed = open_group(outer, prekey, mesh.row.member)
            else:
                signed = open_envelope(outer, prekey)
        except CryptoError:
            return Verdict("bounce", "unreadable", outer)
        return self._judge_message(mesh, outer, signed)

    def _judge_message(self, mesh: Mesh, outer: AnyOuter, signed: SignedMessage) -> Verdict:
        message = signed.message
        if is_onetime(outer.prekey_id) and message.kind in OWN_KINDS:
            return Verdict("drop", "a daemon's own mail under a one-time prekey", outer)
        if mesh.state.devices[outer.from_device].member_id != message.from_member:
            return Verdict("drop", "its device belongs to another member than it says", outer)
        if message.to_member != mesh.row.member:
            return Verdict("drop", "meant for another member", outer)
        tip = message.tip
        if message.kind in ("tip_ask", "tip"):  # what they are about is that the two do not know the same history
            return Verdict("take", outer=outer, signed=signed)
        if tip.chain_hash in mesh.branches:  # of before a fork was resolved; its author is in the history that counts
            return Verdict("take", outer=outer, signed=signed)
        if tip.chain_seq > len(mesh.hashes):
            return Verdict("wait", "its author has a newer chain", outer, signed)
        if tip.chain_seq and mesh.hashes[tip.chain_seq - 1] != tip.chain_hash:
            return Verdict("fork", "its author has another history of the membership", outer, signed)
        return Verdict("take", outer=outer, signed=signed)

    def commit(self, mesh: Mesh, outer: AnyOuter, signed: SignedMessage) -> Pending[Stored]:
        """Queue the one transaction that makes a judged message ours. Its one-time prekey opens nothing else from now on."""
        pending = self._commit(mesh, outer, signed)
        if mesh.confirmations.note(outer.from_device, signed.message.tip, mesh.hashes):
            self.node.events.publish("presence", mesh=mesh.slug)
        if is_onetime(outer.prekey_id):
            mesh.spent = True
            mesh.claims[outer.prekey_id] = Use(outer.from_device, outer.msg_id)
            pending.settled(lambda: mesh.end_claim(outer.prekey_id))
        return pending

    def _commit(self, mesh: Mesh, outer: AnyOuter, signed: SignedMessage) -> Pending[Stored]:
        match signed.message.kind:
            case "text":
                return self._commit_text(mesh, outer, signed)
            case "receipt":
                return self._commit_receipts(mesh, outer, signed)
            case "bounce":
                return self._commit_bounce(mesh, outer, signed)
            case "profile":
                return self.profile(mesh, signed)
            case "void":
                return self._commit_void(mesh, outer, signed)
            case kind if kind in self.told:
                return self.told[kind](mesh, signed, self._mark_only(mesh, outer))
            case kind if kind in NOTES:
                return commit_note(self.node, mesh, signed, self._mark_only(mesh, outer))
            case _:  # of a newer member: verified, noted, and left to a daemon that knows it
                return self.node.db.submit(self._mark_only(mesh, outer))

    def _commit_void(self, mesh: Mesh, outer: AnyOuter, signed: SignedMessage) -> Pending[Stored]:
        """Numbers that the sender gave up are no gap in its stream."""
        missing, keep = take_void(mesh, signed, self.node.now())
        if missing:
            self._gap.set()
        mark = self._mark_only(mesh, outer)

        def work(tx: apsw.Connection) -> Stored:
            keep(tx)
            return mark(tx)

        return self.node.db.submit(work)

    def _mark_only(self, mesh: Mesh, outer: AnyOuter) -> Callable[[apsw.Connection], Stored]:
        now, spend = self.node.now(), spending(self.node, mesh, outer)

        def work(tx: apsw.Connection) -> Stored:
            store.mark_seen(tx, outer.from_device, outer.msg_id, now)
            spend(tx)
            return NOTHING

        return work

    def _commit_text(self, mesh: Mesh, outer: AnyOuter, signed: SignedMessage) -> Pending[Stored]:
        """A row for everybody here whom it means, and one `stored` for all of them; or what was decided of its sender."""
        message, now, spend = signed.message, self.node.now(), spending(self.node, mesh, outer)
        decided = trust.read_standing(self.node.db.reader, mesh.id, message.from_member)
        ruling = rule(mesh.state, mesh.row.member, message.from_device, decided, message.to_session)
        addresses = self.addresses(mesh, ruling.label)
        rows = self._text_rows(mesh, signed, addresses, attempt=outer.attempt, label=ruling.label, now=now)
        state, reason = _judge_addresses(addresses)
        reason = reason or ruling.reason
        if mesh.note_got(message.from_device, message.stream_seq, now):
            self._gap.set()
        reached, before = self.node.seams.reached, mesh.arriving

        def work(tx: apsw.Connection) -> Stored:
            if before is not None and before.failed:  # it comes again, and this one behind it
                raise MeshError("storage_full")
            if not store.mark_seen(tx, message.from_device, message.msg_id, now):
                return NOTHING
            spend(tx)
            set_stream_got(tx, mesh.id, message.from_device, message.stream_seq)
            if ruling.kind == REFUSE:
                store.owe_refusal(tx, rows[0], now, ruling.reason)
                return NOTHING
            if ruling.kind == BLOCK:  # taken and told of like any other, and for nobody
                kept = [row._replace(session_key=store.BLOCKED_KEY, person=0) for row in rows]
            else:
                kept = rows
            numbers = [store.add_inbox(tx, row) for row in kept]
            first = numbers[0]
            store.owe_receipt(tx, kept[0], first, state=state, at_ms=now, session="", evidence="commit", reason=reason)
            if ruling.kind == HOLD:
                trust.hold_rows(tx, numbers, now)
                store.owe_receipt(tx, rows[0], first, state="held", at_ms=now, session="", evidence="", reason=HELD)
            reached("FP-12")
            return Stored((*numbers,), ())

        pending = self.node.db.submit(work)
        mesh.arriving = pending
        if ruling.kind == REFUSE:  # nothing is stored, and yet something is to be told
            pending.settled(lambda: self.receipts_due(mesh))
        return pending

    def _text_rows(
        self, mesh: Mesh, signed: SignedMessage, addresses: Sequence[Address], *, attempt: int, label: str, now: int
    ) -> list[InboxRow]:
        message = signed.message
        kept = keep_content(message.content_type, message.content)
        content = self.node.seal("inbox", "content", message.from_device + message.msg_id, kept)
        return [
            InboxRow(
                row=0,
                mesh=mesh.id,
                msg_id=message.msg_id,
                from_device=message.from_device,
                from_member=message.from_member,
                from_session=message.from_session,
                origin=message.origin,
                to_session=address.name,
                session_key=address.session_key,
                person=int(address.person),
                lane=message.lane,
                reply_to=message.reply_to,
                conv=message.conv_id,
                created_ms=message.created_ms,
                stored_ms=now,
                expires_ms=message.expires_ms,
                content=content,
                attempt=attempt,
                message_hash=signed.hash,
                n=0,
                path="mesh",
                audience=audience_of(label),
            )
            for address in addresses
        ]

    def _commit_receipts(self, mesh: Mesh, outer: AnyOuter, signed: SignedMessage) -> Pending[Stored]:
        now = self.node.now()
        try:
            facts = read_facts(signed)
        except CryptoError as error:
            log.warning("unreadable receipt", mesh=Id(mesh.id), error=error)
            return self.node.db.submit(self._mark_only(mesh, outer))

        def work(tx: apsw.Connection) -> Stored:
            if not store.mark_seen(tx, outer.from_device, outer.msg_id, now):
                return NOTHING
            return Stored((), tuple(f.msg_id for f in facts if sent.apply_receipt(tx, outer.from_device, f)))

        return self.node.db.submit(work)

    def _commit_bounce(self, mesh: Mesh, outer: AnyOuter, signed: SignedMessage) -> Pending[Stored]:
        """Seal anew with the prekey that the bounce brings, or end the delivery. Counts only for the very bytes we sent."""
        mark = self._mark_only(mesh, outer)
        try:
            bounce = Bounce.decode(signed.message.content)
            if bounce.spk is not None:
                verify_prekey(bounce.spk, mesh.id, outer.from_device)
                require_fresh(self.node, bounce.spk.made_ms)
        except CryptoError:
            return self.node.db.submit(mark)
        reader = self.node.db.reader
        delivery = sent.read_delivery(reader, bounce.msg_id, outer.from_device)
        message = sent.read_message(reader, bounce.msg_id)
        if (
            delivery is None
            or message is None
            or (delivery.outer_hash, delivery.attempt) != (bounce.outer_hash, bounce.attempt)
            or delivery.stored_ms
            or delivery.ended
        ):
            return self.node.db.submit(mark)
        resealed = None
        if bounce.reason in ("prekey_gone", "unreadable") and delivery.attempt < MAX_ATTEMPTS:
            if bounce.spk is not None:
                mesh.peer_prekeys[outer.from_device] = bounce.spk
            content = self.node.open("message", "content", message.msg_id, message.content)
            resealed = seal_delivery(self.node, mesh, message, content, delivery)
            if resealed is None:  # the recipient's prekey is not known here since the start: sealed when it is fetched
                resealed = delivery._replace(envelope=None, accepted_ms=0)

        def work(tx: apsw.Connection) -> Stored:
            mark(tx)
            if resealed is not None:
                sent.set_envelopes(tx, [resealed])
            else:
                ended = "unreadable" if bounce.reason in ("prekey_gone", "unreadable") else bounce.reason
                sent.set_ended(tx, bounce.msg_id, outer.from_device, ended, "bounced by the recipient")
            return Stored((), (bounce.msg_id,))

        pending = self.node.db.submit(work)
        if resealed is not None:  # kept before it is sent for the first time, so that every retry is the same bytes
            pending.settled(lambda: self.outbox.queue(mesh.id).offer([resealed] if pending.succeeded else []))
        return pending

    def bounce(self, mesh: Mesh, outer: AnyOuter, envelope: bytes, reason: str) -> Pending[None] | None:
        """Tell the sender's device that its envelope could not be opened. None: it has had enough of these."""
        node = self.node
        if not 0 <= node.now() - self._bounces_since_ms < BOUNCES_MS:
            self._bounces.clear()
            self._bounces_since_ms = node.now()
        if self._bounces[outer.from_device] >= MAX_BOUNCES:
            return None
        self._bounces[outer.from_device] += 1
        content = Bounce(
            outer.msg_id, outer.attempt, outer_hash(envelope), reason, mesh.prekey if reason == "prekey_gone" else None
        ).encode()
        message = own_message(node, mesh, "bounce", "now", content, BOUNCE_LIFETIME_MS)
        bare = own_delivery(mesh, message, outer.from_device)
        delivery = seal_delivery(node, mesh, message, content, bare) or bare

        def work(tx: apsw.Connection) -> None:
            sent.add_message(tx, message, [delivery])

        pending = node.db.submit(work)
        pending.settled(lambda: self.outbox.queue(mesh.id).offer([delivery] if pending.succeeded else []))
        return pending


def audience_of(label: str) -> str:
    """What of a label means many: groups and `*`, as their sender named them."""
    return ",".join(part for part in label.split(",") if part == "*" or part.startswith("@"))


def _judge_addresses(addresses: Sequence[Address]) -> tuple[str, str]:
    """The state and reason of the first receipt: a message that nobody here was known for waits with the person."""
    unknown = [address.name for address in addresses if not address.known]
    if not unknown:
        return "stored", ""
    if len(unknown) == len(addresses):
        return "no_such_session", "no session of that name; it waits in the person's inbox"
    return "stored", f"not here: {', '.join(unknown)}".encode()[:MAX_REASON].decode("utf-8", "ignore")
