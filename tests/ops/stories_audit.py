"""What was changed here and by whom, and whether that record is whole."""

import apsw
from exercised import refuses, works

from world.world import World


@works("audit.list")
async def what_a_person_and_an_agent_changed_is_listed(world: World) -> None:
    _, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    await bob.call("trust.set", policy="hold", peer="ann")
    await (await web.shell()).call("session.mode", mode="inbox")
    mode, trust, *older = (await bob.call("audit.list"))["rows"]
    assert (mode["who"], mode["tier"], mode["operation"]) == ("web", "agent", "session.mode")
    assert (mode["target"], mode["outcome"]) == ("mode=inbox", "done")
    assert (trust["who"], trust["tier"], trust["operation"], trust["mesh"]) == ("person", "user", "trust.set", "team")
    assert (trust["target"], trust["outcome"]) == ("policy=hold peer=ann", "done")
    assert [row["operation"] for row in older] == ["mesh.join", "audit.begin"]


@works("audit.verify")
async def a_whole_audit_says_how_far_it_goes(world: World) -> None:
    _, bob = await world.mesh("ann", "bob")
    before = await bob.call("audit.verify")
    await bob.call("trust.set", policy="hold", peer="ann")
    after = await bob.call("audit.verify")
    assert (before["entries"], after["entries"]) == (3, 5)
    assert before["since_ms"] == after["since_ms"] > 0
    assert len(after["newest"]) == 64
    assert before["newest"] != after["newest"]


async def _with_a_changed_entry(world: World, method: str) -> str:
    _, bob = await world.mesh("ann", "bob")
    await bob.stop()
    with apsw.Connection(str(bob.paths.database)) as db:
        db.execute("UPDATE audit SET entry = CAST(substr(entry, 1, length(entry) - 1) || x'00' AS BLOB) WHERE seq = 2")
    db.close()
    await bob.start()
    return await bob.refusal(method)


@refuses("audit.list", "audit_broken")
async def listing_what_was_changed(world: World) -> str:
    return await _with_a_changed_entry(world, "audit.list")


@refuses("audit.verify", "audit_broken")
async def checking_what_was_changed(world: World) -> str:
    return await _with_a_changed_entry(world, "audit.verify")
