"""The stream of one mailbox to one connection: in lane order, within a window, never holding up anything else.

A task runs only while there is something to push and room in the window; an idle stream is a few numbers.
"""

from collections.abc import Callable, Sequence
from typing import Final

from mesh_broker.client import Session
from mesh_broker.limits import Limits
from mesh_broker.metrics import Metrics
from mesh_broker.outbound import notification
from mesh_broker.rates import MailRates
from mesh_broker.store.interface import Store, Waiting
from mesh_protocol.broker_api import MAIL, MailPush
from mesh_protocol.io.link import LinkClosed

LANE_COUNT: Final = 3
AHEAD: Final = 32
"""Rows of a lane looked up at once; their envelopes are read one by one as they are sent."""


class MailStream:
    """What a device has been handed since it resumed. Within a lane envelopes go in the order of their numbers, so
    one number a lane says how far it has come, whatever arrives meanwhile."""

    def __init__(
        self,
        session: Session,
        store: Store,
        limits: Limits,
        metrics: Metrics,
        rates: MailRates,
        clock: Callable[[], int],
        acked: int,
        sacks: Sequence[tuple[int, int]],
    ) -> None:
        self._session = session
        self._store = store
        self._limits = limits
        self._metrics = metrics
        self._rates = rates
        self._clock = clock
        self._sacks = tuple(sacks)
        self._after = [acked] * LANE_COUNT
        self._ahead: tuple[list[Waiting], ...] = ([], [], [])  # short lists: an empty deque takes 700 bytes
        self._unacked: dict[int, int] = {}
        self._unacked_bytes = 0
        self._started = False
        self._running = False
        self._stopped = False

    def start(self) -> None:
        """Begin, once the device knows the numbers of its mailbox."""
        self._started = True
        self.wake()

    def wake(self) -> None:
        """There may be something to push, or room for it."""
        if self._started and not self._running and not self._stopped:
            self._running = True
            self._session.client.spawn(self._run)

    def stop(self) -> None:
        """Push nothing any more."""
        self._stopped = True

    def release(self, acked: int, sacks: Sequence[tuple[int, int]]) -> None:
        """Give the window back what the device has committed."""
        held = self._unacked
        for mseq in [mseq for mseq in held if mseq <= acked or _within(mseq, sacks)]:
            self._unacked_bytes -= held.pop(mseq)
            self._metrics.count("mail_acked_total")
        self.wake()

    async def _run(self) -> None:
        try:
            while not self._stopped:
                row = self._take()
                if row is None:
                    return
                envelope = self._store.envelope(self._session.box, row.mseq)
                if envelope is None:
                    continue  # acknowledged or expired since it was looked up
                self._unacked[row.mseq] = row.size
                self._unacked_bytes += row.size
                self._rates.handed_over(self._session.box, row.sender)
                self._metrics.count("mail_pushed_total")
                push = MailPush(mesh=self._session.room.mesh, mseq=row.mseq)
                await self._session.client.connection.send_encoded(notification(MAIL, push, envelope))
        except LinkClosed:
            self._stopped = True
        finally:
            self._running = False

    def _take(self) -> Waiting | None:
        """The next row that waits and fits the window."""
        now = self._clock()
        for lane in range(LANE_COUNT):
            while True:
                row = self._peek(lane)
                if row is None:
                    break
                if row.expires_ms > now and not _within(row.mseq, self._sacks):
                    if not self._fits(row):
                        return None
                    self._pop(lane)
                    return row
                self._pop(lane)
        return None

    def _peek(self, lane: int) -> Waiting | None:
        ahead = self._ahead[lane]
        if not ahead:
            ahead.extend(self._store.waiting(self._session.box, lane, self._after[lane], AHEAD))
        return ahead[0] if ahead else None

    def _pop(self, lane: int) -> None:
        self._after[lane] = self._ahead[lane].pop(0).mseq

    def _fits(self, row: Waiting) -> bool:
        if not self._unacked:
            return True
        limits = self._limits
        return len(self._unacked) < limits.window_rows and self._unacked_bytes + row.size <= limits.window_bytes


def _within(mseq: int, ranges: Sequence[tuple[int, int]]) -> bool:
    return any(low <= mseq <= high for low, high in ranges)
