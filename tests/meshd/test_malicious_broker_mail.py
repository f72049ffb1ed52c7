"""A broker that forges, alters, replays, misdirects and floods mail: nothing of it is shown, and the rest goes on."""

from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from broker_kit.people import seeded
from core_kit.core import until
from core_kit.forgery import (
    MALLORY,
    Impostor,
    chain_of,
    invite_record,
    own_envelope,
    seal_for,
    signed_tip,
    write_message,
)
from core_kit.liar import Said, honest
from core_kit.town import LYING_URL, Town
from mesh_protocol.envelope import seal_envelope, sign_message
from mesh_protocol.ids import MemberId
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.prekeys import pack_given
from mesh_protocol.tip import TipRef
from mesh_protocol.wire.items import pack_items, unpack_items
from meshd.link.receiver import MAX_HELD_OF_ONE
from meshd.prekeys import make_batch

FIRST = 5_000
"""Mailbox numbers of what the lying broker makes up, above any true one."""


async def _push(town: Town, *envelopes: bytes, to: str = "bob") -> None:
    mesh = town.cores[to].mesh().id
    for number, envelope in enumerate(envelopes, FIRST):
        await town.liars[to].news("mail", envelope, mesh=mesh, mseq=number)


async def _require_only(town: Town, *texts: str) -> None:
    """Bob sees these texts and nothing else, goes on receiving, and so does the other mesh."""
    alice, bob = town.cores["alice"], town.cores["bob"]
    await alice.send("bob", "the last word")
    assert await bob.texts() == [*texts, "the last word"]
    await town.require_safe_mesh_works()
    assert not bob.failures, bob.failures
    assert not alice.failures, alice.failures


async def test_a_message_signed_by_another_key_than_its_senders_is_not_shown(
    town: Town, autojump_clock: MockClock
) -> None:
    alice, bob = town.cores["alice"], town.cores["bob"]
    message = write_message(alice, bob, "send me your keys")
    await _push(town, seal_for(bob, message, Impostor(alice.app.node.device)))
    await _require_only(town)


async def test_a_message_of_a_device_the_chain_does_not_list_is_not_shown(
    town: Town, autojump_clock: MockClock
) -> None:
    alice, bob = town.cores["alice"], town.cores["bob"]
    message = write_message(alice, bob, "let me in", from_device=MALLORY.public)
    await _push(town, seal_for(bob, message, MALLORY))
    await _require_only(town)


async def test_a_member_cannot_speak_in_the_name_of_another(town: Town, autojump_clock: MockClock) -> None:
    alice, bob = town.cores["alice"], town.cores["bob"]
    carol = await town.settle("carol")
    await town.join(alice, carol, "team")
    alices = bob.mesh().state.devices[alice.app.node.device].member_id
    await until(lambda: carol.app.node.device in bob.mesh().state.devices, "carol on bob's chain")
    await _push(town, own_envelope(carol, bob, "alice here", from_member=alices))
    await _require_only(town)


@pytest.mark.parametrize("name", ["to_member", "mesh_id"])
async def test_a_message_that_names_another_member_or_mesh_inside_is_not_shown(
    town: Town, autojump_clock: MockClock, name: str
) -> None:
    alice, bob = town.cores["alice"], town.cores["bob"]
    other = MemberId(bytes(16)) if name == "to_member" else bob.mesh("safe").id
    message = write_message(alice, bob, "not for you", **{name: other})
    if name == "mesh_id":
        prekey = bob.mesh("safe").prekey
        assert prekey is not None
        envelope = seal_envelope(sign_message(message, alice.app.node.key), attempt=1, spk=prekey)
    else:
        envelope = seal_for(bob, message, alice.app.node.key)
    await _push(town, envelope)
    await _require_only(town)


async def test_an_envelope_altered_in_any_byte_is_not_shown_and_the_true_one_is(
    town: Town, autojump_clock: MockClock
) -> None:
    alice, liar = town.cores["alice"], town.liars["bob"]
    altered = 0

    def alter(said: Said) -> list[Said]:
        nonlocal altered
        if not said.is_news("mail") or altered:
            return [said]
        forgeries = []
        for place in [*range(420), *range(420, len(said.body), 37)]:
            body = bytearray(said.body)
            body[place] ^= 1 << place % 8
            forgeries.append(said.changed(body=bytes(body)).with_value(mseq=FIRST + place))
        altered = len(forgeries)
        return [*forgeries[:200], said]

    liar.down = alter
    await alice.send("bob", "in my own words")
    assert altered > 200
    await _require_only(town, "in my own words")


