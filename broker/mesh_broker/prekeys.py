"""Prekeys. Signed ones: each device publishes its newest, members take those of others, an invite's key the signers'.
One-time ones: each device leaves a stock here, of which every key is handed out once.
"""

from collections.abc import Callable, Sequence
from typing import Final

from mesh_broker.chain import DONE
from mesh_broker.client import Session
from mesh_broker.limits import Buckets, Limits
from mesh_broker.outbound import notification
from mesh_broker.store.interface import Given, Store
from mesh_protocol.broker_api import (
    PREKEYS_LOW,
    PrekeyAdd,
    PrekeyAnswer,
    PrekeyLeft,
    PrekeyPut,
    PrekeysPush,
    PrekeyStock,
    PrekeyTake,
    PrekeyWithdraw,
)
from mesh_protocol.ids import DeviceId, MeshId
from mesh_protocol.io.connection import Reply
from mesh_protocol.keys import SignedPrekey, verify_prekey
from mesh_protocol.op import write_answer
from mesh_protocol.pae import CryptoError, lst
from mesh_protocol.prekeys import LOW, OneTimeBatch, pack_given, verify_batch
from mesh_protocol.wire.errors import MeshError

MAX_PREKEY = 1024
TOLD_AT: Final = (LOW - 1, 0)
"""The numbers of its one-time prekeys left at which a device is told."""


class Prekeys:
    """The prekey operations of one broker."""

    def __init__(
        self, store: Store, limits: Limits, now: Callable[[], float], require_room: Callable[[], None]
    ) -> None:
        self._store = store
        self._require_room = require_room
        self._rate: Buckets[tuple[MeshId, DeviceId]] = Buckets(limits.prekey_rate, limits.prekey_burst, now)
        each_s = limits.onetime_seconds
        self._onetime_rate: Buckets[tuple[int, int]] | None = Buckets(1 / each_s, 1, now) if each_s else None

    async def put(self, session: Session, request: PrekeyPut, body: bytes) -> Reply:
        self._require_room()
        try:
            verify_prekey(SignedPrekey.decode(body), session.room.mesh, session.device)
        except CryptoError as error:
            raise MeshError("bad_envelope", why=str(error)) from None
        await self._store.put_prekey(session.box, body).wait()
        return DONE

    async def add(self, session: Session, request: PrekeyAdd, body: bytes) -> Reply:
        self._require_room()
        try:
            batch = OneTimeBatch.decode(body)
            verify_batch(batch, session.room.mesh, session.device)
        except CryptoError as error:
            raise MeshError("bad_envelope", why=str(error)) from None
        size = len(batch.pubs)
        left = await self._store.add_onetime(session.box, batch.first_id, size, body, replace=request.replace).wait()
        return Reply(write_answer(PrekeyStock(left=left, next=self._store.next_onetime(session.box))))

    async def left(self, session: Session, request: PrekeyLeft, body: bytes) -> Reply:
        store, box = self._store, session.box
        return Reply(write_answer(PrekeyStock(left=store.onetime_left(box), next=store.next_onetime(box))))

    async def withdraw(self, session: Session, request: PrekeyWithdraw, body: bytes) -> Reply:
        await self._store.drop_prekeys(session.box).wait()
        return DONE

    async def take(self, session: Session, request: PrekeyTake, body: bytes) -> Reply:
        wait = self._rate.take((session.room.mesh, session.device))
        if wait:
            raise MeshError("rate_limited", retry_after=round(wait, 3))
        state = session.room.state
        if session.invite is not None and (request.onetime or not state.signers.issuperset(request.devices)):
            raise MeshError("not_allowed", why="an invite's key may take the signed prekeys of signers only")
        boxes = self._boxes(session, request.devices)
        found = [prekey for box in boxes.values() if (prekey := self._store.prekey(box)) is not None]
        given = await self._hand_out(session, request.onetime)
        answer = PrekeyAnswer(count=len(found), onetime=len(given))
        return Reply(write_answer(answer), lst(*found, *(pack_given(each.place, each.batch) for each in given)))

    def _boxes(self, session: Session, devices: Sequence[bytes]) -> dict[DeviceId, int]:
        """The boxes of active devices, in the order they were asked for."""
        room = session.room
        known = {each: room.box(each) for each in map(DeviceId, devices) if room.state.is_active(each)}
        return {device: box for device, box in known.items() if box is not None}

    async def _hand_out(self, session: Session, devices: Sequence[bytes]) -> list[Given]:
        """A one-time prekey of each device that has one and of which this caller was not given one a moment ago."""
        boxes = {box: device for device, box in self._boxes(session, devices).items() if box != session.box}
        rate = self._onetime_rate
        wanted = [box for box in boxes if rate is None or not rate.take((session.box, box))]
        if not wanted or not any(self._store.onetime_left(box) for box in wanted):
            return []
        try:
            given = await self._store.take_onetime(wanted).wait()
        except MeshError:  # no room to note that they are handed out: then they are not
            return []
        for each in given:
            owner = session.room.sessions.get(boxes[each.box])
            if each.left in TOLD_AT and owner is not None:
                push = PrekeysPush(mesh=session.room.mesh, left=each.left)
                owner.client.outbound.must(notification(PREKEYS_LOW, push))
        return given
