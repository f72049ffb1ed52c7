"""One chain or several: what a set of records comes to when some of them follow the same one (crypto design 2.4).

Two valid appends on one head mean a broker that showed two histories, or was restored and went on. Neither wins by
itself: the mesh is frozen until a `resolve` stands on one of the branches. `judge` is a pure function of the set, so
whoever holds the same records, in whatever order they came, sees the same membership or the same freeze.

A resolve voids another branch when its signer was a signer where the two part and still is one at that branch's end:
no branch brings its own judge, and none that removes the judge is judged by him. A resolve by the recovery key voids
every other branch but one that the recovery key chose as well, and no signer's resolve voids what it chose.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from mesh_protocol.chain import Record, mesh_id_of
from mesh_protocol.chain_draft import AWAIT_EPOCH, MAX_RUN
from mesh_protocol.ids import MeshId
from mesh_protocol.members import ChainError, ChainState, extend, settled
from mesh_protocol.pae import CryptoError


class Head(NamedTuple):
    """The last record of a branch."""

    seq: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Settled:
    """One chain counts: its records and its state. `void` are the heads of the branches that do not, in rising order."""

    records: tuple[Record, ...]
    state: ChainState
    void: tuple[Head, ...]


@dataclass(frozen=True, slots=True)
class Frozen:
    """Several branches, and nobody has chosen: `heads` in rising order, of which a person keeps one.

    `records` and `state` are what these have in common (no state if they part at the first epoch); nothing is sent,
    folded or admitted on it. `void` are the heads of branches that a resolve ended.
    """

    records: tuple[Record, ...]
    state: ChainState | None
    heads: tuple[Head, ...]
    void: tuple[Head, ...]


class _Link(NamedTuple):
    hash: bytes
    record: Record


class _Branch(NamedTuple):
    """A chain as far as it is valid."""

    records: tuple[Record, ...]
    state: ChainState

    @property
    def head(self) -> Head:
        return Head(self.state.seq, self.state.head)


class Trunk(NamedTuple):
    """What was verified before and all branches have in common: whole appends, and the state after them."""

    records: tuple[Record, ...]
    state: ChainState


def judge(mesh_id: MeshId, records: Iterable[Record], trunk: Trunk | None = None) -> Settled | Frozen:
    """What the records of `mesh_id` come to. Those that break a rule, or hang on nothing, do not count.

    With `trunk` only what follows it is verified, and nothing that parts from it below its end is seen. Raises ChainError
    `no_genesis` unless they hold the mesh's first append or there is a trunk, and `unknown_type` when a record of a
    member's is of a type this build does not know.
    """
    tree = _Tree(mesh_id, records, trunk)
    branches = tree.branches
    if not branches:
        raise ChainError("no_genesis", 1)
    resolving = [each for each in branches if _resolves(each, 0)]
    alive = [each for each in branches if not any(tree.voids(other, each) for other in resolving)]
    # None is left when one was chosen against another and that one against it: then these are to be decided upon.
    contested = alive or [each for each in resolving if any(tree.voids(each, other) for other in branches)]
    heads = {each.head for each in contested}
    void = tuple(sorted({each.head for each in branches} - heads))
    if len(contested) == 1:
        return Settled(contested[0].records, contested[0].state, void)
    common = contested[0].records
    for each in contested[1:]:
        common = shared(common, each.records)
    return Frozen(common, tree.state_after(common), tuple(sorted(heads)), void)


def trace(records: Iterable[Record], head: bytes) -> tuple[Record, ...]:
    """Of `records` those that lead to the one whose hash is `head`, in order, as far down as they go; they are not
    verified here."""
    known = {record.hash: record for record in records}
    path: list[Record] = []
    while (record := known.pop(head, None)) is not None:
        path.append(record)
        head = record.prev_hash
    return tuple(reversed(path))


def standing(result: Settled | Frozen, records: Iterable[Record]) -> frozenset[bytes]:
    """The hashes of those of `records` that lie on a branch of `result`, whether it counts, waits or is void."""
    known = {record.hash: record for record in records}
    heads = result.heads if isinstance(result, Frozen) else (Head(result.state.seq, result.state.head),)
    found: set[bytes] = set()
    for head in (*heads, *result.void):
        digest = head.hash
        while digest in known and digest not in found:
            found.add(digest)
            digest = known[digest].prev_hash
    return frozenset(found)


def shared(first: tuple[Record, ...], second: tuple[Record, ...]) -> tuple[Record, ...]:
    """The whole appends with which both begin. Records are linked, so those that are equal come first."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[middle - 1] == second[middle - 1]:
            low = middle
        else:
            high = middle - 1
    return first[: settled(first[:low])]


