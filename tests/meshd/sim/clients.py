"""The people and the agents of a simulation: they send, read, lose answers, ask again, and die."""

import random
import re
from collections.abc import Awaitable
from typing import Final, TypeVar

import trio

from mesh_protocol.io.link import LinkClosed
from mesh_protocol.wire.errors import MeshError
from sim.book import Letter
from world.claude import Claude
from world.machine import Machine

T = TypeVar("T")

GONE: Final = (LinkClosed, trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError, trio.EndOfChannel)
"""What a client meets whose daemon died, or that was cut off itself."""
_ID: Final = re.compile(r'"id":"([0-9a-f]{32})"')


class Violation(AssertionError):
    """Something that was promised did not hold."""


async def attempt(work: Awaitable[T]) -> T | None:
    """What a client got; None when it was refused or lost its daemon."""
    try:
        return await work
    except (MeshError, *GONE):
        return None


def target(letter: Letter) -> str | list[str]:
    if letter.many:
        return letter.many
    names = [f"{machine}/{label}" if label else machine for machine, label in letter.to]
    return names[0] if len(names) == 1 else names


class Person:
    """Somebody at a terminal of a machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    async def post(self, letter: Letter, now: float, *, dies_after: float | None = None) -> None:
        """`mesh send`; it is killed after `dies_after` seconds, whatever came of it."""
        if not self.machine.running:
            letter.refused = letter.refused or "no daemon"
            return
        try:
            talk = await self.machine.talk(self.machine.processes.shell)
        except GONE:
            return
        extra = {"idempotency_key": letter.key} if letter.key else {}
        letter.unanswered += 1
        try:
            async with trio.open_nursery() as nursery:
                if dies_after is not None:
                    nursery.start_soon(_hang_up, talk.close, dies_after)
                answer = await talk.call(
                    "message.send", to=target(letter), message=letter.text, priority=letter.lane, **extra
                )
                promise(letter, str(answer["id"]), now)
                nursery.cancel_scope.cancel()
        except* MeshError as group:
            refuse(letter, *(error.code for error in group.exceptions if isinstance(error, MeshError)))
        except* GONE:
            pass  # nobody knows
        await attempt(talk.close())

    async def read(self) -> None:
        """`mesh inbox`."""
        if self.machine.running:
            await attempt(self.machine.read())


def promise(letter: Letter, msg_id: str, now: float) -> None:
    """An id was answered. Raises `Violation` when it is another one than before."""
    if letter.id and letter.id != msg_id:
        letter.ids.add(letter.id)
        letter.ids.add(msg_id)
    letter.unanswered -= 1
    letter.id, letter.refused, letter.ended = msg_id, "", letter.ended or now


def refuse(letter: Letter, why: str) -> None:
    """A refusal was answered. One by a daemon whose disk has failed says nothing of what that disk has taken."""
    letter.unanswered -= "shutting_down" not in why
    if not letter.id:
        letter.refused = why


async def _hang_up(close: "object", after: float) -> None:
    await trio.sleep(after)
    await close()  # type: ignore[operator]


class Sitter:
    """An agent session, with what a person does to it: it is ended, resumed, kept busy."""

    def __init__(self, claude: Claude, name: str) -> None:
        self.claude = claude
        self.name = name
        self.alive = True
        self.in_group = False
        self.seen: list[str] = []
        """What earlier processes of it were shown."""
        self._turn = trio.Lock()

    @property
    def machine(self) -> Machine:
        return self.claude.machine

    @property
    def shown(self) -> list[str]:
        return [*self.seen, *self.claude.seen]

    async def _tool(self, tool: str, use: str, **arguments: str) -> str | None:
        """A tool's result; None when the daemon was lost meanwhile."""
        async with self._turn:
            if not self.alive or not self.machine.running:
                return None
            return await self._ask(tool, use, arguments)

    async def _ask(self, tool: str, use: str, arguments: dict[str, str]) -> str | None:
        claude = self.claude
        try:
            if claude._talk is None or claude._talk.connection.closed is not None:
                await claude.open_mcp()
            return await claude.tool(tool, use=use, **arguments)
        except (MeshError, KeyError, *GONE):
            self.machine.world.raise_bugs()
            return None

    async def post(self, letter: Letter, now: float) -> None:
        """The agent uses send_message; asked again it repeats the same use of the tool, as the shim does."""
        if not self.alive or not self.machine.running:
            letter.refused = letter.refused or "no daemon"
            return
        letter.unanswered += 1
        answer = await self._tool(
            "send_message",
            f"toolu_send_{letter.number}",
            to=target(letter),  # type: ignore[arg-type]
            message=letter.text,
            priority=letter.lane,
        )
        found = _ID.search(answer) if answer is not None else None
        if found is not None:
            promise(letter, found[1], now)
        elif answer is not None:
            refuse(letter, answer)

    async def check(self, number: int) -> None:
        await self._tool("check_messages", f"toolu_check_{number}")

    async def regroup(self, number: int, group: str) -> None:
        """It joins a group, or leaves it."""
        self.in_group = not self.in_group
        await self._tool("join_group" if self.in_group else "leave_group", f"toolu_group_{number}", name=group)

    async def end(self) -> None:
        """Its process is killed."""
        if self.alive:
            self.alive = False
            await attempt(self.claude.end())

    async def resume(self) -> None:
        """Started again as the same session."""
        async with self._turn:
            if self.alive or not self.machine.running:  # two faults may have waited for one turn
                return
            old = self.claude
            new = Claude(self.machine, old.cwd.rpartition("/")[2], inbox=old.inbox, session_id=old.session_id)
            new.env = dict(old.env)
            self.seen += old.seen
            self.claude, self.alive = new, True
            await attempt(new.open())

    def toggle(self, chance: random.Random) -> None:
        """It begins or ends a turn, or a tool of its turn ends."""
        if not self.alive:
            return
        if not self.claude.busy:
            self.claude.begin_turn()
        elif chance.random() < 0.5:
            self.claude.end_tool()
        else:
            self.claude.end_turn()
