"""What must hold when all is healed and two minutes have passed. Each oracle raises `Violation` with what it saw."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from meshd.inbox import MAX_ATTEMPTS
from meshd.store import inbox as received
from meshd.store.inbox import InboxRow
from sim.book import ANYBODY, MARK, Letter
from sim.clients import Violation
from sim.story import Story
from world.machine import Machine

SHOWN_MS: Final = InboxRow._fields.index("shown_ms")
TURN_MS: Final = InboxRow._fields.index("turn_ms")
Home = tuple[str, str]
"""A machine and a session's label there, empty for its person."""


@dataclass(frozen=True, slots=True)
class Promises:
    """What is promised of one letter at one machine, for what happened in this history.

    | what happened | what is still promised |
    |---|---|
    | any honest fault | everything |
    | frames lost, doubled, swapped, cut short on a link | all but order; a reported failure counts as an answer |
    | bits altered on it; a broker that says `accepted` and keeps nothing | nothing false is believed: what is neither stored nor reported as failed is `accepted` at most |
    | a broker that shows again, withholds, misdelivers, swaps, or shows old tips | all but order |
    | the broker was restored from a backup | order, but of what went to a prekey that it had handed out before; and arrival of what was written after that; of the rest it is `accepted` at most |
    | a daemon's disk was restored | arrival of what was written to and by it after that; its keys from before may be sent again |
    | a second daemon with the same key | to and from it nothing false is believed; its keys may be sent again |
    | a clock a year off | a letter may be refused or expire, and says so |

    What is written after all is healed (a probe) has the full promise whatever happened before.
    """

    arrives: bool
    """It is there, and its author knows."""
    may_fail: bool
    """Its author may be told that it failed instead."""
    ordered: bool
    once: bool


def promises(story: Story, letter: Letter, reader: str) -> Promises:
    if letter.probe:
        return Promises(arrives=True, may_fail=False, ordered=False, once=True)
    shaken = {letter.author, reader} & story.shaken
    restored = {*shaken, *(["broker"] if story.broker_restored else [])} - set(story.clones)
    before = any(letter.began <= story.keepers[name].put_back_at for name in restored)
    cloned = bool(shaken & set(story.clones))
    lied_to = story.liar is not None
    return Promises(
        arrives=not before
        and not cloned
        and not story.altered
        and not (lied_to and "false_accept" in story.liar.kinds),
        may_fail=bool(restored) or cloned or lied_to or story.mangled or story.clock_was_wild,
        ordered=not shaken and not lied_to and not story.mangled,
        once=letter.author not in story.shaken,
    )


def judge(story: Story) -> Counter[str]:
    """All oracles; what was counted on the way. The clones are down: their homes are read all the same."""
    found = Shelf(story)
    counted: Counter[str] = Counter(letters=len(story.book.letters), promised=0, stored=0, shown=0)
    _judge_ids(story)
    _learn_audiences(story, found)
    for reader in story.machines:
        _judge_shelf(story, found, reader)
    for letter in story.book.letters:
        for home in letter.to:
            _judge_letter(story, found, letter, home, counted)
    _judge_order(story, found)
    _judge_sessions(story)
    _judge_debts(story)
    _judge_broker(story)
    return counted


class Shelf:
    """What lies in the inboxes, by machine and text."""

    def __init__(self, story: Story) -> None:
        self.rows: dict[str, dict[str, list[InboxRow]]] = {}
        self.machine_of = {m.app.node.device: m.name for m in story.machines}
        for machine in story.machines:
            texts = self.rows[machine.name] = defaultdict(list)
            for row in _inbox(machine):
                texts[machine.app.reading.text_of(row)].append(row)

    def at(self, home: Home, text: str) -> list[InboxRow]:
        return [row for row in self.rows[home[0]].get(text, ()) if home in places(home[0], row)]


def places(machine: str, row: InboxRow) -> set[Home]:
    """What a row counts as: a session's, and the person's when he has it too."""
    own = {(machine, "")} if row.person else set()
    return {(machine, row.to_session), (machine, ANYBODY), *own}


def _inbox(machine: Machine) -> Iterator[InboxRow]:
    for (number,) in machine.app.node.db.reader.execute("SELECT row FROM inbox ORDER BY row").fetchall():
        row = received.read_row(machine.app.node.db.reader, number)
        assert row is not None
        yield row


