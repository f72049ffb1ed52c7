"""Who changed what on this machine: written, signed and on the disk before the change is reported as done.

An action has two entries. The first is on the disk before it begins, so that no death of the daemon leaves a change without
a trace; the second says how it ended. The newest entry is kept a second time beside the keys, which shows a log whose end
was cut off (crypto design 2.15).
"""

import errno
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import trio

from mesh_protocol.io.sqlite import Pending, StorageFailed
from mesh_protocol.op import Operation, Request, Tier
from mesh_protocol.pae import MAX_INT, CryptoError
from mesh_protocol.wire.errors import MeshError
from meshd.audit_entry import (
    BEGUN,
    FIRST,
    MAX_ENTRY,
    NOTHING,
    Broken,
    Deed,
    Entry,
    Known,
    Walk,
    hash_entry,
    read_entry,
    write_checkpoint,
    write_entry,
)
from meshd.keys.file_backend import KeyDirectory
from meshd.log import Word, get_logger
from meshd.node import Node
from meshd.store import audit as store

if TYPE_CHECKING:
    from meshd.local.dispatch import Call, Caller

log = get_logger("audit")

COPY_NAME: Final = "audit"
"""The file beside the keys that holds the newest entry."""
PORTION: Final = 100
"""Entries that are verified at a time: some 10 ms in a thread."""
BOUND: Final = 100_000
"""Entries that are kept: some 40 MB, and the changes of years."""
SLACK: Final = 1_000
"""So many more before any are dropped, all at once: they are verified before they go."""
TAIL: Final = 100
"""Entries at the end that doctor looks at: some 10 ms."""
NO_COPY: Final = Known(0, b"none")
"""Stands for what is known of a log whose copy is gone: no log holds it."""
T = TypeVar("T")


