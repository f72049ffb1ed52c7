"""Files that a message announces: named, measured and signed; their bytes stay where they are."""

from hashlib import sha256
from typing import Any

import pytest

from mesh_protocol.wire.errors import RemoteError
from world.world import World

REPORT: dict[str, Any] = {"name": "report (final).pdf", "size": 123_456, "sha256": sha256(b"report").hexdigest()}
EMPTY: dict[str, Any] = {"name": "ü", "size": 0, "sha256": sha256(b"").hexdigest()}


async def test_a_person_is_told_of_the_files_beside_the_text(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    sent = await ann.send("bob", "see the report", attachments=[REPORT, EMPTY], wait="stored")
    (row,) = (await bob.call("inbox.read"))["messages"]
    assert (row["message"], row["attachments"]) == ("see the report", [REPORT, EMPTY])
    for machine in (ann, bob):
        shown = await machine.call("message.status", id=sent["id"])
        assert (shown["message"], shown["attachments"]) == ("see the report", [REPORT, EMPTY])


async def test_many_are_told_of_the_same_files(world: World) -> None:
    ann, *others = await world.mesh("ann", "bob", "eve")
    await ann.send(["bob", "eve"], "see the report", attachments=[REPORT], wait="stored")
    for machine in others:
        (row,) = (await machine.call("inbox.read"))["messages"]
        assert row["attachments"] == [REPORT]


async def test_an_agent_is_told_in_a_line_below_the_text(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    await ann.until_knows("bob/web")
    await ann.send("bob/web", "see the report", attachments=[REPORT], wait="shown")
    assert "see the report\n[announces a file: report (final).pdf, 123456 bytes]" in web.seen[0]


async def test_between_sessions_of_one_machine_as_well(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    web = await ann.claude("web")
    await ann.send("ann/web", "see the report", attachments=[REPORT], wait="shown")
    assert "[announces a file: report (final).pdf" in web.seen[0]


async def test_the_same_text_with_another_file_is_another_request(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    first = await ann.send("bob", "see", attachments=[REPORT], idempotency_key="k")
    assert (await ann.send("bob", "see", attachments=[REPORT], idempotency_key="k"))["id"] == first["id"]
    assert await ann.refusal("message.send", to="bob", message="see", idempotency_key="k") == "idempotency_conflict"


async def test_a_failed_message_is_sent_again_with_its_files(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await world.unplug(ann)
    sent = await ann.send("bob", "see", attachments=[REPORT])
    await ann.call("outbox.cancel", id=sent["id"])
    await world.plug(ann)
    await ann.call("outbox.requeue", id=sent["id"])
    await world.settle(5)
    (row,) = (await bob.call("inbox.read"))["messages"]
    assert row["attachments"] == [REPORT]


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../x"},
        {"name": ".."},
        {"name": "a\nb"},
        {"name": ""},
        {"size": -1},
        {"sha256": "00"},
        {"name": "x" * 300},
    ],
)
async def test_what_is_no_file_is_not_announced(world: World, change: dict[str, Any]) -> None:
    ann, _ = await world.mesh("ann", "bob")
    assert await ann.refusal("message.send", to="bob", message="x", attachments=[{**REPORT, **change}]) == "bad_request"
    assert (await ann.call("outbox.list"))["waiting"] == []
    await ann.send("bob", "x", attachments=[REPORT] * 16)
    with pytest.raises(RemoteError):
        await ann.send("bob", "x", attachments=[REPORT] * 17)