def _fail(oracle: str, story: Story, letter: Letter | None, detail: str) -> None:
    about = f"letter {letter.number} of {letter.author}/{letter.session} to {letter.to} {letter.id}: " if letter else ""
    raise Violation(f"{oracle}: {about}{detail} (faults: {', '.join(sorted(story.faults))})")


def _learn_audiences(story: Story, found: Shelf) -> None:
    """Whom a letter to many went to is what its author's daemon resolved; everybody is everybody."""
    everybody = {machine.name for machine in story.machines}
    for letter in story.book.letters:
        if letter.many and letter.promised:
            author = next(m for m in story.machines if m.name == letter.author)
            query = "SELECT device, to_session FROM delivery WHERE msg_id=?"
            rows = author.app.node.db.reader.execute(query, (bytes.fromhex(letter.id),)).fetchall()
            letter.to = tuple(sorted((found.machine_of[device], ANYBODY) for device, _ in rows))
            if not rows:  # its author's memory was taken away
                letter.to = tuple((name, ANYBODY) for name in sorted(everybody))
            if letter.many == "*" and everybody - {name for name, _ in letter.to} - {letter.author} and rows:
                _fail("lost", story, letter, "everybody is fewer than there are")


def _judge_ids(story: Story) -> None:
    """One key is one message, whoever repeats it, unless its machine's memory was taken away."""
    for letter in story.book.letters:
        if letter.ids and letter.author not in story.shaken:
            _fail("idempotency", story, letter, f"one key got the ids {sorted(letter.ids)}")


def _judge_shelf(story: Story, found: Shelf, reader: Machine) -> None:
    """Whatever lies in an inbox was written, by whom it says, for this very person or session, and lies there once."""
    for text, rows in found.rows[reader.name].items():
        letter = story.book.by_text.get(text)
        if letter is None:
            _fail("phantom", story, None, f"{reader.name} has a message that nobody wrote: {text[:60]!r}")
            return
        for row in rows:
            author = found.machine_of.get(row.from_device)
            if author != letter.author or row.from_session != letter.session:
                _fail("phantom", story, letter, f"{reader.name} has it from {author}/{row.from_session}")
            if not places(reader.name, row) & set(letter.to) and not (letter.many and letter.uncertain):
                _fail("misdelivered", story, letter, f"it lies at {reader.name}/{row.to_session}")
            if row.lane != letter.lane and (letter.lane, row.lane) != ("now", "next"):  # too many with `now`
                _fail("altered", story, letter, f"its lane is {row.lane}")
        labels = [row.to_session for row in rows]
        if len(labels) != len(set(labels)) and promises(story, letter, reader.name).once:
            _fail("duplicated", story, letter, f"it lies twice at {reader.name}: {labels}")


def _judge_letter(story: Story, found: Shelf, letter: Letter, home: Home, counted: Counter[str]) -> None:
    """Promised: it is there and its author knows, or its author was told that it failed."""
    if not letter.promised:
        return
    counted["promised"] += 1
    author = next(m for m in story.machines if m.name == letter.author)
    rows = found.at(home, letter.text)
    promised = promises(story, letter, home[0])
    device = next(m.app.node.device for m in story.machines if m.name == home[0])
    state = author.app.node.db.reader.execute(
        "SELECT accepted_ms, stored_ms, shown_ms, turn_ms, ended, evidence FROM delivery WHERE msg_id=? AND device=?",
        (bytes.fromhex(letter.id), device),
    ).fetchone()
    if state is None:
        if letter.author not in story.shaken:
            _fail("lost", story, letter, f"its author does not remember it for {home}")
        return
    _, stored, shown, turn, ended, evidence = state
    counted["stored"] += stored > 0
    counted["shown"] += shown > 0
    trusted = home[0] not in story.shaken or letter.probe
    machine_rows = found.at((home[0], ANYBODY), letter.text)
    if stored and not rows and trusted:
        _fail("false receipt", story, letter, f"stored, it says, but it is not at {home}")
    if shown and trusted and not any(row.shown_ms for row in machine_rows):
        _fail("false receipt", story, letter, f"shown, it says, but {home} never saw it")
    if shown and not evidence:
        _fail("false receipt", story, letter, "shown without evidence")
    if turn and trusted and not any(row.turn_ms for row in machine_rows):
        _fail("false receipt", story, letter, f"a turn began, it says, but not at {home}")
    if promised.arrives and not rows and not (ended and promised.may_fail):
        _fail("lost", story, letter, f"it is not at {home}; its state: {state}")
    empty_group = letter.many.startswith("@") and ended == "no_such_session" and rows  # its last session left meanwhile
    if promised.arrives and ended and not promised.may_fail and not empty_group:
        _fail("false end", story, letter, f"reported as {ended} at {home}")
    if promised.arrives and rows and not ended:
        was_shown, turned = (any(row[at] for row in machine_rows) for at in (SHOWN_MS, TURN_MS))
        if not stored or was_shown != bool(shown) or turned != bool(turn):
            _fail("receipt lost", story, letter, f"at {home} shown {was_shown} turn {turned}, its author has {state}")