class Audit:
    """The audit of a daemon whose keys are open; `keys` is the folder that they are in."""

    def __init__(self, node: Node, keys: Path, bound: int = BOUND, slack: int = SLACK) -> None:
        self._node = node
        self.bound = bound
        self.slack = slack
        self._whole = trio.Lock()
        """Held while the log is read from its beginning: nothing is dropped from under the walk."""
        self._directory = KeyDirectory(keys)
        self._known: Known | None = None
        self._newest: Entry | None = None
        self._copied: Entry | None = None
        self._copying = trio.Lock()
        self._opening: Pending[Entry] | None = None
        """The first entry of all, whose copy is there before it is."""
        self.under_way: set[int] = set()
        """Numbers of the first entries of what goes on now."""

    def restore(self) -> None:
        """Hold the log against its copy, and begin it where there is none. What is found is written with the next entry."""
        node = self._node
        kept, last = self.read_copy(), store.read_last(node.db.reader)
        if last is None and (kept is None or kept.seq == 1):
            # Copied before it is committed: so a log without its copy is never this daemon's doing.
            first = kept or write_entry(node.key, None, store.opening(FIRST, node.now(), node.generation, ""))
            self._newest = first
            self._put_copy(first)
            self._opening = node.db.submit(lambda tx: store.insert(tx, first))
            self._known = first.known
        elif kept is None or store.hash_of(node.db.reader, kept.seq) != kept.known.hash:
            log.error("the audit was cut off or changed while the daemon did not run: see mesh audit verify")
            self._known = NO_COPY if kept is None else kept.known
        else:
            assert last is not None
            self._known = last[0]
            self._copy_last(last[1])

    def _copy_last(self, data: bytes) -> None:
        """The daemon may have died between a commit and its copy."""
        try:
            self._newest = read_entry(data, self._node.device)
            self._put_copy(self._newest)
        except (CryptoError, OSError) as error:  # changed: `verify` names it; no room: the next entry will tell
            log.warning("the newest entry of the audit was not copied", error=error)

    def read_copy(self) -> Entry | None:
        """The newest entry as it is kept beside the keys; None where it is gone or is not one of ours."""
        data = self._directory.read(COPY_NAME, MAX_ENTRY)
        try:
            return None if data is None else read_entry(data, self._node.device)
        except CryptoError:
            return None

    async def run(self, who: "Caller", operation: Operation, request: Request, act: Callable[[], Awaitable[T]]) -> T:
        """Do `act` between its two entries. Raises `storage_full` with nothing done where the first one has no room."""
        deed = self._deed(who, operation, request, BEGUN)
        began = (await self._write(deed)).seq
        self.under_way.add(began)
        try:
            answer = await self._watched(deed, began, act)
            await self._write(self._ended(deed, began, "done"))
            return answer
        finally:
            self.under_way.discard(began)

    async def _watched(self, deed: Deed, began: int, act: Callable[[], Awaitable[T]]) -> T:
        """Do it; if it fails, write that down first."""
        try:
            return await act()
        except MeshError as error:
            await self._write(self._ended(deed, began, error.code))
            raise
        except StorageFailed:  # the daemon ends; the first entry stays without the second
            raise
        except BaseException as error:
            outcome = "internal" if isinstance(error, Exception) else "cancelled"
            self._submit(self._ended(deed, began, outcome))
            raise

    async def note(self, who: "Caller", operation: Operation, request: Request) -> None:
        """Write down what was done before there was a key to sign with."""
        await self._write(self._deed(who, operation, request, "done"))

    def _ended(self, deed: Deed, began: int, outcome: str) -> Deed:
        return replace(deed, at_ms=self._node.now(), outcome=outcome, began=began)

    def _deed(self, who: "Caller", operation: Operation, request: Request, outcome: str) -> Deed:
        return Deed(
            at_ms=self._node.now(),
            who=who.session.name if who.session is not None else "person" if who.tier is Tier.USER else "agent",
            tier=who.tier.name.lower(),
            operation=operation.method,
            mesh=self._mesh_of(request),
            target=tuple(
                (name, shown) for name in operation.audited or () if (shown := _show(getattr(request, name))) != ""
            ),
            outcome=outcome,
        )

    def _mesh_of(self, request: Request) -> str:
        """The local name of the mesh that a request is about; empty where it names none."""
        if "mesh" not in request.__struct_fields__:
            return ""
        named = str(getattr(request, "mesh", ""))
        try:
            return self._node.find_mesh(named).slug
        except MeshError:
            return named

    async def _write(self, deed: Deed) -> Entry:
        entry = await self._submit(deed).wait()
        await self._copy()
        await self._drop_oldest()
        return entry

    async def _drop_oldest(self) -> None:
        """Keep the log within its bound. What goes is verified first: what is wrong with it stays said by the checkpoint."""
        node = self._node
        first, last = store.bounds(node.db.reader)
        if self._whole.locked() or last - first < self.bound + self.slack:
            return
        async with self._whole:
            try:
                through = last - self.bound
                broken, since_ms = await self._judge_through(through)
                replaced = Known(through, store.hash_of(node.db.reader, through) or NOTHING)
                checkpoint = write_checkpoint(node.key, replaced, node.now(), since_ms, broken)
                await node.db.write(lambda tx: store.drop_before(tx, checkpoint))
            except MeshError as error:  # no room: what was done is written all the same, and the next entry tries again
                log.warning("the audit was not shortened", code=Word(error.code))

    async def _judge_through(self, through: int) -> tuple[Broken | None, int]:
        """What is wrong with the entries up to this one, if anything is, and since when there is an audit."""
        node = self._node
        walk, after = Walk(node.device, None), 0
        while rows := [row for row in store.read_after(node.db.reader, after, PORTION) if row[0] <= through]:
            try:
                await node.seams.threads(partial(walk.take, rows))
            except Broken as broken:
                return broken, walk.since_ms
            after = rows[-1][0]
        if walk.count != through:
            return Broken(walk.count + 1, f"it is missing, and {through + 1} comes next"), walk.since_ms
        return None, walk.since_ms

    async def opened(self) -> None:
        """Wait until the first entry is on the disk, or had no room there: until then the log is behind its copy."""
        if self._opening is not None:
            with suppress(MeshError):
                await self._opening.wait()
            self._opening = None

    def judge_tail(self) -> int:
        """Verify the newest entries and the copy; how many entries were written in all. Raises Broken.

        The log has to be `opened`.
        """
        rows = store.read_before(self._node.db.reader, MAX_INT, TAIL + 1)[::-1]
        kept = self.read_copy()
        noted = store.read_gap(self._node.db.reader)
        if noted:
            raise Broken(noted, "the daemon found the log cut before it")
        if len(rows) <= TAIL:
            walk = Walk(self._node.device, kept)
        else:
            number, data = rows.pop(0)
            walk = Walk(self._node.device, kept, Known(number, hash_entry(data)))
        walk.take(rows)
        walk.finish()
        return walk.count

    def _submit(self, deed: Deed) -> Pending[Entry]:
        node, known = self._node, self._known
        pending = node.db.submit(lambda tx: store.append(tx, node.key, deed, known, node.generation))
        pending.settled(lambda: self._settled(pending))
        return pending

    def _settled(self, pending: Pending[Entry]) -> None:
        if pending.succeeded:
            self._newest = pending.result
            self._known = pending.result.known

    async def _copy(self) -> None:
        """The newest entry, which may be a later one than the caller's; then nothing is left to do for the later."""
        async with self._copying:
            newest = self._newest
            if newest is None or newest is self._copied:
                return
            try:
                await self._node.seams.threads(lambda: self._put_copy(newest))
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise MeshError("storage_full") from None
                raise

    def _put_copy(self, entry: Entry) -> None:
        self._directory.write(COPY_NAME, entry.data)
        self._copied = entry

    async def verify(self) -> Walk:
        """Read all of it. Raises Broken at the first entry that is not what was written."""
        node = self._node
        await self.opened()
        await self._copying.acquire()  # a copy that is being replaced is behind what is committed, never ahead
        try:
            walk = Walk(node.device, self.read_copy())
        finally:
            self._copying.release()
        async with self._whole:
            while rows := store.read_after(node.db.reader, walk.count, PORTION):
                await node.seams.threads(partial(walk.take, rows))
        walk.finish()
        return walk


async def run_audited(call: "Call", operation: Operation, request: Request, act: Callable[[], Awaitable[T]]) -> T:
    """Do `act`, with its entries in the audit if the operation is declared so."""
    if operation.audited is None:
        return await act()
    app = call.app
    was_locked = app.locked
    if not was_locked:
        return await app.audit.run(call.caller, operation, request, act)
    answer = await act()
    if not app.locked:  # it was what opened the keys
        await app.audit.note(call.caller, operation, request)
    return answer


def _show(value: object) -> str:
    """A field of a request as the audit holds it; empty for what was not given."""
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, list | tuple):
        return " ".join(str(each) for each in value)
    return "" if value is None else str(value)
