"""What must still hold after a broker misbehaved."""

import trio

from core_kit.liar import honest
from core_kit.town import Town


async def require_sound(town: Town) -> None:
    """Honest again: everybody is online and heard, the other mesh never stopped, nobody met a bug."""
    alice, bob = town.cores["alice"], town.cores["bob"]
    for liar in town.liars.values():
        liar.down = liar.up = honest
        await liar.cut()
    await town.require_safe_mesh_works()
    for core in (alice, bob):
        await core.until_online()
    text = f"sound at {trio.current_time()}"
    await alice.send("bob", text)
    await bob.send("alice", text)
    assert text in await bob.texts()
    assert text in await alice.texts()
    for core in town.cores.values():
        assert not core.failures, core.failures
