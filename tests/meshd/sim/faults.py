"""The nemeses: what can happen to a mesh, each by a name, of which every history has a random subset."""

import random
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from sim.crashes import BROKER, DAEMON
from sim.hostile import LyingBroker, mangle
from sim.story import Story
from world.machine import Machine

MINUTE_MS: Final = 60_000
YEAR_MS: Final = 365 * 24 * 60 * MINUTE_MS

Deed = Callable[[Story], Awaitable[None]]


async def cut(story: Story) -> None:
    await story.cable(_machine(story)).cut()


async def refuse(story: Story) -> None:
    """No connection is made for a while."""
    cable = story.cable(_machine(story))
    cable.down = True
    await cable.cut()
    _later(story, _length(story), lambda: setattr(cable, "down", False))


async def delay(story: Story) -> None:
    """Long ways for a while; the slowest let a frame through in seconds, as a reader does who hardly reads."""
    cable = story.cable(_machine(story))
    slowest = story.chance.choice((0.02, 0.2, 1.0, 3.0))
    chance = random.Random(story.chance.randrange(2**32))
    ways = story.chance.choice(((cable.out,), (cable.back,), (cable.out, cable.back)))
    for way in ways:
        way.pace = lambda: chance.random() * slowest
    _later(story, _length(story), lambda: [setattr(way, "pace", None) for way in ways])


async def part(story: Story) -> None:
    """A partition in one direction or both. Long ones end connections of which the broker hears much later: half-open."""
    cable = story.cable(_machine(story))
    for way in story.chance.choice(((cable.out,), (cable.back,), (cable.out, cable.back))):
        way.stop()

    async def join() -> None:
        await trio.sleep(_length(story))
        await cable.join()

    story.storm.start_soon(join)


async def kill_daemon(story: Story) -> None:
    story.keepers[_machine(story).name].kill(_down(story))


async def kill_broker(story: Story) -> None:
    story.keepers["broker"].kill(_down(story))


async def kill_both(story: Story) -> None:
    """FP-23: a daemon and the broker at once, and no way between them when they are back."""
    machine, down = _machine(story), _down(story)
    story.keepers["broker"].kill(down)
    story.keepers[machine.name].kill(down)
    cable = story.cable(machine)
    cable.out.stop()
    await trio.sleep(down + _length(story))
    await cable.join()


async def trap_daemon(story: Story) -> None:
    keeper = story.keepers[_machine(story).name]
    point = story.chance.choice(DAEMON)
    keeper.down_s = _down(story)
    keeper.trap.arm(point, story.chance.choice((0, 0, 1, 3)))
    if point in ("FP-18", "FP-19"):  # only a start gets there
        keeper.kill(0.2)


async def trap_broker(story: Story) -> None:
    keeper = story.keepers["broker"]
    keeper.down_s = _down(story)
    keeper.trap.arm(story.chance.choice(BROKER), story.chance.choice((0, 0, 1, 5)))


async def power(story: Story) -> None:
    """A power cut somewhere in the writes that follow."""
    name = story.chance.choice([*(m.name for m in story.machines), "broker"])
    story.keepers[name].cut(story.chance.choice((0, 1, 3, 10, 40)), _down(story))


async def full(story: Story) -> None:
    """No room on a disk for a while."""
    keeper = story.keepers[story.chance.choice([*(m.name for m in story.machines), "broker"])]
    keeper.disk.full = True
    _later(story, _length(story), lambda: setattr(keeper.disk, "full", False))


async def bad_sync(story: Story) -> None:
    keeper = story.keepers[story.chance.choice([*(m.name for m in story.machines), "broker"])]
    keeper.down_s = _down(story)
    keeper.disk.fail_syncs(1)


async def clock(story: Story) -> None:
    _machine(story).clock.off_ms = story.chance.randrange(-50 * MINUTE_MS, 50 * MINUTE_MS)


async def wild_clock(story: Story) -> None:
    story.clock_was_wild = True
    _machine(story).clock.off_ms = story.chance.choice((-1, 1)) * YEAR_MS


async def sessions(story: Story) -> None:
    """Agents are killed, resumed, deaf, and killed at the moment of a push (FP-20)."""
    if not story.sitters:
        return
    sitter = story.chance.choice(story.sitters)
    match story.chance.choice(("end", "end", "deaf", "push")):
        case "end":
            await (sitter.end() if sitter.alive else sitter.resume())
        case "deaf":
            sitter.claude.attentive = not sitter.claude.attentive
        case _:
            keeper = story.keepers[sitter.machine.name]
            keeper.trap.arm("FP-20", 0, lambda _: story.nursery.start_soon(sitter.end))


async def lost_answer(story: Story) -> None:
    await story.send(dies_after=story.chance.choice((0.0, 0.0001, 0.01)))


