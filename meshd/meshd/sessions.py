"""The agent sessions of this machine: found through Claude's own registry, never believed, watched by pid and start time."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio

from mesh_protocol.envelope import MAX_SESSION
from mesh_protocol.ids import MeshId
from meshd.agents import client_of, is_client, name_of, remembered, view_of
from meshd.claude.formats import ClaudeSession, is_claude_program
from meshd.claude.registry import NoSession, Registry, config_dir
from meshd.endings import lives, wait_end
from meshd.inbox import Address
from meshd.log import get_logger
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.presence import SessionView
from meshd.processes import ProcessTable, walk
from meshd.status import Source, Status, read_register, renew, settle
from meshd.store.inbox import InboxRow
from meshd.store.sessions import SessionRow, put_session, read_sessions

log = get_logger("sessions")

POLL_S: Final = 2.0
"""How often the registry entry of a live session is looked at; with no session nothing is polled."""
MAX_NAME_BYTES: Final = MAX_SESSION - 8
"""Of a name that may get a number behind it; an envelope holds `MAX_SESSION`."""
REMEMBER_MS: Final = 30 * 24 * 3600 * 1000
ANNOUNCE_S: Final = 0.1
LOOK_TRIES: Final = 15
LOOK_PAUSE_S: Final = 0.2
"""A session starts its tools before it has written its registry entry: asked for 3 s."""


@dataclass(slots=True, eq=False)
class Session:
    """One run of an agent, keyed by its process. `ids` are all of Claude's ids it has had; the newest is `claude`'s."""

    key: str
    name: str
    claude: ClaudeSession
    config: Path
    status: Status
    started_ms: int
    wish: str = ""
    """The mesh its environment names; empty: the default one."""
    summary: str = ""
    visible: bool = True
    profile: dict[str, str | list[str]] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)
    alive: bool = True
    ended_ms: int = 0
    mode: str = "push"
    """How it wants its messages: push, inbox (only when it asks), or off (nothing; they wait)."""
    trouble: str = ""
    """Why messages do not reach it by push, for doctor."""
    hooked: bool = False
    """It runs our hooks."""
    channel: str = ""
    """open: its MCP client takes channel notifications, as far as its own arguments say; silent: nothing ever proved it."""
    failure: str = ""
    """Why its last turn failed, in Claude's word (`rate_limit`, `overloaded`…); empty when it did not."""
    returned: list[InboxRow] = field(default_factory=list)
    """What the last answer to a client without a transcript brought, as far as it was whole."""
    stirred: trio.Event = field(default_factory=trio.Event)
    """Set, and made anew, when something changed that what waits for it may have waited for."""

    @property
    def start(self) -> int:
        """Process start time in the system's unit."""
        return int(self.claude.proc_start) if self.claude.proc_start.isdecimal() else 0

    @property
    def foreign(self) -> bool:
        """Its agent is no Claude Code: it has tools and asks for its messages, and nothing proves what it was shown."""
        return is_client(self.claude.session_id)

    def stir(self) -> None:
        """Wake who waits for a change of this session."""
        self.stirred.set()
        self.stirred = trio.Event()

    def row(self) -> SessionRow:
        return SessionRow(
            self.key,
            self.claude.pid,
            self.start,
            self.claude.session_id,
            self.name,
            self.claude.cwd,
            str(self.config),
            self.summary,
            int(self.visible),
            json.dumps(self.profile),
            self.wish,
            self.started_ms,
            self.ended_ms,
            self.mode,
        )


