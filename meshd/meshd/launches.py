"""Sessions that were announced before they came: each is known as its launcher said, from its first moment on.

A launcher is a process that turns into an agent (exec) or starts one. The announcement is its process's (pid, start
time), which nobody can forge and which is gone with it; nothing that an agent says of itself is needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import trio

from mesh_protocol.io.sqlite import Pending
from mesh_protocol.wire.errors import MeshError
from meshd.claude.formats import is_claude_program
from meshd.claude.frame import clean_name
from meshd.endings import lives
from meshd.groups import Groups
from meshd.log import Word, get_logger
from meshd.mcp.instructions import INSTRUCTIONS
from meshd.processes import Process, ProcessTable, walk
from meshd.sessions import Session, Sessions
from meshd.store.launches import Wish, put_launches, read_launches
from meshd.templates import TEMPLATES, introduce

log = get_logger("launches")

MAX_ANNOUNCED: Final = 256
TEMPLATE: Final = "template"
"""Where a session's profile keeps its template: it is told again after a restart and with `--resume`."""


class Arrived(NamedTuple):
    """A session that is being made what was announced by the process `launcher`."""

    launcher: tuple[int, int]
    wish: Wish


@dataclass(slots=True, eq=False)
class Launches:
    """What was announced, by process, until its session is there and in its groups. It outlasts the daemon."""

    sessions: Sessions
    groups: Groups
    processes: ProcessTable
    _announced: dict[tuple[int, int], Wish] = field(default_factory=dict)
    _joining: dict[str, Arrived] = field(default_factory=dict)
    """By session key: those that are being put into their groups."""
    _some: trio.Event = field(default_factory=trio.Event)

    def restore(self) -> None:
        """Take up what an earlier life of the daemon had not done."""
        kept = read_launches(self.sessions.node.db.reader)
        self._announced = {key: wish for key, wish in kept.items() if lives(self.processes, *key)}
        for session in self.sessions.live():
            self.arrived(session)

    async def announce(self, launcher: Process, wish: Wish) -> None:
        """Keep a wish for the session of this process. Raises `MeshError` when there are too many."""
        self._announced = {
            key: each for key, each in self._announced.items() if lives(self.processes, *key)
        }  # what ended without having become a session
        if len(self._announced) >= MAX_ANNOUNCED:
            raise MeshError("busy", retry_after=10)
        self._announced[launcher.pid, launcher.start] = wish
        try:
            await self._keep().wait()
        except MeshError as error:  # on a full disk it holds as long as this daemon lives
            log.warning("a launch is not kept", code=Word(error.code))

    def _keep(self) -> Pending[None]:
        wishes = {**self._announced, **{each.launcher: each.wish for each in self._joining.values()}}
        return self.sessions.node.db.submit(lambda tx: put_launches(tx, wishes))

    def arrived(self, session: Session) -> None:
        """A session registered, or came back: make it what was announced of it."""
        found = self._take(session)
        if found is None:
            return
        wish = found.wish
        session.wish = wish.mesh or session.wish
        given = {"name": wish.name, "role": wish.role, TEMPLATE: wish.template}
        self.sessions.describe(session, profile={key: value for key, value in given.items() if value})
        self.sessions.node.events.publish("session", name=session.name, alive=True)
        if wish.mode not in ("keep", session.mode):
            self.sessions.set_mode(session, wish.mode)
        self._joining[session.key] = found
        self._some.set()

    def _take(self, session: Session) -> Arrived | None:
        """Of the process itself, or of what started it (Claude Code may be a program that starts another)."""
        for place, process in enumerate(walk(self.processes, session.claude.pid)):
            if place and is_claude_program(process.exe):
                return None  # another agent's descendant
            wish = self._announced.pop((process.pid, process.start), None)
            if wish is not None:
                return Arrived((process.pid, process.start), wish)
        return None

    async def run(self) -> None:
        """Put sessions into their groups, which needs the disk; after that nothing is left to do for them."""
        while True:
            await self._some.wait()
            self._some = trio.Event()
            for key, found in list(self._joining.items()):
                session = self.sessions.get(key)
                if session is not None:
                    await self._join(session, found.wish)
                if self._joining.get(key) is found:
                    del self._joining[key]
            self._keep()

    async def _join(self, session: Session, wish: Wish) -> None:
        for group in wish.group_roles():
            try:
                await self.groups.join(session, group)
            except MeshError as error:
                log.warning("a launched session did not join a group", code=Word(error.code))

    def instructions(self, session: Session | None) -> str:
        """What the MCP server of a session tells its agent at the start."""
        if session is None:
            return INSTRUCTIONS
        role = str(session.profile.get("role", ""))
        role = clean_name(role) if role else ""
        template = TEMPLATES.get(str(session.profile.get(TEMPLATE, "")))
        if not role and template is None:
            return INSTRUCTIONS
        mesh = self.sessions.mesh_of(session)
        person = mesh.row.me if mesh is not None else "me"
        about = introduce(f"{person}/{session.name}", role, template, self._group_names(session))
        return f"{INSTRUCTIONS}\n\n{about}"

    def _group_names(self, session: Session) -> Sequence[str]:
        found = self._joining.get(session.key)
        coming = found.wish.group_roles() if found is not None else ()
        return [*dict.fromkeys(group.name for group in (*self.groups.of(session), *coming))]