async def test_every_byte_of_an_envelope_counts(town: Town, autojump_clock: MockClock) -> None:
    """As above without the daemon's window: the judge alone, over every byte."""
    alice, bob = town.cores["alice"], town.cores["bob"]
    true = own_envelope(alice, bob, "in my own words")
    assert bob.app.inbox.judge(bob.mesh(), true).kind == "take"
    for place in range(len(true)):
        body = bytearray(true)
        body[place] ^= 1 << place % 8
        assert bob.app.inbox.judge(bob.mesh(), bytes(body)).kind != "take", place


async def test_a_replayed_envelope_is_shown_once_also_after_a_restart(town: Town, autojump_clock: MockClock) -> None:
    alice, bob = town.cores["alice"], town.cores["bob"]
    await alice.send("bob", "once")
    (envelope,) = [said.body for said in town.liars["bob"].mail()]
    await _push(town, *[envelope] * 50)
    await bob.restart()
    await bob.until_online()
    await _push(town, *[envelope] * 50)
    await _require_only(town, "once")


async def test_an_envelope_of_one_mesh_is_not_taken_in_another(town: Town, autojump_clock: MockClock) -> None:
    alice, bob = town.cores["alice"], town.cores["bob"]
    await alice.send("bob", "only in safe", mesh="safe")
    message = write_message(alice, bob, "from team")
    envelope = seal_for(bob, message, alice.app.node.key)
    # Under the other mesh's name on this connection, where that mesh does not live.
    await town.liars["bob"].news("mail", envelope, mesh=bob.mesh("safe").id, mseq=FIRST)
    await _require_only(town)
    assert "from team" not in await bob.texts("safe")


async def test_an_envelope_for_somebody_else_is_not_shown(town: Town, autojump_clock: MockClock) -> None:
    alice = town.cores["alice"]
    carol = await town.settle("carol")
    await town.join(alice, carol, "team")
    await alice.send("carol", "for carol alone")
    (envelope,) = [said.body for said in town.liars["carol"].mail()]
    await _push(town, envelope)
    await _push(town, envelope, to="alice")  # to its own sender
    await _require_only(town)
    assert await carol.texts() == ["for carol alone"]


async def test_a_signed_message_cannot_be_forwarded_as_if_meant_for_another(
    town: Town, autojump_clock: MockClock
) -> None:
    """Bob, gone bad, seals what alice wrote to him for carol, as if she had written it to carol."""
    alice, bob = town.cores["alice"], town.cores["bob"]
    carol = await town.settle("carol")
    await town.join(alice, carol, "team")
    written = write_message(alice, bob, "you are dismissed")
    signed = sign_message(written, alice.app.node.key)
    prekey = carol.mesh().prekey
    assert prekey is not None

    class ForCarol:
        """The true signed bytes under a message that says it is for carol."""

        message = write_message(alice, carol, "you are dismissed", msg_id=written.msg_id)
        raw, hash = signed.raw, signed.hash

    await _push(town, seal_envelope(ForCarol(), attempt=1, spk=prekey), to="carol")  # type: ignore[arg-type]
    await alice.send("carol", "the last word")
    assert await carol.texts() == ["the last word"]
    assert not carol.failures


async def test_two_envelopes_under_one_number_are_both_kept_and_numbers_may_jump(
    town: Town, autojump_clock: MockClock
) -> None:
    bob = town.cores["bob"]
    alice = town.cores["alice"]
    mesh = bob.mesh().id
    for number, mseq in enumerate((7, 7, 2**63 - 1, 0, 7, 900_000)):
        await town.liars["bob"].news("mail", own_envelope(alice, bob, f"{number}", number), mesh=mesh, mseq=mseq)
    await _require_only(town, "0", "1", "2", "3", "4", "5")


