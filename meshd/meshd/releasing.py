"""Signing that somebody leaves who said so himself.

Nobody signs his own removal, because who signs it makes the key that comes after him. So a machine that leaves writes a
signed wish to those who may take it out, and their daemons do it by themselves: the first that is there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from mesh_protocol.chain import Body, RemoveMember, RevokeDevice
from mesh_protocol.chain_state import ChainState
from mesh_protocol.ids import DeviceId
from mesh_protocol.keys import CryptoError
from mesh_protocol.members import ChainError
from mesh_protocol.wire.errors import MeshError
from meshd.link.turning import Desk, turn_epoch
from meshd.log import Id, Word, get_logger
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.store.leavers import Leaver, drop_leaver, read_leavers

log = get_logger("releasing")

TURN_S: Final = 2.0
"""For each of those who may do it and come first in the list: of several that are online one does it."""
MAX_TURNS: Final = 15
RETRY_S: Final = 300.0


def release_records(state: ChainState, device: DeviceId) -> list[Body]:
    """What takes an active `device` out: its member where he has no other, else this device alone, and for good."""
    member_id = state.devices[device].member_id
    if len(state.active_devices(member_id)) == 1:
        return [RemoveMember(member_id, False)]
    # Those that it added stay, and with them those that they added.
    kept = sorted(each for each in state.added_by(device) if state.devices[each].added_by == device)
    return [RevokeDevice(device, (*kept,))]


def who_may_release(state: ChainState, device: DeviceId) -> list[DeviceId]:
    """The active devices whose signature under `release_records` the chain takes, the member's own first."""
    member = state.members[state.devices[device].member_id]
    own = [each for each in state.active_devices(member.member_id) if each != device]
    if own and not _leaves_an_owner(state, device):
        return []
    signers = [
        each
        for each in sorted(state.signers)
        if state.devices[each].member_id != member.member_id
        and state.may(each, "manage_permissions")
        and state.members[state.devices[each].member_id].rank >= member.rank
    ]
    return [*own, *signers]


def _leaves_an_owner(state: ChainState, device: DeviceId) -> bool:
    """Whether an owner's device still signs once `device` is out, or none did before."""
    owners = {each for each in state.signers if state.members[state.devices[each].member_id].role == "owner"}
    return not owners or bool(owners - {device})


def require_may_come(state: ChainState, device: DeviceId) -> None:
    """Raises `MeshError` unless an invite can let this device in, for the first time or again."""
    known = state.devices.get(device)
    if known is None:
        return
    if known.active:
        raise MeshError(
            "not_allowed",
            why="that mesh still lists this machine: if you left it without telling, somebody there has to remove you"
            " first (mesh member remove)",
        )
    if known.revoked:
        raise MeshError(
            "not_allowed",
            why="this machine was revoked in that mesh for good: use another machine, or another MESH_HOME with keys of its own",
        )
    if state.former[known.member_id].banned:
        raise MeshError(
            "not_allowed", why="this machine is banned from that mesh: somebody there has to run mesh unban"
        )


@dataclass(slots=True, eq=False)
class Releasing:
    """The wishes of one mesh, while a connection lives. `released` is called when one was done."""

    node: Node
    mesh: Mesh
    desk: Desk
    released: Callable[[], None]

    async def run(self) -> None:
        """Runs until the connection ends."""
        while True:
            self.mesh.wishes = trio.Event()
            for wish in read_leavers(self.node.db.reader, self.mesh.id):
                try:
                    await self._consider(wish)
                except (CryptoError, MeshError, trio.TooSlowError) as error:
                    code = error.code if isinstance(error, MeshError) else type(error).__name__
                    log.warning("a machine that wants to leave could not be removed", code=Word(code))
            with trio.move_on_after(RETRY_S):
                await self.mesh.wishes.wait()

    async def _consider(self, wish: Leaver) -> None:
        node, mesh = self.node, self.mesh
        if not self._stands(wish):
            await node.db.write(lambda tx: drop_leaver(tx, mesh.id, wish.device))
            return
        able = who_may_release(mesh.state, wish.device)
        if node.device not in able or mesh.alarm or not mesh.active:
            return
        await trio.sleep(min(able.index(node.device), MAX_TURNS) * TURN_S)

        def bodies() -> Sequence[Body]:
            if not self._stands(wish):
                raise _Done("chain_conflict")
            return release_records(mesh.state, wish.device)

        try:
            bodies()
            await turn_epoch(node, mesh, self.desk, bodies)
        except (_Done, ChainError) as error:  # somebody else was first, or what we are has changed
            log.info("a machine that wants to leave was not removed by this one", error=error)
        else:
            log.info("removed a machine that wants to leave", mesh=Id(mesh.id), device=Id(wish.device))
            self.released()
        if not self._stands(wish):
            await node.db.write(lambda tx: drop_leaver(tx, mesh.id, wish.device))

    def _stands(self, wish: Leaver) -> bool:
        """It is of this stay in the mesh: who was removed and let in again since then has said nothing."""
        listed = self.mesh.state.devices.get(wish.device)
        return listed is not None and listed.active and listed.added_seq <= wish.seq


class _Done(MeshError):
    """The machine is out already."""
