"""Asking other members' machines for epoch keys that did not reach this one, and answering who asks (crypto design 2.12).

A removal's seal may be missing (the broker had no prekey of ours, or dropped the seal) or be no good. Then a signed
request goes by mail to some machines at a time; any that has the keys answers with an epoch seal, and what is in it is
believed only by the commitments on our verified chain. Requests and answers are mail of this daemon, sealed like any,
never receipted and never stored: who still lacks the key asks again.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, NoReturn

import trio

from mesh_protocol.chain import Body
from mesh_protocol.ids import DeviceId, MsgId
from mesh_protocol.key_request import KeyRequest, answer_key_request, open_key_request, sign_key_request
from mesh_protocol.keys import BadPeerKey, CryptoError, SignedPrekey
from mesh_protocol.members import ChainError
from mesh_protocol.seals import EpochSeal, MeshKeys, check_epoch_keys, open_keys
from mesh_protocol.wire.errors import MeshError
from mesh_protocol.wire.rpc import Params
from meshd.lacking import Note
from meshd.link.greeting import CALL_S, keep_keys
from meshd.link.joining import settle_in
from meshd.link.prekeys import fetch_prekeys
from meshd.link.turning import Desk, may_renew, newest_records, turn_epoch
from meshd.log import Id, Word, get_logger
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.notes import KEY_REQUEST, KEYS
from meshd.presence import PresenceBoard
from meshd.sealing import seal_note

log = get_logger("keyasking")

AT_ONCE: Final = 8
"""Machines that are asked in one go; the next ones when these do not answer."""
ASK_S: Final = 15.0
ASK_CAP_S: Final = 1800.0
"""Between two goes: doubled from the one to the other."""
LIFETIME_MS: Final = 24 * 3600 * 1000
"""A request waits so long for a machine that is away."""
MAX_KEYS: Final = 1024
"""Epoch keys in one answer, 40 bytes each; who lacks more asks for the rest."""
RENEW_AFTER: Final = 3
"""Goes that brought nothing, after which a signer whose own seal was no good begins a new epoch."""


def first_lacking(mesh: Mesh) -> int:
    """The lowest epoch whose key is not here; 0 when all are."""
    if mesh.chain is None:
        return 0
    held = mesh.keys.epochs if mesh.keys is not None else {}
    return min(mesh.chain.kcs.keys() - held.keys(), default=0)


def whom_to_ask(mesh: Mesh, own: DeviceId, board: PresenceBoard, go: int) -> list[DeviceId]:
    """The machines of the `go`-th go (from 0): those heard under the newest key first, then those online, then signers."""
    state = mesh.state

    def rank(device: DeviceId) -> tuple[bool, bool, bool, bytes]:
        heard = board.of(mesh.id, device)
        has_it = heard is not None and heard.epoch >= state.epoch
        return (not has_it, not board.is_online(mesh.id, device), device not in state.signers, device)

    others = sorted((each for each in state.devices if each != own and state.is_active(each)), key=rank)
    if not others:
        return []
    start = go * AT_ONCE % len(others)
    return [*islice((*others[start:], *others[:start]), AT_ONCE)]


@dataclass(slots=True, eq=False)
class KeyAsking:
    """One mesh over one connection. `came` is called when keys came."""

    node: Node
    mesh: Mesh
    desk: Desk
    board: PresenceBoard
    came: Callable[[], None]

    async def run(self) -> None:
        """Runs until the connection ends."""
        self.mesh.lacking.arrived.set()  # what came while there was no connection
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_asking)
            await self._run_answering()

    # Asking.

    async def _run_asking(self) -> None:
        lacking = self.mesh.lacking
        asked_for, pause, go = (0, 0), ASK_S, 0
        while True:
            lacking.changed = trio.Event()
            wanted = (first_lacking(self.mesh), self.mesh.state.epoch)
            if not wanted[0]:
                lacking.end()
                await lacking.changed.wait()
                continue
            again = wanted == asked_for
            asked_for, pause, go = wanted, min(pause * 2, ASK_CAP_S) if again else ASK_S, go + 1 if again else 0
            lacking.begin(self.node.now())
            try:
                await self._ask(wanted[0], go)
                if go + 1 >= RENEW_AFTER and lacking.bad_seal:
                    await self._renew()
            except (CryptoError, MeshError, trio.TooSlowError) as error:
                self._failed("asking", error)
            due = trio.current_time() + pause
            while wanted == (first_lacking(self.mesh), self.mesh.state.epoch) and trio.current_time() < due:
                lacking.changed = trio.Event()
                with trio.move_on_at(due):
                    await lacking.changed.wait()

    async def _ask(self, first: int, go: int) -> None:
        node, mesh = self.node, self.mesh
        if mesh.prekey is None:
            return
        request = KeyRequest(mesh.id, node.device, first, mesh.prekey, mesh.tip, mesh.lacking.bad_seal)
        data = sign_key_request(request, node.key)
        chosen = whom_to_ask(mesh, node.device, self.board, go)
        unknown = [device for device in chosen if device not in mesh.peer_prekeys]
        if unknown:
            await fetch_prekeys(node, self.desk.greeting.connection, mesh, unknown)
        for device in chosen:
            prekey = mesh.peer_prekeys.get(device)
            if prekey is not None and await self._post(prekey, KEY_REQUEST, data):
                mesh.lacking.asked += 1
                mesh.lacking.asked_ms = node.now()
        log.info("asked for an epoch key", mesh=Id(mesh.id), epoch=first, machines=len(chosen))

    # Answering.

    async def _run_answering(self) -> None:
        lacking = self.mesh.lacking
        while True:
            await lacking.arrived.wait()
            lacking.arrived = trio.Event()
            while lacking.answers:
                await self._guarded(self._take, lacking.answers.popleft())
            while lacking.requests:
                await self._guarded(self._answer, lacking.requests.popleft())

    async def _guarded(self, work: Callable[[Note], Awaitable[None]], note: Note) -> None:
        """One member's note never ends what serves the others."""
        try:
            await work(note)
        except (CryptoError, MeshError, trio.TooSlowError) as error:
            self._failed("reading", error)

    async def _answer(self, note: Note) -> None:
        node, mesh = self.node, self.mesh
        request = open_key_request(note.content, mesh.state)
        if request.device != note.device:
            raise BadPeerKey("a key request that somebody else passed on")
        if mesh.keys is None or not mesh.lacking.may_give(request.device, node.now()):
            return
        if request.bad_seal:
            await self._renew()
        oldest = sorted(epoch for epoch in mesh.keys.epochs if epoch >= request.first_epoch)[:MAX_KEYS]
        if not oldest:
            return
        keys = MeshKeys(mesh.keys.name_key, {epoch: mesh.keys.epochs[epoch] for epoch in oldest})
        # The chain is asked again, now: whoever went meanwhile is sent nothing.
        seal = answer_key_request(request, mesh.state, keys, mesh.tip)
        await self._post(request.spk, KEYS, seal.encode())
        log.info("sealed epoch keys to who asked", mesh=Id(mesh.id), device=Id(request.device))

    async def _take(self, note: Note) -> None:
        mesh = self.mesh
        if not first_lacking(mesh):
            return
        try:
            seal = EpochSeal.decode(note.content)
            prekey = mesh.prekeys.get(seal.prekey_id)
            if prekey is None or seal.to_device != self.node.device:
                raise BadPeerKey("the answer is sealed to another key")
            keys, _ = open_keys(seal, prekey, mesh.id)
            check_epoch_keys(mesh.state, keys)
        except CryptoError:
            mesh.lacking.refused += 1
            raise
        newcomer = not mesh.active
        await keep_keys(self.node, mesh, keys)
        if newcomer and mesh.active:
            await settle_in(self.node, mesh)
        log.info("an epoch key came", mesh=Id(mesh.id), epoch=seal.epoch)
        if not first_lacking(mesh):  # what lies at the broker is not needed any more
            params: Params = {"mesh": mesh.id, "epoch": mesh.state.epoch}
            await self.desk.greeting.connection.call("seals.ack", params, seconds=CALL_S)
        mesh.lacking.look()
        self.came()

    async def _renew(self) -> None:
        """Begin a new epoch because a seal of this one was no good, if this machine may and has not done so yet."""
        node, mesh = self.node, self.mesh
        if node.device not in mesh.state.signers:
            return
        epoch = mesh.state.epoch

        def none_but_the_epoch() -> Sequence[Body]:
            if mesh.state.epoch != epoch or not may_renew(newest_records(node.db.reader, mesh.id), node.device):
                _stop()
            return ()

        try:
            none_but_the_epoch()
            await turn_epoch(node, mesh, self.desk, none_but_the_epoch)
        except (_Done, ChainError):
            return
        log.warning("began a new epoch: a machine was given a seal that is no good", mesh=Id(mesh.id))
        mesh.lacking.look()
        self.came()

    async def _post(self, prekey: SignedPrekey, kind: str, content: bytes) -> bool:
        """Give the broker one envelope; false when it does not take it now."""
        node, mesh = self.node, self.mesh
        if mesh.alarm:  # nothing is sent while the broker shows another history
            return False
        expires = node.now() + LIFETIME_MS
        envelope = seal_note(node, mesh, prekey, kind, content, expires, MsgId(node.seams.rng(16)))
        try:
            await self.desk.greeting.connection.call("mail.send", {"mesh": mesh.id}, envelope, seconds=CALL_S)
        except MeshError as error:
            self._failed("sending", error)
            return False
        return True

    def _failed(self, what: str, error: Exception) -> None:
        code = error.code if isinstance(error, MeshError) else type(error).__name__
        log.warning("a note about keys led to nothing", at=Word(what), code=Word(code), mesh=Id(self.mesh.id))


class _Done(MeshError):
    """There is nothing to do any more: somebody else was first, or it was done before."""


def _stop() -> NoReturn:
    raise _Done("chain_conflict")
