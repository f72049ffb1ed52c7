"""The signed objects of membership and beside it as targets of alterations: a record of every type, key requests, link
reveals, batches of one-time prekeys, entries of the audit."""

from mesh_protocol.chain import Record, make_record
from mesh_protocol.chain_draft import AWAIT_EPOCH
from mesh_protocol.key_request import KeyRequest, open_key_request, sign_key_request
from mesh_protocol.keys import SigningKey
from mesh_protocol.linking import LinkReveal, OwnDevice
from mesh_protocol.members import extend, settled
from mesh_protocol.prekeys import FIRST_ONETIME, OneTimeBatch, verify_batch
from mesh_samples import ELSEWHERE, HERE, NOW_MS, Samples
from mesh_targets import Target, Unexpected, expect, targets
from meshd.audit_entry import FIRST, Broken, Deed, Entry, Walk, write_entry
from vectors_membership import SEEDS, every_type
from vectors_onetime import batch_of

STORY, FOREIGN = every_type(), every_type(ELSEWHERE)


def change_target(index: int) -> Target:
    """The record at `index` as the newest one. What its append still needs is made anew on whatever stands in its place:
    nothing after it vouches for it."""
    records = STORY.records
    begin = settled(records[:index])
    before = extend(None, records[:begin])
    end = index + 1
    while records[end - 1].type in AWAIT_EPOCH:
        end += 1
    key = SigningKey.from_seed(SEEDS[records[index].signer])

    def check(data: bytes) -> None:
        append = [*records[begin:index], Record.decode(data)]
        for following in records[index + 1 : end]:
            append.append(make_record(append[-1], following.type, following.body, key, HERE.mesh_id))
        expect(extend(before, append).mesh_id == HERE.mesh_id)

    other = records[(index + 1) % len(records)]
    return Target(records[index].encode(), other.encode(), FOREIGN.records[index].encode(), check, "chain-record", 0)


def request_target() -> Target:
    def make(samples: Samples, name: str) -> bytes:
        request = KeyRequest(
            samples.mesh_id, samples.key(name).public, 2, samples.spk(name), samples.tip, samples.seed("bad seal")
        )
        return sign_key_request(request, samples.key(name))

    def check(data: bytes) -> None:
        expect(open_key_request(data, HERE.state).device == HERE.key("bob").public)

    return Target(make(HERE, "bob"), make(HERE, "alice"), make(ELSEWHERE, "bob"), check, "key-request")


def reveal_target() -> Target:
    def make(samples: Samples, name: str) -> LinkReveal:
        return LinkReveal(samples.mesh_id, samples.key(name).public, samples.spk(name), samples.seed("link nonce"))

    good = make(HERE, "bob phone")

    def check(data: bytes) -> None:
        own = OwnDevice(HERE.mesh_id, HERE.key("bob").public, HERE.seed("own nonce"))
        own.answer(good.commitment())
        own.confirm(data)

    return Target(good.encode(), make(HERE, "mallory").encode(), make(ELSEWHERE, "bob phone").encode(), check)


def batch_target() -> Target:
    def check(data: bytes) -> None:
        verify_batch(OneTimeBatch.decode(data), HERE.mesh_id, HERE.key("bob").public)

    alice, foreign = batch_of("alice", FIRST_ONETIME, 3), batch_of("bob", FIRST_ONETIME, 3, ELSEWHERE)
    good = batch_of("bob", FIRST_ONETIME + 9, 3)
    return Target(good.encode(), alice.encode(), foreign.encode(), check, "prekey-opk-batch")


def audited(samples: Samples, operations: tuple[str, ...]) -> list[Entry]:
    """A log of bob's daemon."""
    log: list[Entry] = []
    for number, operation in enumerate(operations):
        deed = Deed(NOW_MS + number, "web", "agent", operation, "team", (("peer", "carol"), ("role", "admin")), "done")
        log.append(write_entry(samples.key("bob"), log[-1].known if log else None, deed))
    return log


def entry_target() -> Target:
    """The second of three entries: what follows vouches for it as well, and what it follows is fixed."""
    log = audited(HERE, (FIRST, "member.role", "peer.block"))
    other, foreign = audited(HERE, (FIRST, "peer.block", "member.role")), audited(ELSEWHERE, (FIRST, "member.role"))

    def check(data: bytes) -> None:
        walk = Walk(HERE.key("bob").public, log[1])
        try:
            walk.take([(1, log[0].data), (2, data)])
            walk.finish()
        except Broken as found:
            raise Unexpected(str(found)) from None

    return Target(log[1].data, other[1].data, foreign[1].data, check, "audit-entry")


def membership_targets() -> dict[str, Target]:
    """One record of each type but those of `targets()`, and the objects beside the chain."""
    known = {record.type for record in HERE.records}
    found: dict[str, Target] = {}
    for index, record in enumerate(STORY.records):
        if record.type not in known:
            known.add(record.type)
            found[record.type] = change_target(index)
    return {
        **found,
        "key request": request_target(),
        "link reveal": reveal_target(),
        "one-time batch": batch_target(),
        "audit entry": entry_target(),
    }


def all_targets() -> dict[str, Target]:
    """Every signed or sealed object by name."""
    return {**targets(), **membership_targets()}
