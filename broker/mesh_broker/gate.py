"""The way in: the mutual hello, who may come, and who comes instead of whom.

A signature is checked before anything is looked up, so an address that guesses learns nothing about meshes. Refused
hellos are counted by (address, claimed device), forged and genuine ones apart: whoever only claims a device cannot
lock out the one that has its key.
"""

from collections.abc import Callable
from typing import Final

from mesh_broker.chain import START, grow, judge
from mesh_broker.client import CLOSE_POLICY, CLOSE_REPLACED, NO_BOX, Client, Session
from mesh_broker.invites import GRACE_DAYS
from mesh_broker.limits import DAY_MS, Buckets, Limits, Strikes
from mesh_broker.log import Log
from mesh_broker.meetings import Meetings
from mesh_broker.metrics import Metrics
from mesh_broker.outbound import notification
from mesh_broker.rooms import Room, Rooms
from mesh_broker.store.interface import Store
from mesh_protocol.broker_api import CHALLENGE, VERSION_MAX, VERSION_MIN, Challenge, Hello, HelloAnswer
from mesh_protocol.chain import Record
from mesh_protocol.hello import (
    CHALLENGE_SIZE,
    SESSION_ID_SIZE,
    BrokerHello,
    ClientHello,
    sign_broker_hello,
    transcript_hash,
    verify_admission,
    verify_client_hello,
)
from mesh_protocol.ids import DeviceId, MeshId
from mesh_protocol.io.connection import Reply
from mesh_protocol.keys import SigningKey
from mesh_protocol.members import Invite
from mesh_protocol.op import write_answer
from mesh_protocol.pae import BadEncoding, CryptoError, unlst
from mesh_protocol.wire.errors import MeshError

LAST_WORDS_SECONDS: Final = 0.2
"""For the last refusal to go out before the connection ends."""