async def suspend(story: Story) -> None:
    """All lids are closed for a long while."""
    length = story.chance.choice((300, 900, 1800))
    for machine in story.machines:
        cable = story.cable(machine)
        cable.out.stop()
        cable.back.stop()
        story.keepers[machine.name].kill(length * story.chance.random())
    await trio.sleep(length)
    for machine in story.machines:
        await story.cable(machine).join()


async def restore_daemon(story: Story) -> None:
    """A home is copied, and much later put back."""
    machine = _machine(story)
    keeper = story.keepers[machine.name]
    if keeper.has_backup or story.clones:
        return
    keeper.back_up(story.world.folder / f"{machine.name}.backup")
    await trio.sleep(story.chance.choice((10, 200, 900)))
    story.shaken.add(machine.name)
    keeper.put_back_next(_down(story))


async def restore_broker(story: Story) -> None:
    keeper = story.keepers["broker"]
    if keeper.has_backup:
        return
    keeper.back_up(story.world.folder / "broker.backup")
    await trio.sleep(story.chance.choice((10, 200, 900)))
    story.broker_restored = True
    keeper.put_back_next(_down(story))


async def clone(story: Story) -> None:
    """A home is copied to a second machine, and both run."""
    machine = _machine(story)
    if story.clones or story.shaken:
        return
    home = story.world.folder / f"{machine.name}.copy"
    keeper = story.keepers[machine.name]
    keeper.back_up(home)
    story.shaken.add(machine.name)
    with trio.CancelScope(shield=True):
        story.clones[machine.name] = await story.new_machine(f"{machine.name}-2", home)
    await trio.sleep(story.chance.choice((10, 100, 300)))
    story.keepers[f"{machine.name}-2"].held = True
    story.keepers[f"{machine.name}-2"].kill(0)


async def mangling(story: Story) -> None:
    """A link that loses, doubles, swaps and cuts frames for a while: what no stream transport does."""
    story.mangled = True
    cable = story.cable(_machine(story))
    kinds = frozenset(story.chance.sample(("drop", "duplicate", "reorder", "truncate", "flip"), 2))
    story.altered = story.altered or "flip" in kinds
    often = story.chance.choice((0.02, 0.1, 0.3))
    cable.outgoing = mangle(random.Random(story.chance.randrange(2**32)), kinds, often)
    cable.incoming = mangle(random.Random(story.chance.randrange(2**32)), kinds, often)

    def mend() -> None:
        cable.outgoing = cable.incoming = None

    _later(story, _length(story), mend)


async def lying(story: Story) -> None:
    """The broker lies to everybody from now on."""
    if story.liar is None:
        kinds = ("replay", "misdeliver", "withhold", "overtake", "old_tip", "false_accept")
        chance = random.Random(story.chance.randrange(2**32))
        story.liar = LyingBroker(chance, frozenset(chance.sample(kinds, 3)), chance.choice((0.05, 0.3)))
    for cable in story.cables:
        story.liar.take_over(cable)


HONEST: Final[dict[str, Deed]] = {
    "cut": cut,
    "refuse": refuse,
    "delay": delay,
    "part": part,
    "kill_daemon": kill_daemon,
    "kill_broker": kill_broker,
    "kill_both": kill_both,
    "trap_daemon": trap_daemon,
    "trap_broker": trap_broker,
    "power": power,
    "full": full,
    "bad_sync": bad_sync,
    "clock": clock,
    "sessions": sessions,
    "lost_answer": lost_answer,
    "suspend": suspend,
}
"""Nothing promised may suffer from these."""
WEAKENING: Final[dict[str, Deed]] = {
    "wild_clock": wild_clock,
    "restore_daemon": restore_daemon,
    "restore_broker": restore_broker,
    "clone": clone,
    "mangling": mangling,
    "lying": lying,
}
"""What is promised under each of these is said in `oracles.Promises`."""
DEEDS: Final = {**HONEST, **WEAKENING}


def draw(chance: random.Random) -> frozenset[str]:
    """The faults of one history: each honest one with probability 0.4, one of the others in a third of all."""
    found = {name for name in HONEST if chance.random() < 0.4}
    if chance.random() < 0.33:
        found.add(chance.choice(list(WEAKENING)))
    return frozenset(found)


def _machine(story: Story) -> Machine:
    return story.chance.choice(story.machines)


def _length(story: Story) -> float:
    return story.chance.choice((0.1, 2, 15, 40, 120, 400))


def _down(story: Story) -> float:
    return story.chance.choice((0.05, 0.5, 3, 20, 100))


def _later(story: Story, seconds: float, deed: Callable[[], object]) -> None:
    async def wait() -> None:
        await trio.sleep(seconds)
        deed()

    story.storm.start_soon(wait)
