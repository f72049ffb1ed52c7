"""What waits for one mesh's broker. In memory only; the disk has the truth."""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

import trio

from mesh_protocol.ids import DeviceId, MsgId
from meshd.store.outbox import DeliveryRow

PER_WAY: Final = 32
"""Envelopes of one way that may be on their way to the broker at once."""

Way: TypeAlias = tuple[DeviceId, int]
"""Recipient device and lane: what is kept in order."""
Key: TypeAlias = tuple[MsgId, DeviceId]


class Taken(NamedTuple):
    """A delivery in hand. `again`: no other of its way is under way, so the broker may open the way anew."""

    row: DeliveryRow
    again: bool


@dataclass(slots=True)
class _Line:
    """One way. `held` are those that were refused for now and come back; nothing passes them."""

    device: DeviceId
    waiting: list[tuple[int, MsgId]] = field(default_factory=list)
    under_way: int = 0
    held: int = 0
    broken: bool = False

    @property
    def open(self) -> bool:
        if not self.waiting or self.held or self.under_way >= PER_WAY:
            return False
        return not (self.broken and self.under_way)


@dataclass(slots=True)
class SendQueue:
    """Each way goes in the order of its stream numbers, several at once. When one is refused for now the broker refuses
    those behind it as well, and they begin anew with it: nothing overtakes. Among the ways the more urgent lane goes
    first, then who waits longest.

    What is taken must be given to `done`, `hold` or `give_back`.
    """

    more: trio.Event = field(default_factory=trio.Event)
    refusals: dict[DeviceId, str] = field(default_factory=dict)
    """What the broker said last of a device, while it refuses for now."""
    _lines: dict[Way, _Line] = field(default_factory=dict)
    _heads: list[tuple[int, int, Way]] = field(default_factory=list)
    _rows: dict[Key, DeliveryRow] = field(default_factory=dict)
    _hand: dict[Key, DeliveryRow] = field(default_factory=dict)
    _later: dict[Key, DeliveryRow] = field(default_factory=dict)
    _dropped: set[Key] = field(default_factory=set)

    def offer(self, deliveries: Iterable[DeliveryRow]) -> None:
        """Add what is not here yet. A delivery sealed anew takes the place of its earlier attempt."""
        for row in deliveries:
            key = (row.msg_id, row.device)
            held = self._hand.get(key)
            known = self._rows.get(key)
            if held is not None:
                if row.attempt > held.attempt:
                    self._later[key] = row
            elif known is None:
                self._push(row)
            elif row.attempt >= known.attempt:
                self._rows[key] = row

    def take(self) -> Taken | None:
        """The next delivery that may go."""
        while self._heads:
            way = heapq.heappop(self._heads)[2]
            line = self._lines.get(way)
            while line is not None and line.open:
                row = self._pop(line)
                if row is not None:
                    again = line.under_way == 0
                    self._begin(line, row)
                    self._show(way)
                    return Taken(row, again)
        return None

    def gather(self, first: Taken, limit: int) -> list[DeliveryRow]:
        """The other deliveries of the same message that may go in the same breath, each the next of its way."""
        found: list[DeliveryRow] = []
        for way, line in list(self._lines.items()):
            if len(found) >= limit:
                break
            if way[1] != first.row.lane or not line.open or (line.under_way == 0) != first.again:
                continue
            row = self._rows.get((first.row.msg_id, way[0]))
            if row is None or row.envelope is None or line.waiting[0][1] != first.row.msg_id:
                continue
            heapq.heappop(line.waiting)
            del self._rows[row.msg_id, row.device]
            self._begin(line, row)
            self._show(way)
            found.append(row)
        return found

    def unsealed(self, limit: int) -> list[DeliveryRow]:
        """Deliveries that wait and have no envelope yet, each way's next first."""
        found: list[DeliveryRow] = []
        for (device, _), line in self._lines.items():
            for _, msg_id in heapq.nsmallest(PER_WAY, line.waiting):
                row = self._rows.get((msg_id, device))
                if row is not None and row.envelope is None:
                    found.append(row)
                if len(found) >= limit:
                    return found
        return found

    def done(self, row: DeliveryRow) -> None:
        """What was taken is sent, or never will be."""
        self._end(row)

    def hold(self, row: DeliveryRow) -> None:
        """What was taken cannot go now: its way waits until it is put back."""
        line = self._lines[row.device, row.lane]
        line.under_way -= 1
        line.held += 1
        line.broken = True

    def put_back(self, row: DeliveryRow) -> None:
        """What was held may be tried again."""
        line = self._lines.get((row.device, row.lane))
        key = (row.msg_id, row.device)
        if line is None or key not in self._hand:
            return  # of an earlier connection
        line.held -= 1
        del self._hand[key]
        self._again(key, self._later.pop(key, row))

    def give_back(self, row: DeliveryRow, *, refused: bool = False) -> None:
        """What was taken did not go and may as soon as it can: it had to be sealed first, or one before it was refused."""
        line = self._lines.get((row.device, row.lane))
        if line is not None and refused:
            line.broken = True
        self._end(row, anew=True)

    def drop(self, msg_id: MsgId) -> None:
        """Forget what waits of a message. What is under way is not called back, but it does not go a second time."""
        for key in [key for key in self._rows if key[0] == msg_id]:
            del self._rows[key]
        self._dropped.update(key for key in self._hand if key[0] == msg_id)

    def reset(self) -> None:
        """A new connection: nothing is in hand."""
        for store in (self.refusals, self._lines, self._heads, self._rows, self._hand, self._later, self._dropped):
            store.clear()

    def _begin(self, line: _Line, row: DeliveryRow) -> None:
        if line.under_way == 0:
            line.broken = False
        line.under_way += 1
        self._hand[row.msg_id, row.device] = row

    def _end(self, row: DeliveryRow, *, anew: bool = False) -> None:
        way, key = (row.device, row.lane), (row.msg_id, row.device)
        line = self._lines.get(way)
        if line is None or self._hand.pop(key, None) is None:
            return  # of an earlier connection
        line.under_way -= 1
        later = self._later.pop(key, None)
        if later is not None or anew:
            self._again(key, later or row)
        self._dropped.discard(key)
        self._show(way)
        if not line.waiting and not line.under_way and not line.held:
            del self._lines[way]

    def _again(self, key: Key, row: DeliveryRow) -> None:
        """What was in hand waits once more, unless it was dropped meanwhile."""
        if key in self._dropped:
            self._dropped.discard(key)
            self._show((row.device, row.lane))
        else:
            self._push(row)

    def _push(self, row: DeliveryRow) -> None:
        way = (row.device, row.lane)
        self._rows[row.msg_id, row.device] = row
        heapq.heappush(self._lines.setdefault(way, _Line(row.device)).waiting, (row.stream_seq, row.msg_id))
        self._show(way)

    def _pop(self, line: _Line) -> DeliveryRow | None:
        """The first that waits; None for one that was dropped meanwhile."""
        _, msg_id = heapq.heappop(line.waiting)
        return self._rows.pop((msg_id, line.device), None)

    def _show(self, way: Way) -> None:
        """Let `take` know of a way. One that it knows already is passed over when its turn comes."""
        line = self._lines.get(way)
        if line is None or not line.open:
            return
        first = self._rows.get((line.waiting[0][1], way[0]))
        heapq.heappush(self._heads, (way[1], first.queued_ms if first is not None else 0, way))
        self.more.set()