class Gate:
    """Greets connections. `token` is the admission token; `clock` gives epoch milliseconds."""

    def __init__(
        self,
        store: Store,
        rooms: Rooms,
        key: SigningKey,
        token: bytes,
        limits: Limits,
        metrics: Metrics,
        log: Log,
        clock: Callable[[], int],
        now: Callable[[], float],
        rng: Callable[[int], bytes],
        require_room: Callable[[], None],
        meetings: Meetings,
    ) -> None:
        self._meetings = meetings
        self._store = store
        self._rooms = rooms
        self._key = key
        self._token = token
        self._limits = limits
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._rng = rng
        self._require_room = require_room
        self._rate: Buckets[bytes] = Buckets(limits.hello_rate, limits.hello_burst, now)
        self._strikes: Strikes[tuple[str, bytes, bool]] = Strikes(
            limits.hello_failures, limits.hello_window, limits.hello_penalty, now
        )

    def challenge(self) -> tuple[bytes, bytes]:
        """A new challenge, and the frame that says it."""
        challenge = self._rng(CHALLENGE_SIZE)
        words = Challenge(challenge=challenge, broker_key=self._key.public, ver_min=VERSION_MIN, ver_max=VERSION_MAX)
        return challenge, notification(CHALLENGE, words)

    async def hello(self, client: Client, request: Hello, body: bytes) -> Reply:
        """Answer a hello, or refuse it; a connection that goes on being refused is ended."""
        try:
            reply = await self._greet(client, request, body)
        except MeshError as error:
            self._metrics.count("hellos_refused_total")
            self._log.info("hello-refused", code=error.code, device=request.device, address=client.peer.address)
            client.hellos_refused += 1
            # Of several meshes one may be refused for long: that does not end the others, which are served.
            if client.hellos_refused >= self._limits.hellos_refused and not client.sessions:
                client.close_soon(CLOSE_POLICY, "too many refused hellos", after=LAST_WORDS_SECONDS)
            raise
        self._metrics.count("hellos_total")
        client.greet()
        return reply

    async def _greet(self, client: Client, request: Hello, body: bytes) -> Reply:
        if request.ver_min > VERSION_MAX or request.ver_max < VERSION_MIN:
            raise MeshError(
                "version_mismatch",
                client=f"{request.ver_min} to {request.ver_max}",
                daemon=f"{VERSION_MIN} to {VERSION_MAX}",
            )
        who = (client.peer.address, request.device)
        genuine = False
        try:
            hello = self._prove(client, request)
            genuine = True
            self._require_no_penalty((*who, True))
            wait = self._rate.take(request.device)
            if wait:
                raise MeshError("rate_limited", retry_after=round(wait, 3))
            mesh = MeshId(request.mesh)
            if mesh not in client.sessions and len(client.sessions) >= self._limits.meshes_per_connection:
                raise MeshError("broker_refused", why="too many meshes on one connection: open another")
            room = await self._rooms.find(mesh)
            if room is None:
                room = await self._create(client, request, hello, body)
            with self._rooms.held(room):
                session = await self._admit(client, room, request)
                self._attach(client, room, session)
        except MeshError as error:
            if error.code not in ("rate_limited", "storage_full"):
                self._strikes.strike((*who, genuine))
            raise
        return self._answer(client, hello, request.sig, room)

    def _prove(self, client: Client, request: Hello) -> ClientHello:
        """The hello that was signed. Raises `broker_refused`, or `rate_limited` for one who keeps forging."""
        try:
            hello = ClientHello(
                self._key.public,
                MeshId(request.mesh),
                DeviceId(request.device),
                client.challenge,
                request.nonce,
                request.ver_min,
                request.ver_max,
                request.generation,
            )
            verify_client_hello(hello, request.sig)
        except CryptoError:
            self._require_no_penalty((client.peer.address, request.device, False))
            raise MeshError("broker_refused", why="the hello is not signed by the key it names") from None
        return hello

    def _require_no_penalty(self, who: tuple[str, bytes, bool]) -> None:
        penalty = self._strikes.penalty(who)
        if penalty:
            raise MeshError("rate_limited", retry_after=round(penalty, 3))

    async def _create(self, client: Client, request: Hello, hello: ClientHello, body: bytes) -> Room:
        """The room of a new mesh. Raises when it may not be made."""
        if not request.create:
            raise MeshError("unknown_on_broker")
        admitted = bool(request.admission) and verify_admission(self._token, hello, request.admission)
        if not admitted and not client.peer.loopback:
            raise MeshError("admission_needed")
        self._require_room()
        try:
            records = [Record.decode(item) for item in unlst(body, max_items=2)]
        except BadEncoding as error:
            raise MeshError("chain_invalid", why=str(error)) from None
        state = judge(None, records)
        genesis = state.genesis
        if state.mesh_id != request.mesh or genesis.device != request.device or genesis.broker_key != self._key.public:
            raise MeshError("chain_invalid", why="the genesis record is for another mesh, device or broker")
        free = None if admitted else self._limits.free_meshes
        growth = grow(None, START, state, records, ())
        made = await self._store.create(state.mesh_id, growth, genesis.device, free, self._clock()).wait()
        if made:
            self._log.info("mesh-created", mesh=state.mesh_id, with_token=admitted)
        room = await self._rooms.find(state.mesh_id)
        assert room is not None
        return room

    async def _admit(self, client: Client, room: Room, request: Hello) -> Session:
        """The session that a genuine hello opens. Raises what forbids it."""
        if request.meet:
            return self._meetings.admit(client, room, DeviceId(request.device))
        if request.invite:
            return self._admit_invite(client, room, request)
        device = DeviceId(request.device)
        if device == room.state.genesis.recovery_pub:
            self._log.info("recovery", mesh=room.mesh, address=client.peer.address)
            return Session(client, room, device, NO_BOX, 0, None)
        if not room.state.is_active(device):
            raise MeshError("broker_refused", why="this device is not in the mesh")
        box = room.box(device)
        assert box is not None
        known = self._store.mailbox(box).generation
        if request.generation > known:
            known = await self._store.raise_generation(box, request.generation).wait()
        live = room.sessions.get(device)
        if request.generation < max(known, live.generation if live is not None else 0):
            self._log.warn("clone", mesh=room.mesh, device=device)
            raise MeshError("clone")
        return Session(client, room, device, box, request.generation, None)

    def _admit_invite(self, client: Client, room: Room, request: Hello) -> Session:
        invite = _invite_of(room, request.device)
        if invite is None:
            raise MeshError("invite_unknown")
        session = Session(client, room, DeviceId(request.device), NO_BOX, 0, invite.invite_id)
        older = client.sessions.get(room.mesh)
        if older is not None and older.invite == invite.invite_id:
            session.asked = older.asked  # the same key on the same connection: it may see how its request ended
        if not invite.open and not (session.asked and room.state.is_active(session.asked)):
            raise MeshError("invite_used" if invite.uses >= invite.max_uses else "invite_closed")
        if self._clock() > invite.expires_ms + GRACE_DAYS * DAY_MS:
            raise MeshError("invite_expired", when="long ago")
        return session

    def _attach(self, client: Client, room: Room, session: Session) -> None:
        """Let the session in, in place of this connection's older one and of the device's older connection."""
        own = client.sessions.pop(room.mesh, None)
        if own is not None:
            room.detach(own)
        older = room.attach(session)
        client.sessions[room.mesh] = session
        if older is not None:
            if older.stream is not None:
                older.stream.stop()
            older.client.close_soon(CLOSE_REPLACED, "a newer connection of this device took over")

    def _answer(self, client: Client, hello: ClientHello, signature: bytes, room: Room) -> Reply:
        words = BrokerHello(
            transcript_hash(hello, signature),
            min(VERSION_MAX, hello.ver_max),
            self._rng(SESSION_ID_SIZE),
            self._clock(),
        )
        answer = HelloAnswer(
            version=words.version,
            session_id=words.session_id,
            server_ms=words.server_ms,
            sig=sign_broker_hello(words, self._key),
            tip=room.tip,
            branches=len(room.branches),
        )
        return Reply(write_answer(answer))


def _invite_of(room: Room, key: bytes) -> Invite | None:
    return next((invite for invite in room.state.invites.values() if invite.pub == key), None)
