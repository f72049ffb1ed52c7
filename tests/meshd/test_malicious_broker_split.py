"""A broker that shows two members two histories, or holds one back from one of them: the first message between them tells."""

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from core_kit.core import Core, until
from core_kit.forgery import MALLORY, chain_of, ghost_record, own_envelope, signed_tip
from core_kit.liar import Said, honest
from core_kit.town import Town
from mesh_protocol.chain import Record
from mesh_protocol.tip import Tip, TipRef
from mesh_protocol.wire.errors import MeshError
from mesh_protocol.wire.items import pack_items
from mesh_protocol.witness import Witness


def _split(records: list[Record], tip: bytes) -> Callable[[Said], list[Said]]:
    """A broker that shows one machine `records`, and never a word of anything else."""

    def lie(said: Said) -> list[Said]:
        if said.is_news("tip"):
            return []
        if said.is_answer_to("hello"):
            return [said.with_value(tip=tip, branches=0)]
        if said.is_answer_to("chain.branch"):
            return [said.with_value(tip=tip)]
        if said.is_answer_to("chain.read"):
            return [said.with_value(more=False).changed(body=pack_items([r.encode() for r in records]))]
        return [said]

    return lie


async def _show_another(town: Town) -> list[Record]:
    """bob is shown mallory's admission, under a stolen key; alice is not."""
    alice, bob, liar = town.cores["alice"], town.cores["bob"], town.liars["bob"]
    records = chain_of(bob)
    records.append(ghost_record(bob, records[-1], alice.app.node.key))
    liar.down = _split(records, signed_tip(bob, records))
    liar.up = lambda said: [] if said.is_call("chain.branch") else [said]
    await liar.cut()
    await until(lambda: bob.mesh().state.head == records[-1].hash, "bob believes it")
    await bob.until_online()
    return records


async def _require_stopped(core: Core) -> None:
    await until(lambda: core.mesh().alarm, f"the alarm of {core.name}", 120)
    other = "alice" if core.name == "bob" else "bob"
    with pytest.raises(MeshError) as refused:
        await core.call("message.send", "may I?", to=other, mesh="team")
    assert refused.value.code == "broker_rollback"
    finding = await core.finding("mesh team")
    assert finding["ok"] == "bad"
    assert finding["fix"]


async def test_a_split_view_is_found_out_by_the_first_message_on_both_sides_and_ends_with_a_resolve(
    town: Town, autojump_clock: MockClock
) -> None:
    alice, bob = town.cores["alice"], town.cores["bob"]
    shown = await _show_another(town)
    await alice.call("mesh.invite", mesh="team")
    ours = alice.mesh().state.head
    await alice.call("message.send", "do you see what I see?", to="bob", mesh="team")
    for core in (alice, bob):
        await _require_stopped(core)
        fork = core.mesh().fork
        assert fork is not None
        assert {head.hash for head in fork.result.heads} == {ours, shown[-1].hash}
    assert "do you see what I see?" not in await bob.texts()
    await town.require_safe_mesh_works()
    town.liars["bob"].down = town.liars["bob"].up = honest
    await town.liars["bob"].cut()
    listed = await alice.call("resolve.list", mesh="team")
    chosen = next(row for row in listed["heads"] if row["here"])
    assert chosen["lost"] == ["mallory"]
    done = await alice.call("resolve.choose", head=chosen["head"][:12], mesh="team")
    assert done["lost"] == ["mallory"]
    await bob.until_online()
    assert ours in bob.mesh().hashes
    assert "mallory" not in bob.mesh().names.values()
    await until(lambda: not bob.mesh().doubts.authors, "what alice wrote")
    assert "do you see what I see?" in await bob.texts()
    assert not alice.failures
    assert not bob.failures


async def test_a_history_that_is_held_back_from_one_member_stops_him_a_minute_after_he_hears_of_it(
    town: Town, autojump_clock: MockClock
) -> None:
    alice, bob, liar = town.cores["alice"], town.cores["bob"], town.liars["bob"]
    liar.down = lambda said: [] if said.is_news("tip") else [said]
    await alice.call("mesh.invite", mesh="team")
    await alice.call("message.send", "there is news", to="bob", mesh="team")
    await until(lambda: bob.mesh().doubts.authors, "the message waits")
    await trio.sleep(30)
    assert not bob.mesh().alarm
    await _require_stopped(bob)
    for core in (alice, bob):
        newest = core.mesh().hashes
        assert f"record {len(newest)} ({newest[-1].hex()[:12]})" in bob.mesh().alarm, "both are named"
    assert not alice.mesh().alarm
    assert bob.mesh().fork is None
    assert "there is news" not in await bob.texts()
    await town.require_safe_mesh_works()
    liar.down = honest
    await liar.cut()
    await bob.until_online()
    assert bob.mesh().alarm == ""
    await until(lambda: not bob.mesh().doubts.authors, "the message is let in")
    assert "there is news" in await bob.texts()
    assert not bob.failures


async def test_a_claim_that_the_broker_never_signed_holds_only_its_authors_message(
    town: Town, autojump_clock: MockClock
) -> None:
    """alice's machine has gone bad: it names a record that nobody has, and can show no signature of the broker for it."""
    alice, bob = town.cores["alice"], town.cores["bob"]
    carol = await town.settle("carol")
    await town.join(alice, carol, "team")
    await until(lambda: bob.mesh().state.seq == alice.mesh().state.seq, "bob knows carol")
    claim = TipRef(bob.mesh().state.seq + 3, bytes([7]) * 32, 0, bytes(32))
    await town.liars["bob"].news(
        "mail",
        own_envelope(alice, bob, "believe me", tip=claim),
        mesh=bob.mesh().id,
        mseq=bob.mesh().row.next_mseq + 50,
    )
    await until(lambda: bob.mesh().doubts.authors, "it waits")
    await trio.sleep(120)
    assert bob.mesh().alarm == ""
    finding = await bob.finding("membership team")
    assert "alice" in finding["text"]
    assert "messages of alice" in (await bob.link_state())["trouble"]
    assert (await bob.call("inbox.read"))["held_up"] == ["alice"]
    await carol.send("bob", "I am not held up")
    assert await bob.texts() == ["I am not held up"]
    await bob.send("alice", "what do you mean?")
    assert not bob.failures


async def test_a_witness_that_the_broker_did_not_sign_is_none(town: Town, autojump_clock: MockClock) -> None:
    alice, bob = town.cores["alice"], town.cores["bob"]
    records = chain_of(bob)
    fork = [*records[:-1], ghost_record(bob, records[-2], alice.app.node.key)]
    for number, content in enumerate(
        (
            Witness(Tip.decode(signed_tip(bob, fork, MALLORY)), (fork[-1],)).encode(),
            b"garbage",
            b"",
        )
    ):
        forged = own_envelope(alice, bob, "", number=number, kind="tip", content=content)
        await town.liars["bob"].news("mail", forged, mesh=bob.mesh().id, mseq=bob.mesh().row.next_mseq + 50 + number)
    await alice.send("bob", "all is well")
    await trio.sleep(90)
    assert bob.mesh().alarm == ""
    assert bob.mesh().branches == {}
    assert bob.mesh().link.value == "online"
    assert not bob.failures