@dataclass(slots=True, eq=False)
class Sessions:
    """All sessions, live and remembered. `changed` is told when presence should be published anew."""

    node: Node
    processes: ProcessTable
    uid: int
    changed: Callable[[], None]
    arrived: Callable[[Session], None]
    _sessions: dict[str, Session] = field(default_factory=dict)
    _nursery: trio.Nursery | None = None
    _some: trio.Event = field(default_factory=trio.Event)

    def restore(self) -> None:
        """Sessions of an earlier life of the daemon. The living ones are taken up when their process still fits."""
        for row in read_sessions(self.node.db.reader, self.node.now() - REMEMBER_MS):
            found = Registry(Path(row.config_dir), self.processes, self.uid).session_of(row.pid, str(row.start))
            alive = not row.ended_ms and not isinstance(found, NoSession)
            claude = found if not isinstance(found, NoSession) else remembered(row)
            now = self.node.now()
            session = Session(
                key=row.key,
                name=row.name,
                claude=claude,
                config=Path(row.config_dir),
                status=Status("idle", Source.TRANSCRIPT, now, now),
                started_ms=row.started_ms,
                wish=row.wish,
                summary=row.summary,
                visible=bool(row.visible),
                profile=json.loads(row.profile),
                ids={row.session_id, claude.session_id},
                alive=alive,
                ended_ms=row.ended_ms or (0 if alive else now),
                mode=row.mode,
            )
            self._sessions[row.key] = session

    async def run(self) -> None:
        """Watch live sessions: their end by pidfd, their id and status by the registry."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for session in self.live():
                nursery.start_soon(self._watch_end, session)
            while True:
                if not self.live():
                    self._some = trio.Event()
                    await self._some.wait()
                for session in self.live():
                    self.look(session)
                await trio.sleep(POLL_S)

    # Asking.

    def live(self) -> list[Session]:
        return [session for session in self._sessions.values() if session.alive]

    def all(self) -> Sequence[Session]:
        return list(self._sessions.values())

    def get(self, key: str) -> Session | None:
        return self._sessions.get(key)

    def by_pid(self, pid: int, start: int) -> Session | None:
        for session in self._sessions.values():
            if session.alive and session.claude.pid == pid and session.start == start:
                return session
        return None

    def mesh_of(self, session: Session) -> Mesh | None:
        """The mesh a session is present in: the one its environment names, or the default one."""
        for mesh in self.node.meshes.values():
            if session.wish and mesh.slug == session.wish:
                return mesh
        if session.wish or not self.node.meshes:
            return None
        return self.node.find_mesh("")

    def in_mesh(self, mesh: MeshId) -> list[Session]:
        """Live sessions that are present in a mesh."""
        found: list[Session] = []
        for session in self.live():
            home = self.mesh_of(session)
            if home is not None and home.id == mesh:
                found.append(session)
        return found

    def names_in(self, mesh: Mesh) -> list[str]:
        """Names of sessions that mail can be addressed to: live ones, and remembered ones that may come back."""
        return [s.name for s in self._sessions.values() if (home := self.mesh_of(s)) is not None and home.id == mesh.id]

    def views(self, mesh: Mesh) -> list[SessionView]:
        """What peers are told of the sessions here."""
        return [view_of(session) for session in self.in_mesh(mesh.id)]

    def address(self, mesh: Mesh, label: str, sender: str = "") -> Address:
        """Who a session label of an arriving message means here. `sender`: the session of this machine that wrote it."""
        if not label:
            live = [session for session in self.in_mesh(mesh.id) if not session.foreign]
            taken = len(live) == 1 and live[0].name != sender and live[0].mode == "push"
            return Address(live[0].key if taken else "", True, True)
        for session in sorted(self._sessions.values(), key=lambda s: (not s.alive, -s.started_ms)):
            home = self.mesh_of(session)
            if home is not None and home.id == mesh.id and session.name.casefold() == label.casefold():
                return Address(session.key, False, True)
        return Address("", True, False)

    # Changing.

    async def register(self, pid: int, env: Mapping[str, str]) -> Session | None:
        """The session that the process `pid` descends from, made known if it is new. None: it belongs to none."""
        folder = config_dir(env.get("CLAUDE_CONFIG_DIR"), env.get("HOME"))
        if folder is None:
            return None
        registry = Registry(folder, self.processes, self.uid)
        for attempt in range(LOOK_TRIES):
            claude = registry.session_above(pid)
            if not isinstance(claude, NoSession):
                return self._take(claude, folder, env.get("MESH", ""))
            if attempt == 0 and not self._may_come(pid):
                return None
            await trio.sleep(LOOK_PAUSE_S)
        return None

    def welcome(self, pid: int, folder: str, wish: str) -> Session | None:
        """The session of an MCP client that is no Claude Code, by the process of our relay. None: it cannot be seen."""
        relay = self.processes.look(pid)
        return None if relay is None else self._take(client_of(relay, folder), Path(folder), wish)

    def _may_come(self, pid: int) -> bool:
        """Whether an agent that has not registered yet is among the caller's ancestors."""
        return any(is_claude_program(process.exe) for process in walk(self.processes, pid))

    def _take(self, claude: ClaudeSession, folder: Path, wish: str) -> Session:
        known = self.by_pid(claude.pid, int(claude.proc_start) if claude.proc_start.isdecimal() else 0)
        if known is not None:
            self._update(known, claude)
            return known
        for session in self.live():
            if not lives(self.processes, session.claude.pid, session.start):
                self._end(session)  # we are asked before we are told of its end
        now = self.node.now()
        # `--resume` in another process: the session comes back with its name and its inbox, if the old one is gone.
        earlier = [s for s in self._sessions.values() if not s.alive and claude.session_id in s.ids]
        earlier = earlier or self._came_before(claude)
        if earlier:
            session = earlier[-1]
            session.name = self._free_name(session.name)
            session.claude, session.alive, session.ended_ms = claude, True, 0
            session.trouble = session.failure = session.channel = ""
            session.hooked = False
            session.status = Status("idle", Source.TRANSCRIPT, now, now)
        else:
            session = Session(
                key=self.node.seams.rng(8).hex(),
                name=self._free_name(name_of(claude.cwd)),
                claude=claude,
                config=folder,
                status=Status("idle", Source.TRANSCRIPT, now, now),
                started_ms=now,
                mode="inbox" if is_client(claude.session_id) else "push",
            )
            self._sessions[session.key] = session
        session.wish = wish or session.wish
        session.ids.add(claude.session_id)
        log.info("session registered", pid=claude.pid, sessions=len(self.live()))
        self._some.set()
        if self._nursery is not None:
            self._nursery.start_soon(self._watch_end, session)
        if session.foreign and self._nursery is not None:
            self._nursery.start_soon(self._announce_later, session)
        else:
            self._announce(session)
        return session

    def _announce(self, session: Session) -> None:
        self._save(session)
        self.look(session)
        self.changed()
        self.node.events.publish("session", name=session.name, alive=True)
        self.arrived(session)

    async def _announce_later(self, session: Session) -> None:
        """Nothing is pushed to it, so what its coming sets off waits until its client has had the first answers."""
        await trio.sleep(ANNOUNCE_S)
        if session.alive:
            self._announce(session)

    def _came_before(self, claude: ClaudeSession) -> list[Session]:
        """The session that our relay below it was given because its registry entry came too late; it ends as such."""
        found: list[Session] = []
        if not is_client(claude.session_id):
            for session in self.live():
                if session.foreign and any(p.pid == claude.pid for p in walk(self.processes, session.claude.pid)):
                    self._end(session)
                    session.mode = "push"
                    found.append(session)
        return found

    def _free_name(self, wanted: str) -> str:
        taken = {session.name.casefold() for session in self._sessions.values() if session.alive}
        wanted = wanted.encode()[:MAX_NAME_BYTES].decode(errors="ignore")
        name, number = wanted, 2
        while name.casefold() in taken:
            name, number = f"{wanted}-{number}", number + 1
        return name

    def look(self, session: Session) -> None:
        """Read the session's registry entry again: id, status and inbox may have changed."""
        if session.foreign:
            return
        found = Registry(session.config, self.processes, self.uid).session_of(
            session.claude.pid, session.claude.proc_start
        )
        if isinstance(found, NoSession):
            return  # the pidfd tells of its end; an entry that is being rewritten is back at the next look
        self._update(session, found)
        now = self.node.now()
        if found.status is not None:
            self._set_status(session, read_register(session.status, found.status, found.status_at_ms, now))
        self._set_status(session, settle(session.status, now, in_turn=found.status not in (None, "idle")))

    def _update(self, session: Session, claude: ClaudeSession) -> None:
        if claude.session_id not in session.ids:
            session.ids.add(claude.session_id)
            session.claude = claude
            self._save(session)
        session.claude = claude

    def say_status(self, session: Session, word: str, source: Source) -> None:
        """`source` says what the session does."""
        self._set_status(session, renew(session.status, word, source, self.node.now()))

    def set_mode(self, session: Session, mode: str) -> None:
        """Say how a session wants its messages from now on: push, inbox or off. Kept across restarts and `--resume`."""
        session.mode = mode
        self._save(session)
        self.changed()
        self.node.events.publish("session", name=session.name, alive=session.alive)
        session.stir()

    def _set_status(self, session: Session, status: Status) -> None:
        before, session.status = session.status, status
        if status.word == before.word:
            return
        session.stir()
        self.changed()
        self.node.events.publish("status", session=session.key, status=session.status.word)

    def describe(
        self,
        session: Session,
        *,
        summary: str | None = None,
        visible: bool | None = None,
        profile: Mapping[str, str | list[str]] = {},
    ) -> None:
        """Change how a session shows itself. A `name` in the profile renames it; raises nothing: names were checked."""
        if summary is not None:
            session.summary = summary
        if visible is not None:
            session.visible = visible
        name = profile.get("name")
        if isinstance(name, str) and name and name.casefold() != session.name.casefold():
            session.name = self._free_name(name)
        session.profile.update({key: value for key, value in profile.items() if key != "name"})
        self._save(session)
        self.changed()

    def _save(self, session: Session) -> None:
        row = session.row()
        self.node.db.submit(lambda tx: put_session(tx, row))

    async def _watch_end(self, session: Session) -> None:
        pid = session.claude.pid
        await wait_end(self.processes, pid, session.start)
        if session.claude.pid == pid:
            self._end(session)

    def _end(self, session: Session) -> None:
        if not session.alive:
            return
        session.alive = False
        session.ended_ms = self.node.now()
        log.info("session ended", pid=session.claude.pid)
        self._save(session)
        session.stir()
        self.changed()
        self.node.events.publish("session", name=session.name, alive=False)
