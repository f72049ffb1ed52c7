"""A mesh of a few machines and one broker, its people and agents, and everything that can be done to them."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from sim.book import LANES, Book, Letter
from sim.clients import Person, Sitter
from sim.hostile import LyingBroker
from sim.keeper import Keeper, copy_home
from world.broker import BrokerHouse
from world.machine import Machine
from world.network import Cable
from world.world import HERE, World

NAMES: Final = ("ann", "bob", "eve", "dan", "fay")
FOLDERS: Final = ("web", "api", "doc")
GROUP: Final = "crew/night"
PEACE_S: Final = 120.0
"""Virtual seconds from the end of all faults to the judgement."""
GENERATIONS: Final = 12
"""Starts after which a machine whose disk was restored has counted past what its broker remembers."""


class Story:
    """One history. `faults` names what happens in it; `note` takes its readable lines."""

    def __init__(
        self, world: World, chance: random.Random, faults: frozenset[str], note: Callable[[str], None]
    ) -> None:
        self.world = world
        self.chance = chance
        self.faults = faults
        self.note = note
        self.book = Book()
        self.machines: list[Machine] = []
        self.people: dict[str, Person] = {}
        self.sitters: list[Sitter] = []
        self.keepers: dict[str, Keeper] = {}
        self.broker: BrokerHouse
        self.liar: LyingBroker | None = None
        self.shaken: set[str] = set()
        """Machines that were restored from a backup or cloned."""
        self.clones: dict[str, Machine] = {}
        """The second machine with one's key, by the first one's name."""
        self.broker_restored = False
        self.clock_was_wild = False
        self.mangled = False
        self.altered = False
        """Bits were flipped, which on a real link only a broker can do."""
        self.nursery: trio.Nursery
        self.storm: trio.Nursery
        """Where faults live: it ends when all is healed."""
        self._checks = 0
        self._groupings = 0

    # The beginning, in good weather.

    async def settle(self, machines: int, sessions: int) -> None:
        """Everybody is in the mesh and heard of everybody."""
        chance = self.chance
        broker = self.broker = await self._new_broker()
        for name in NAMES[:machines]:
            await self.new_machine(name)
        await self.world.mesh(*NAMES[:machines], broker=broker)
        self.people = {machine.name: Person(machine) for machine in self.machines}
        places = chance.sample([(m, f) for m in self.machines for f in FOLDERS], sessions)
        for machine, folder in places:
            self.sitters.append(Sitter(await machine.claude(folder, inbox=chance.random() < 0.85), folder))
        for sitter in self.sitters:
            if chance.random() < 0.7:
                await self.regroup(sitter)
        await trio.sleep(3)  # their presence reaches the others

    async def _new_broker(self) -> BrokerHouse:
        broker = await self.world.broker()
        await broker.stop()
        self._keep(broker, "broker")
        await broker.start()
        self.nursery.start_soon(self.keepers["broker"].run)
        return broker

    async def new_machine(self, name: str, home: Path | None = None) -> Machine:
        """A machine on a disk that can fail; with the files of `home`, if that is given."""
        machine = Machine(self.world, name, HERE)
        self._keep(machine, name)
        if home is None:
            self.machines.append(machine)
            self.world.machines[name] = machine
        else:
            shutil.rmtree(machine.paths.data)
            copy_home(home, machine.paths.data)
        await machine.start()
        self.cable(machine).reached = self.keepers[name].trap.reached
        self.nursery.start_soon(self.keepers[name].run)
        return machine

    def _keep(self, process: Machine | BrokerHouse, name: str) -> None:
        self.keepers[name] = Keeper(process, name, random.Random(self.chance.randrange(2**32)), self.note)

    def cable(self, machine: Machine) -> Cable:
        return self.world.cable(machine, self.broker)

    @property
    def cables(self) -> list[Cable]:
        return [self.cable(machine) for machine in (*self.machines, *self.clones.values())]

    # Letters.

    def letter(self, author: Machine, sitter: Sitter | None, to: tuple[tuple[str, str], ...], many: str = "") -> Letter:
        chance = self.chance
        filler = chance.choice((0, 0, 0, 1, 5, 40)) if chance.random() < 0.95 else 800
        return self.book.write(
            author.name,
            sitter.name if sitter is not None else "",
            to,
            many,
            chance.choice(LANES),
            filler,
            chance.randbytes(6).hex(),
            trio.current_time(),
            keyed=sitter is None and chance.random() < 0.7,
        )

    def audience(self, author: Machine) -> tuple[tuple[str, str], ...]:
        """Some other machines' people or sessions, mostly one on each; now and then a session here."""
        chance = self.chance
        here = [s for s in self.sitters if s.machine is author]
        if here and chance.random() < 0.1:
            return ((author.name, chance.choice(here).name),)
        others = [m for m in self.machines if m is not author]
        count = 1 if chance.random() < 0.75 else chance.randrange(1, len(others) + 1)
        found = []
        for machine in chance.sample(others, count):
            labels = ["", *(s.name for s in self.sitters if s.machine is machine)]
            found += [
                (machine.name, label) for label in chance.sample(labels, min(len(labels), chance.choice((1, 1, 2))))
            ]
        return tuple(found)

    async def send(self, *, dies_after: float | None = None) -> None:
        """Somebody sends something to somebody."""
        author = self.chance.choice(self.machines)
        sitters = [s for s in self.sitters if s.machine is author and s.alive]
        sitter = self.chance.choice(sitters) if sitters and self.chance.random() < 0.4 else None
        if self.chance.random() < 0.15:
            await self.post(self.letter(author, sitter, (), self.chance.choice((f"@{GROUP}", "*"))), dies_after)
            return
        to = self.audience(author)
        if sitter is not None and to == ((author.name, sitter.name),):
            sitter = None  # nobody writes to himself
        await self.post(self.letter(author, sitter, to), dies_after)

    async def post(self, letter: Letter, dies_after: float | None = None) -> None:
        self.note(f"{letter.author}/{letter.session} sends {letter.number} to {letter.many or letter.to} {letter.lane}")
        now = trio.current_time()
        if letter.session:
            sitter = next(s for s in self.sitters if s.machine.name == letter.author and s.name == letter.session)
            await sitter.post(letter, now)
        else:
            await self.people[letter.author].post(letter, now, dies_after=dies_after)
        self.note(f"letter {letter.number}: {letter.id[:8] or letter.refused[:60] or 'no answer'}")

    async def repeat(self) -> None:
        """Somebody asks once more for what he asked before, with the same key."""
        letters = [letter for letter in self.book.letters if letter.key or letter.session]
        if letters:
            await self.post(self.chance.choice(letters))

    async def read(self) -> None:
        self._checks += 1
        if self.sitters and self.chance.random() < 0.6:
            sitter = self.chance.choice(self.sitters)
            match self.chance.choice(("turn", "turn", "check", "check", "group")):
                case "turn":
                    sitter.toggle(self.chance)
                case "check":
                    await sitter.check(self._checks)
                case _:
                    await self.regroup(sitter)
        else:
            await self.chance.choice(list(self.people.values())).read()

    async def regroup(self, sitter: Sitter) -> None:
        self._groupings += 1
        await sitter.regroup(self._groupings, GROUP)

    # The end.

    async def heal(self) -> None:
        """Everything works again; whoever was down starts."""
        self.note("all is healed")
        for keeper in self.keepers.values():
            keeper.calm(held=keeper.name in {clone.name for clone in self.clones.values()})
        for clone in self.clones.values():
            self.keepers[clone.name].kill(0.1)
        for machine in self.machines:
            machine.clock.off_ms = 0
        for cable in self.cables:
            cable.down = cable.silent = False
            cable.out.pace = cable.back.pace = None
            cable.outgoing = cable.incoming = None
            await cable.join()
            await cable.cut()
        for sitter in self.sitters:
            sitter.claude.attentive = True
            if sitter.alive and sitter.claude.busy:
                sitter.claude.end_turn()
        for machine in self.machines:
            await self._bring_online(machine)

    async def _bring_online(self, machine: Machine) -> None:
        for _ in range(GENERATIONS if machine.name in self.shaken else 1):
            try:
                await machine.until_online(PEACE_S if machine.name not in self.shaken else 10)
                return
            except AssertionError:
                if machine.name not in self.shaken:
                    raise
                self.keepers[machine.name].kill(0.1)
        await machine.until_online(PEACE_S)

    async def probe(self) -> None:
        """In peace: whoever lost an answer asks again, and everybody writes to everybody."""
        for letter in self.book.letters:
            if letter.uncertain and (letter.key or self._still_there(letter)):
                await self.post(letter)
        for author in self.machines:
            for other in self.machines:
                if other is not author:
                    letter = self.letter(author, None, ((other.name, ""),))
                    letter.probe = True
                    await self.post(letter)
            everybody = self.letter(author, None, (), "*")
            everybody.probe = True
            await self.post(everybody)

    def _still_there(self, letter: Letter) -> bool:
        return any(
            s.alive and s.machine.name == letter.author and s.name == letter.session for s in self.sitters
        ) and bool(letter.session)