class _Tree:
    """The records by what they follow, and every branch that they make."""

    def __init__(self, mesh_id: MeshId, records: Iterable[Record], trunk: Trunk | None) -> None:
        self.branches: list[_Branch] = []
        self._states: dict[bytes, ChainState] = {}
        """The state wherever branches part or end."""
        self._after: dict[tuple[int, bytes], list[_Link]] = {}
        first: list[_Link] = []
        for digest, record in sorted({record.hash: record for record in records}.items()):
            if record.seq > 1:
                self._after.setdefault((record.seq - 1, record.prev_hash), []).append(_Link(digest, record))
            elif record.type == "genesis" and mesh_id_of(record) == mesh_id:
                first.append(_Link(digest, record))
        if trunk is None:
            self._grow(None, first)
        else:
            self._states[trunk.state.head] = trunk.state
            self._grow(_Branch(*trunk), self._after.get((trunk.state.seq, trunk.state.head), []))

    def _grow(self, start: _Branch | None, first: list[_Link]) -> None:
        waiting = [(start, first)]
        while waiting:
            before, following = waiting.pop()
            grown = [found for append in self._appends(following) if (found := self._follow(before, append))]
            waiting += grown
            if before is not None and not grown:
                self.branches.append(before)

    def _appends(self, links: Iterable[_Link]) -> Iterator[list[_Link]]:
        """The whole appends that begin with one of `links`: records that await an epoch, and that epoch."""
        waiting = [[link] for link in links]
        while waiting:
            append = waiting.pop()
            last = append[-1]
            if last.record.type not in AWAIT_EPOCH:
                yield append
            elif len(append) <= MAX_RUN:
                waiting += [[*append, link] for link in self._following(last)]

    def _following(self, link: _Link) -> list[_Link]:
        return self._after.get((link.record.seq, link.hash), [])

    def _follow(self, before: _Branch | None, links: list[_Link]) -> tuple[_Branch, list[_Link]] | None:
        """`before` with this append and those after it, up to where several follow, none, or a bad one; and what follows."""
        begun = len(links)
        links = list(links)
        following = self._following(links[-1])
        while len(appends := list(self._appends(following))) == 1:
            links += appends[0]
            following = self._following(links[-1])
        records = [link.record for link in links]
        state = before.state if before is not None else None
        try:
            state = extend(state, records)
        except ChainError as error:
            good = records[: error.seq - records[0].seq]
            if error.reason == "unknown_type":
                _require_stranger(extend(state, good[: settled(good)]) if settled(good) else state, records[len(good)])
            records = good[: settled(good)]
            if len(records) < begun:
                return None
            state = extend(state, records)
            following = []
        self._states[state.head] = state
        return _Branch((*(before.records if before is not None else ()), *records), state), following

    def state_after(self, records: tuple[Record, ...]) -> ChainState | None:
        """The state where branches part that have `records` in common."""
        return self._states[records[-1].hash] if records else None

    def voids(self, by: _Branch, branch: _Branch) -> bool:
        """Whether `by` has a resolve that ends `branch`."""
        common = shared(by.records, branch.records)
        resolves = _resolves(by, len(common))
        recovery = by.state.genesis.recovery_pub
        if not resolves:
            return False
        if any(record.signer == recovery for record in resolves):
            return True
        if any(record.signer == recovery for record in _resolves(branch, len(common))):
            return False
        ancestor = self.state_after(common)
        judges = branch.state.signers & ancestor.signers if ancestor is not None else frozenset()
        return any(record.signer in judges for record in resolves)


def _require_stranger(state: ChainState | None, record: Record) -> None:
    """Raises ChainError `unknown_type` when a record that this build cannot judge may well count for newer ones.

    To leave it out would be to go on with a chain that others hold longer.
    """
    if state is None or not (state.is_active(record.signer) or record.signer == state.genesis.recovery_pub):
        return
    try:
        record.verify(state.mesh_id)
    except CryptoError:
        return
    raise ChainError("unknown_type", record.seq)


def _resolves(branch: _Branch, after: int) -> list[Record]:
    return [record for record in branch.records[after:] if record.type == "resolve"]