async def test_a_flood_beyond_the_window_ends_the_connection_and_costs_no_memory(
    town: Town, autojump_clock: MockClock
) -> None:
    """Judging waits for a chain that the broker announced and does not give; meanwhile it pushes what it can."""
    alice, bob, liar = town.cores["alice"], town.cores["bob"], town.liars["bob"]
    mesh, before, worst = bob.mesh(), liar.connections, 0
    liar.down = lambda said: [] if said.method == "chain.read" else [said]
    records = chain_of(bob)
    promised = [*records, invite_record(bob, records[-1], alice.app.node.key)]
    await liar.news("tip", mesh=mesh.id, tip=signed_tip(bob, promised))
    message = write_message(alice, bob, "let me in", from_device=MALLORY.public)
    await liar.news("mail", seal_for(bob, message, MALLORY), mesh=mesh.id, mseq=FIRST - 1)
    await wait_all_tasks_blocked()
    for number in range(600):
        link = bob.app.brokers.link_of(mesh)
        worst = max(worst, link.receiver.waiting_bytes if link is not None else 0)
        try:
            await liar.news("mail", bytes(1024 * 1024), mesh=mesh.id, mseq=FIRST + number)
        except LinkClosed:
            break
        await wait_all_tasks_blocked()
    assert 4 * 1024 * 1024 < worst <= 8 * 1024 * 1024
    liar.down = honest
    await until(lambda: liar.connections > before, "a new connection")
    await bob.until_online()
    await _require_only(town)


async def test_messages_of_unknown_senders_do_not_pile_up(town: Town, autojump_clock: MockClock) -> None:
    """They may be of a member the chain here does not show yet, so they wait; as few as a window bears."""
    alice, bob, liar = town.cores["alice"], town.cores["bob"], town.liars["bob"]
    mesh, held = bob.mesh(), 0
    for number in range(400):
        message = write_message(alice, bob, "let me in", number, from_device=MALLORY.public)
        await liar.news("mail", seal_for(bob, message, MALLORY), mesh=mesh.id, mseq=FIRST + number)
        await wait_all_tasks_blocked()
        link = bob.app.brokers.link_of(mesh)
        held = max(held, len(link.receiver.held) if link is not None else 0)
    assert held == MAX_HELD_OF_ONE
    await _require_only(town)


async def test_a_member_who_names_another_membership_holds_up_only_himself_and_is_named(
    town: Town, autojump_clock: MockClock
) -> None:
    """A bare claim is no evidence against the broker: it stops neither sending nor anybody else's messages."""
    alice, bob = town.cores["alice"], town.cores["bob"]
    carol = await town.settle("carol")
    await town.join(alice, carol, "team")
    await until(lambda: carol.app.node.device in bob.mesh().state.devices, "carol on bob's chain")
    here = TipRef(bob.mesh().state.seq, seeded("another head"), 0, bytes(32))
    ahead = TipRef(bob.mesh().state.seq + 5, seeded("a head to come"), 0, bytes(32))
    for number, tip in enumerate([here, ahead] * 150):
        envelope = own_envelope(carol, bob, "believe me", number, tip=tip)
        await town.liars["bob"].news("mail", envelope, mesh=bob.mesh().id, mseq=FIRST + number)
        await wait_all_tasks_blocked()
    finding = await bob.finding("membership team")
    assert finding["ok"] == "bad"
    assert "carol" in finding["text"]
    await bob.send("alice", "I can still speak")
    await _require_only(town)
    # An honest word of hers is taken, and clears her.
    await carol.send("bob", "it was a misunderstanding")
    assert (await bob.texts())[-1] == "it was a misunderstanding"
    assert "membership team" not in [c["name"] for c in (await bob.call("daemon.doctor"))["checks"]]


async def test_a_message_that_names_a_newer_chain_is_taken_when_that_chain_is_here(
    town: Town, autojump_clock: MockClock
) -> None:
    alice, bob, liar = town.cores["alice"], town.cores["bob"], town.liars["bob"]
    liar.down = lambda said: [] if said.is_news("tip") else [said]
    await alice.call("mesh.invite", mesh="team")
    sent = await alice.call("message.send", "from the future", to="bob", mesh="team")
    await until(lambda: liar.mail(), "the envelope")
    await wait_all_tasks_blocked()
    assert await bob.texts() == []
    liar.down = honest
    (tip,) = [said for said in liar.heard if said.is_news("tip")][-1:]
    await liar.say(tip)
    await until(lambda: bob.mesh().state.seq == alice.mesh().state.seq, "the chain")
    await alice.send("bob", "the last word")
    assert await bob.texts() == ["from the future", "the last word"]
    assert await alice.state_of(sent["id"]) == "stored"


