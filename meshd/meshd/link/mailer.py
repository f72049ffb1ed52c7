"""Sending for one mesh over one connection: the outbox, and the receipts owed. Ends with the connection."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import apsw
import trio

from mesh_protocol.broker_api import MAX_ONETIME, AcceptAnswer
from mesh_protocol.fan import MAX_RECIPIENTS, is_wrap, unpack_outcomes
from mesh_protocol.ids import DeviceId
from mesh_protocol.io.connection import Call, Connection
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.op import read_answer
from mesh_protocol.pae import BadEncoding
from mesh_protocol.wire.errors import MeshError, RemoteError
from mesh_protocol.wire.rpc import Params
from meshd.link.greeting import CALL_S
from meshd.link.prekeys import fetch_prekeys
from meshd.log import Id, Word, get_logger
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.receipts import gather, seal_receipts
from meshd.sealing import fan_of, seal_delivery, wrap_deliveries
from meshd.seams import jitter
from meshd.sendqueue import SendQueue, Taken
from meshd.store import inbox as received
from meshd.store import outbox as store
from meshd.store.inbox import ReceiptDue
from meshd.store.outbox import DeliveryRow
from meshd.store.voids import GivenUp
from meshd.voids import Voids, add_voids

log = get_logger("mailer")

WINDOW: Final = 64
"""Envelopes on their way to the broker at once."""
SEAL_AT_ONCE: Final = 32
"""Deliveries that are sealed in one commit: 32 x 0.15 ms in the event loop."""
PREKEYS_AT_ONCE: Final = 128
RETRY_BASE_S: Final = 0.25
RETRY_CAP_S: Final = 30.0
PREKEY_RETRY_S: Final = 5.0

PERMANENT: Final = {
    "unknown_device": ("removed", "the broker knows no such device in this mesh"),
    "not_allowed": ("refused", "the broker does not let this device write there"),
    "too_large": ("too_large", "the broker takes no envelope of this size"),
    "bad_envelope": ("refused", "the broker cannot read the envelope's routing"),
}
"""Answers that no retry changes, and the state and reason they become."""


@dataclass(slots=True, eq=False)
class Mailer:
    """Drains `queue` and the receipts of `mesh`."""

    node: Node
    mesh: Mesh
    connection: Connection
    queue: SendQueue
    voids: Voids
    receipts: trio.Event = field(default_factory=trio.Event)
    _window: trio.Semaphore = field(default_factory=lambda: trio.Semaphore(WINDOW, max_value=WINDOW))
    _failures: dict[DeviceId, int] = field(default_factory=dict)
    _nursery: trio.Nursery = field(init=False)

    async def run(self) -> None:
        """Send until cancelled or the connection ends."""
        self.queue.reset()
        self.queue.offer(store.waiting_deliveries(self.node.db.reader, self.mesh.id))
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._run_receipts)
            await self._run_outbox(nursery)

    # Messages.

    async def _run_outbox(self, nursery: trio.Nursery) -> None:
        while True:
            taken = self.queue.take()
            if taken is None:
                self.queue.more = trio.Event()
                await self.queue.more.wait()
                continue
            row = await self._prepare(taken.row)
            if row is None:
                continue
            await self._window.acquire()
            self.node.seams.reached("FP-05")
            try:
                if is_wrap(row.envelope or b""):
                    await self._send_fan(nursery, taken)
                else:
                    params: Params = {"mesh": self.mesh.id, "again": taken.again}
                    call = await self.connection.begin("mail.send", params, row.envelope or b"")
                    nursery.start_soon(self._settle, row, call)
            except LinkClosed:
                return

    async def _send_fan(self, nursery: trio.Nursery, taken: Taken) -> None:
        """One message to all its recipients that may go now, in one frame."""
        rows = [taken.row]
        for row in self.queue.gather(taken, MAX_RECIPIENTS - 1):
            if self.mesh.state.is_active(row.device):
                rows.append(row)
            else:  # whose wrap was made before the chain took it out
                await self._end(row, "removed", store.REMOVED)
        message = store.read_message(self.node.db.reader, taken.row.msg_id)
        if message is None:  # withdrawn meanwhile: a newer one took its place
            for row in rows:
                self.queue.done(row)
            self._window.release()
            return
        fan = fan_of(self.node, message, rows)
        params: Params = {"mesh": self.mesh.id, "again": taken.again}
        call = await self.connection.begin("mail.fan", params, fan.encode())
        by_device = {row.device: row for row in rows}
        nursery.start_soon(self._settle_fan, [by_device[wrap.to_device] for wrap in fan.wraps], call)

    async def _prepare(self, row: DeliveryRow) -> DeliveryRow | None:
        """The delivery, if its envelope is on the disk; None when it cannot go now."""
        if not self.mesh.state.is_active(row.device):
            await self._end(row, "removed", store.REMOVED)
            return None
        if row.expires_ms <= self.node.now() and not self.node.clock_is_off:
            await self._end(row, "expired", store.EXPIRED)
            return None
        if self.mesh.alarm:
            return None  # offered again when the alarm is resolved and the link greets anew
        if row.envelope is not None:
            return row
        rows = [row, *self.queue.unsealed(SEAL_AT_ONCE - 1)]
        await self._know_prekeys([each.device for each in rows], rows)
        sealed = self._seal(rows)
        if row.device not in {each.device for each in sealed if each.msg_id == row.msg_id}:
            if store.read_message(self.node.db.reader, row.msg_id) is None:  # withdrawn meanwhile
                self.queue.done(row)
            else:
                self._later(row, PREKEY_RETRY_S)
            return None
        self.node.seams.reached("FP-04")
        await self.node.db.write(lambda tx: store.set_envelopes(tx, sealed))
        self.queue.offer(sealed)  # known under their new attempt; this one is taken again at once
        self.queue.give_back(row)
        return None

    def _seal(self, rows: Sequence[DeliveryRow]) -> list[DeliveryRow]:
        """Those of `rows` whose prekeys are known, sealed."""
        sealed: list[DeliveryRow] = []
        for msg_id in dict.fromkeys(row.msg_id for row in rows):
            message = store.read_message(self.node.db.reader, msg_id)
            if message is None:
                continue
            own = [row for row in rows if row.msg_id == msg_id]
            if message.shared is not None:
                sealed.extend(wrap_deliveries(self.node, self.mesh, message, own))
                continue
            content = self.node.open("message", "content", msg_id, message.content)
            found = (seal_delivery(self.node, self.mesh, message, content, row) for row in own)
            sealed.extend(row for row in found if row is not None)
        return sealed

    async def _know_prekeys(self, devices: Sequence[DeviceId], rows: Sequence[DeliveryRow] = ()) -> None:
        """Ask for the prekeys that are missing, with a one-time prekey for each direct message of `rows`; and, since one call brings many, for those of others who may be written
        to next. It also tells the broker less of whom we write to."""
        known, state = self.mesh.peer_prekeys, self.mesh.state
        missing = [device for device in dict.fromkeys(devices) if device not in known]
        if missing:
            others = (each for each in state.devices if each not in known and state.is_active(each))
            single = [
                device for device in missing if any(row.device == device and self._is_direct(row) for row in rows)
            ]
            await self._fetch_prekeys(
                [*dict.fromkeys([*missing, *islice(others, PREKEYS_AT_ONCE)])], single[:MAX_ONETIME]
            )

    def _is_direct(self, row: DeliveryRow) -> bool:
        message = store.read_message(self.node.db.reader, row.msg_id)
        return message is not None and message.kind == "text" and message.shared is None

    async def _fetch_prekeys(self, devices: Sequence[DeviceId], onetime: Sequence[DeviceId]) -> None:
        """Ask for devices' prekeys; a refusal (too fast, no room) only means that they are not here yet."""
        try:
            await fetch_prekeys(self.node, self.connection, self.mesh, devices, onetime)
        except (RemoteError, trio.TooSlowError, LinkClosed):
            log.debug("no prekey now", mesh=Id(self.mesh.id))

    async def _settle(self, row: DeliveryRow, call: Call) -> None:
        """Wait for the broker's word on one envelope."""
        try:
            reply = await call.reply(CALL_S)
            answer = read_answer(AcceptAnswer, reply.result)
        except RemoteError as error:
            await self._refused(row, error.code, error.data.get("retry_after"))
            return
        except LinkClosed:
            return
        except trio.TooSlowError:
            await self.connection.aclose("the broker did not answer a message")
            return
        finally:
            self._window.release()
        await self._accepted([(row, answer.accepted_ms)])

    async def _settle_fan(self, rows: Sequence[DeliveryRow], call: Call) -> None:
        """Wait for the broker's word on one message to many."""
        try:
            reply = await call.reply(CALL_S)
            outcomes = unpack_outcomes(reply.body, len(rows))
        except RemoteError as error:
            for row in rows:
                await self._refused(row, error.code, error.data.get("retry_after"))
            return
        except BadEncoding:
            await self.connection.aclose("the broker answered a message to many in another shape")
            return
        except LinkClosed:
            return
        except trio.TooSlowError:
            await self.connection.aclose("the broker did not answer a message")
            return
        finally:
            self._window.release()
        pairs = list(zip(rows, outcomes, strict=True))
        await self._accepted([(row, outcome.at_ms) for row, outcome in pairs if not outcome.code])
        for row, outcome in pairs:
            if outcome.code:
                await self._refused(row, outcome.code, outcome.retry_after)

    async def _accepted(self, rows: Sequence[tuple[DeliveryRow, int]]) -> None:
        for row, _ in rows:
            self._failures.pop(row.device, None)
            self.queue.refusals.pop(row.device, None)
            self.queue.done(row)
        if not rows:
            return
        self.node.seams.reached("FP-10")

        def work(tx: apsw.Connection) -> None:
            for row, at_ms in rows:
                store.set_accepted(tx, row.msg_id, row.device, row.attempt, at_ms)

        try:
            await self.node.db.write(work)
        except MeshError:  # no room to note it: sent once more after the next start, and answered as a repeat
            log.warning("an acceptance could not be noted", mesh=Id(self.mesh.id))
        self.node.changed(rows[0][0].msg_id)

    async def _refused(self, row: DeliveryRow, code: str, told: object) -> None:
        end = PERMANENT.get(code)
        if end is not None:
            await self._end(row, *end)
            return
        if code == "out_of_turn":  # one before it was refused, and comes back first
            self.queue.give_back(row, refused=True)
            return
        self.queue.refusals[row.device] = code
        failures = self._failures[row.device] = self._failures.get(row.device, 0) + 1
        wait = jitter(self.node.seams.rng, min(RETRY_CAP_S, RETRY_BASE_S * 2.0 ** min(failures, 10)))
        self._later(row, max(wait, float(told)) if isinstance(told, int | float) else wait)
        log.info("the broker does not take a message now", code=Word(code), mesh=Id(self.mesh.id))

    def _later(self, row: DeliveryRow, seconds: float) -> None:
        self.queue.hold(row)
        self._nursery.start_soon(self._put_back, row, seconds)

    async def _put_back(self, row: DeliveryRow, seconds: float) -> None:
        await trio.sleep(min(seconds, RETRY_CAP_S))
        self.queue.put_back(row)

    async def _end(self, row: DeliveryRow, state: str, reason: str) -> None:
        self.queue.done(row)
        given_up = [GivenUp(row.mesh, row.device, row.stream_seq)] if state == "expired" and row.stream_seq else []
        voids = self.voids.prepare(given_up)

        def work(tx: apsw.Connection) -> None:
            store.set_ended(tx, row.msg_id, row.device, state, reason)
            add_voids(tx, voids)

        await self.node.db.write(work)
        self.voids.stored(voids)
        self.node.changed(row.msg_id)

    # Receipts.

    async def _run_receipts(self) -> None:
        """While one batch is on its way the next gathers: no timer delays a lone receipt."""
        after = 0
        while True:
            due = received.due_receipts(self.node.db.reader, self.mesh.id, after)
            if not due:
                self.receipts = trio.Event()
                await self.receipts.wait()
                continue
            after = due[-1].id
            for device, rows in gather(due):
                if not await self._send_receipts(device, rows):
                    after = 0

    async def _send_receipts(self, device: DeviceId, rows: list[ReceiptDue]) -> bool:
        """Returns false when they must be tried again later."""
        if not self.mesh.state.is_active(device):
            await self._drop(rows)
            return True
        if device not in self.mesh.peer_prekeys:
            await self._know_prekeys([device])
        if device not in self.mesh.peer_prekeys or self.mesh.alarm:
            await trio.sleep(PREKEY_RETRY_S)
            return False
        envelope = seal_receipts(self.node, self.mesh, device, rows)
        try:
            await self.connection.call("mail.send", {"mesh": self.mesh.id}, envelope, seconds=CALL_S)
        except RemoteError as error:
            if error.code not in PERMANENT:
                await trio.sleep(RETRY_BASE_S + jitter(self.node.seams.rng, 1.0))
                return False
        except (LinkClosed, trio.TooSlowError):
            await self.connection.aclose("the broker did not answer a receipt")
            await trio.sleep_forever()
        await self._drop(rows)
        return True

    async def _drop(self, rows: list[ReceiptDue]) -> None:
        ids = [row.id for row in rows]
        # Not awaited by anyone: a receipt sent twice merges to the same fact, so nothing depends on this commit.
        self.node.db.submit(lambda tx: received.drop_receipts(tx, ids))
