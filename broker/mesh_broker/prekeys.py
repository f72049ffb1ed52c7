"""Signed prekeys: each device publishes its newest, members take those of others, an invite's key the signers'."""

from collections.abc import Callable

from mesh_broker.chain import DONE
from mesh_broker.client import Session
from mesh_broker.limits import Buckets, Limits
from mesh_broker.store.interface import Store
from mesh_protocol.broker_api import PrekeyAnswer, PrekeyPut, PrekeyTake
from mesh_protocol.ids import DeviceId, MeshId
from mesh_protocol.io.connection import Reply
from mesh_protocol.keys import SignedPrekey, verify_prekey
from mesh_protocol.op import write_answer
from mesh_protocol.pae import CryptoError, lst
from mesh_protocol.wire.errors import MeshError

MAX_PREKEY = 1024


class Prekeys:
    """The prekey operations of one broker."""

    def __init__(
        self, store: Store, limits: Limits, now: Callable[[], float], require_room: Callable[[], None]
    ) -> None:
        self._store = store
        self._require_room = require_room
        self._rate: Buckets[tuple[MeshId, DeviceId]] = Buckets(limits.prekey_rate, limits.prekey_burst, now)

    async def put(self, session: Session, request: PrekeyPut, body: bytes) -> Reply:
        self._require_room()
        try:
            verify_prekey(SignedPrekey.decode(body), session.room.mesh, session.device)
        except CryptoError as error:
            raise MeshError("bad_envelope", why=str(error)) from None
        await self._store.put_prekey(session.box, body).wait()
        return DONE

    async def take(self, session: Session, request: PrekeyTake, body: bytes) -> Reply:
        wait = self._rate.take((session.room.mesh, session.device))
        if wait:
            raise MeshError("rate_limited", retry_after=round(wait, 3))
        state = session.room.state
        if session.invite is not None and not state.signers.issuperset(request.devices):
            raise MeshError("not_allowed", why="an invite's key may take the prekeys of signers only")
        found: list[bytes] = []
        for device in map(DeviceId, request.devices):
            box = session.room.box(device) if state.is_active(device) else None
            prekey = self._store.prekey(box) if box is not None else None
            if prekey is not None:
                found.append(prekey)
        return Reply(write_answer(PrekeyAnswer(count=len(found))), lst(*found))