def _judge_order(story: Story, found: Shelf) -> None:
    """In each lane from one device to another, the order of the author's numbers; and those are in the order he wrote."""
    for author in story.machines:
        # Who restored his broker gave some one-time prekeys out again: what went to one is sealed anew, and comes late.
        query = "SELECT msg_id, device, stream_seq, lane FROM delivery WHERE attempt <= ?"
        most = 1 if story.broker_restored else MAX_ATTEMPTS
        numbers: dict[tuple[bytes, bytes], tuple[int, int]] = {
            (bytes(msg), bytes(device)): (number, lane)
            for msg, device, number, lane in author.app.node.db.reader.execute(query, (most,))
        }
        for reader in story.machines:
            lanes: dict[int, list[tuple[int, int, Letter]]] = defaultdict(list)
            for text, rows in found.rows[reader.name].items():
                letter = story.book.by_text[text]
                for row in rows:
                    number, lane = numbers.get((bytes(row.msg_id), reader.app.node.device), (0, 0))
                    if letter.author == author.name and number and promises(story, letter, reader.name).ordered:
                        lanes[lane].append((row.row, number, letter))
            for came in lanes.values():
                _judge_lane(story, sorted(came, key=lambda each: each[:2]))


def _judge_lane(story: Story, lane: list[tuple[int, int, Letter]]) -> None:
    for (_, before, first), (_, after, second) in pairwise(lane):
        if after < before:
            _fail("reordered", story, second, f"number {after} came after number {before}, letter {first.number}")
    written = [letter for _, _, letter in sorted(lane, key=lambda each: each[1])]
    for first, second in pairwise(written):
        if second.ended and second.ended < first.began:
            _fail("reordered", story, second, f"it was taken before letter {first.number} was written")


def _judge_sessions(story: Story) -> None:
    """A session sees only what was written to it, or to its person while it was the only one."""
    for sitter in story.sitters:
        for body in sitter.shown:
            letter = next((each for each in story.book.letters if each.text[:40] in body), None)
            if letter is None:
                _fail("phantom", story, None, f"a session saw what nobody wrote: {body[:80]!r}")
                continue
            here = {(sitter.machine.name, label) for label in ("", sitter.name, ANYBODY)}
            if not here & set(letter.to) and not (letter.many and letter.uncertain):
                _fail("misdelivered", story, letter, f"{sitter.machine.name}/{sitter.name} saw it")


OWED: Final = {
    "receipts are owed": "receipt_out",
    "letters wait": "delivery WHERE accepted_ms=0 AND ended='' AND path='mesh'",
}


def _judge_debts(story: Story) -> None:
    """Nobody owes anybody anything, and every file is whole."""
    for machine in story.machines:
        reader = machine.app.node.db.reader
        for what, table in OWED.items():
            ((count,),) = reader.execute(f"SELECT count(*) FROM {table}").fetchall()
            if count:
                _fail("owed", story, None, f"{what} at {machine.name}: {count}")
        if reader.execute("PRAGMA quick_check").fetchall() != [("ok",)]:
            _fail("damaged", story, None, f"the database of {machine.name}")
    for keeper in story.keepers.values():
        if set(keeper.statuses) - {70}:
            _fail("exit status", story, None, f"{keeper.name} ended by itself: {keeper.statuses}")


def _judge_broker(story: Story) -> None:
    """The broker kept nothing that was taken from it, and could read nothing."""
    reader = story.broker.database.reader
    ((left,),) = reader.execute("SELECT count(*) FROM mail").fetchall()
    if left and not story.liar and not story.broker_restored and not story.mangled and not story.clones:
        _fail("owed", story, None, f"{left} envelopes lie at the broker")
    for path in story.broker.path.parent.iterdir():
        if MARK in path.read_bytes():
            _fail("plaintext", story, None, f"in the broker's {path.name}")
