"""What this machine writes to its person's other devices by itself: a question that waits here for his answer."""

from typing import TYPE_CHECKING

from mesh_protocol.ids import DeviceId
from mesh_protocol.wire.errors import MeshError
from meshd.log import Word, get_logger
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.outbox import Draft, Outbox
from meshd.sessions import Sessions
from meshd.targets import Recipient

if TYPE_CHECKING:
    from meshd.services.proxy.asking import Ask

log = get_logger("ownnotes")

SCOPE = "note"
"""What the idempotency keys of these messages belong to."""


class OwnNotes:
    """Writes ordinary messages, from an agent's hand: to the person's inbox on each of his other devices."""

    def __init__(self, node: Node, outbox: Outbox, sessions: Sessions) -> None:
        self._node = node
        self._outbox = outbox
        self._sessions = sessions

    async def tell_budget(self, ask: "Ask") -> None:
        """Say that somebody here waits because a budget is used up; once for each limit that is reached."""
        session = next((each.name for each in self._sessions.live() if ask.session in each.ids), "")
        over = ask.over
        client = f"client {ask.client}" if ask.client else "a client"
        who = f"session {session}" if session else f"{client} of the API proxy"
        text = (
            f"Waits for you: {who} has used up the budget of {over.budget.shown(over.limit)} for {over.what}."
            f" It goes on after `mesh budget allow {over.budget.id}` on that machine."
        )
        await self._write(text, session, f"{over.budget.id} {over.limit} {over.key}")

    async def _write(self, text: str, session: str, key: str) -> None:
        """In the first mesh that reaches another device of the person. Where none does, nobody is told this way."""
        node = self._node
        for mesh in sorted(node.meshes.values(), key=lambda each: each.id != node.default_mesh):
            others = self._others(mesh)
            if not others:
                continue
            draft = Draft(
                mesh=mesh,
                recipients=[Recipient(mesh.row.me, mesh.row.member, others, "")],
                text=text,
                origin="agent",
                from_session=session,
                lane="now",
                reply_to=b"",
                conv=b"",
                scope=SCOPE,
                idem_key=key,
            )
            try:
                await self._outbox.send(draft)
            except MeshError as error:
                log.warning("other devices were not told", code=Word(error.code))
                continue
            return

    def _others(self, mesh: Mesh) -> tuple[DeviceId, ...]:
        if not mesh.active or mesh.alarm:
            return ()
        return tuple(each for each in mesh.state.active_devices(mesh.row.member) if each != self._node.device)
