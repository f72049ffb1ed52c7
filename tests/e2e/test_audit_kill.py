"""kill -9 of a daemon that is changing things: no change without its entry, and a log that is whole every time."""

import random
from pathlib import Path

import trio

from machines.machine import Machine
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.wire.errors import MeshError

KILLS = 8


async def test_every_change_has_its_entry_whenever_the_daemon_is_killed(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    machine = Machine("ann", tmp_path)
    reported: set[str] = set()

    async def change(round_: int) -> None:
        """Until the daemon dies."""
        try:
            async with machine.talk() as talk:
                for number in range(1_000):
                    name = f"m{round_}-{number}"
                    await talk.call("mesh.new", name=name, me="ann")
                    reported.add(name)
        except (LinkClosed, MeshError, OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            return

    with trio.fail_after(240):
        await machine.start()
        for round_ in range(KILLS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(change, round_)
                await trio.sleep(chance.uniform(0.02, 0.4))  # the moment of death, not a wait for something
                await machine.kill()
            await machine.start()
            await machine.call("audit.verify")
        rows = (await machine.call("audit.list", limit=200))["rows"]
        made = {row["mesh"] for row in (await machine.call("mesh.list"))["meshes"]}
        await machine.kill()
    outcomes = {row["target"].split()[0].removeprefix("name="): row["outcome"] for row in rows}
    listed = {row["operation"] for row in rows} >= {"audit.begin"}
    assert reported, "it was never quick enough to change anything"
    for name in (reported | made) if listed else (reported | made) & outcomes.keys():
        assert outcomes[name] in ("done", "unfinished"), name
    assert all(outcomes.get(name, "done") == "done" for name in reported)
    assert reported <= made