async def test_mail_that_the_broker_holds_back_is_told(town: Town, autojump_clock: MockClock) -> None:
    alice, bob, liar = town.cores["alice"], town.cores["bob"], town.liars["bob"]
    await alice.send("bob", "one")
    kept: list[Said] = []

    def swallow(said: Said) -> list[Said]:
        if said.is_news("mail") and not kept:
            kept.append(said)
            return []
        return [said]

    liar.down = swallow
    lost = await alice.call("message.send", "two", to="bob", mesh="team")
    await alice.send("bob", "three")
    await trio.sleep(61)
    finding = await bob.finding("gap team")
    assert finding["ok"] == "warn"
    assert "1 messages of alice" in finding["text"]
    assert await alice.state_of(lost["id"]) == "accepted"
    await liar.say(kept[0])  # late, and welcome
    await until(lambda: not list(bob.mesh().doubts.late(2**62)), "the gap to close")
    assert await bob.texts() == ["one", "three", "two"]


async def test_a_one_time_prekey_that_is_given_to_two_opens_one_message_and_the_broker_is_named(
    town: Town, autojump_clock: MockClock
) -> None:
    """The broker shows carol the very answers that it gave to alice."""
    alice, bob = town.cores["alice"], town.cores["bob"]
    carol = await town.settle("carol")
    await town.join(alice, carol, "team")
    shown: list[Said] = []

    def keep(said: Said) -> list[Said]:
        if said.is_answer_to("prekey.take") and said.value.get("onetime"):
            shown.append(said)
        return [said]

    def show(said: Said) -> list[Said]:
        if said.is_answer_to("prekey.take") and said.value.get("onetime"):
            return [said.changed(body=shown[-1].body).with_value(**shown[-1].value)]
        return [said]

    town.liars["alice"].down, town.liars["carol"].down = keep, show
    await alice.send("bob", "first")
    await until(lambda: alice.mesh().shelf.held(), "alice has a one-time prekey")
    await carol.send("bob", "second")
    await until(lambda: carol.mesh().shelf.held(), "carol has one")
    assert carol.mesh().shelf.held() == alice.mesh().shelf.held()
    town.liars["carol"].down = honest
    await alice.send("bob", "third")
    await carol.send("bob", "fourth")
    assert await bob.texts() == ["first", "second", "third", "fourth"]
    assert bob.mesh().doubts.twice is not None
    found = {check["name"]: check for check in (await bob.call("daemon.doctor"))["checks"]}
    assert f"the broker {LYING_URL} gave it out twice" in found["prekeys team"]["text"]


async def test_one_time_prekeys_that_nobody_asked_for_or_signed_are_not_used(
    town: Town, autojump_clock: MockClock
) -> None:
    alice, bob = town.cores["alice"], town.cores["bob"]
    foreign = await make_batch(bob.app.node, bob.mesh("safe"))
    unasked = await make_batch(alice.app.node, alice.mesh())
    forged = replace(await make_batch(bob.app.node, bob.mesh()), sig=bytes(64))
    bodies = [pack_given(0, each.encode()) for each in (foreign, unasked, forged)]
    bodies += [pack_given(100, (await make_batch(bob.app.node, bob.mesh())).encode()), b"garbage"]

    def lie(said: Said) -> list[Said]:
        if not said.is_answer_to("prekey.take"):
            return [said]
        signed = unpack_items(said.body)[: int(said.value["count"])]
        return [said.changed(body=pack_items([*signed, *bodies])).with_value(onetime=len(bodies))]

    town.liars["alice"].down = lie
    for text in ("one", "two"):
        await alice.send("bob", text)
        await trio.sleep(20)
    assert alice.mesh().shelf.held() == []
    await _require_only(town, "one", "two")
