"""A broker that forges, alters, replays, misdirects and floods mail: nothing of it is shown, and the rest goes on."""

import pytest
from core_kit.core import until
from core_kit.forgery import MALLORY, Impostor, own_envelope, seal_for, write_message
from core_kit.liar import Said
from core_kit.town import Town
from mesh_protocol.envelope import seal_envelope, sign_message
from mesh_protocol.ids import MemberId

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


async def test_a_message_signed_by_another_key_than_its_senders_is_not_shown(town: Town) -> None:
    alice, bob = town.cores["alice"], town.cores["bob"]
    message = write_message(alice, bob, "send me your keys")
    await _push(town, seal_for(bob, message, Impostor(alice.app.node.device)))
    await _require_only(town)


async def test_a_message_of_a_device_the_chain_does_not_list_is_not_shown(town: Town) -> None:
    alice, bob = town.cores["alice"], town.cores["bob"]
    message = write_message(alice, bob, "let me in", from_device=MALLORY.public)
    await _push(town, seal_for(bob, message, MALLORY))
    await _require_only(town)


async def test_a_member_cannot_speak_in_the_name_of_another(town: Town) -> None:
    alice, bob = town.cores["alice"], town.cores["bob"]
    carol = await town.settle("carol")
    await town.join(alice, carol, "team")
    alices = bob.mesh().state.devices[alice.app.node.device].member_id
    await until(lambda: carol.app.node.device in bob.mesh().state.devices, "carol on bob's chain")
    await _push(town, own_envelope(carol, bob, "alice here", from_member=alices))
    await _require_only(town)


@pytest.mark.parametrize("name", ["to_member", "mesh_id"])
async def test_a_message_that_names_another_member_or_mesh_inside_is_not_shown(town: Town, name: str) -> None:
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


async def test_an_envelope_altered_in_any_byte_is_not_shown_and_the_true_one_is(town: Town) -> None:
    alice, bob = town.cores["alice"], town.cores["bob"]
    liar = town.liars["bob"]
    altered = 0

    def alter(said: Said) -> list[Said]:
        nonlocal altered
        if not said.is_news("mail") or altered:
            return [said]
        forgeries = []
        for place in [*range(0, 420), *range(420, len(said.body), 37)]:
            body = bytearray(said.body)
            body[place] ^= 1 << place % 8
            forgeries.append(said.changed(body=bytes(body)).with_value(mseq=FIRST + place))
        altered = len(forgeries)
        return [*forgeries[:200], said]

    liar.down = alter
    await alice.send("bob", "in my own words")
    assert altered > 200
    await _require_only(town, "in my own words")


async def test_every_byte_of_an_envelope_counts(town: Town) -> None:
    """As above without the daemon's window: the judge alone, over every byte."""
    alice, bob = town.cores["alice"], town.cores["bob"]
    true = own_envelope(alice, bob, "in my own words")
    assert bob.app.inbox.judge(bob.mesh(), true).kind == "take"
    for place in range(len(true)):
        body = bytearray(true)
        body[place] ^= 1 << place % 8
        assert bob.app.inbox.judge(bob.mesh(), bytes(body)).kind != "take", place


async def test_a_replayed_envelope_is_shown_once_also_after_a_restart(town: Town) -> None:
    alice, bob = town.cores["alice"], town.cores["bob"]
    await alice.send("bob", "once")
    (envelope,) = [said.body for said in town.liars["bob"].mail()]
    await _push(town, *[envelope] * 50)
    await bob.restart()
    await bob.until_online()
    await _push(town, *[envelope] * 50)
    await _require_only(town, "once")


async def test_an_envelope_of_one_mesh_is_not_taken_in_another(town: Town) -> None:
    alice, bob = town.cores["alice"], town.cores["bob"]
    await alice.send("bob", "only in safe", mesh="safe")
    message = write_message(alice, bob, "from team")
    envelope = seal_for(bob, message, alice.app.node.key)
    # Under the other mesh's name on this connection, where that mesh does not live.
    await town.liars["bob"].news("mail", envelope, mesh=bob.mesh("safe").id, mseq=FIRST)
    await _require_only(town)
    assert "from team" not in await bob.texts("safe")


async def test_an_envelope_for_somebody_else_is_not_shown(town: Town) -> None:
    alice, bob = town.cores["alice"], town.cores["bob"]
    carol = await town.settle("carol")
    await town.join(alice, carol, "team")
    await alice.send("carol", "for carol alone")
    (envelope,) = [said.body for said in town.liars["carol"].mail()]
    await _push(town, envelope)
    await _push(town, envelope, to="alice")  # to its own sender
    await _require_only(town)
    assert await carol.texts() == ["for carol alone"]


async def test_a_signed_message_cannot_be_forwarded_as_if_meant_for_another(town: Town) -> None:
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


async def test_two_envelopes_under_one_number_are_both_kept_and_numbers_may_jump(town: Town) -> None:
    bob = town.cores["bob"]
    alice = town.cores["alice"]
    mesh = bob.mesh().id
    for number, mseq in enumerate((7, 7, 2**63 - 1, 0, 7, 900_000)):
        await town.liars["bob"].news("mail", own_envelope(alice, bob, f"{number}", number), mesh=mesh, mseq=mseq)
    await until(lambda: bob.app.reading is not None, "nothing")
    await _require_only(town, "0", "1", "2", "3", "4", "5")


async def test_a_flood_beyond_the_window_ends_the_connection_and_costs_no_memory(town: Town) -> None:
    alice, bob = town.cores["alice"], town.cores["bob"]
    liar = town.liars["bob"]
    before = liar.connections
    envelope = bytes(1024 * 1024)
    worst = 0

    def measure() -> int:
        link = bob.app.brokers.link_of(bob.mesh())
        return link.receiver.waiting_bytes if link is not None else 0

    for number in range(600):
        if liar.connections != before:
            break
        try:
            await liar.news("mail", envelope, mesh=bob.mesh().id, mseq=FIRST + number)
        except Exception:
            break
        worst = max(worst, measure())
    assert worst <= 32 * 1024 * 1024
    await bob.until_online()
    await _require_only(town)
    assert alice.mesh().link.value == "online"


async def test_messages_that_wait_for_a_chain_are_bounded(town: Town) -> None:
    """Envelopes of unknown senders are held for a newer chain: as many as a window, not as many as a broker likes."""
    alice, bob = town.cores["alice"], town.cores["bob"]
    held = 0
    for number in range(1500):
        message = write_message(alice, bob, "let me in", number, from_device=MALLORY.public)
        envelope = seal_for(bob, message, MALLORY)
        await town.liars["bob"].news("mail", envelope, mesh=bob.mesh().id, mseq=FIRST + number)
        link = bob.app.brokers.link_of(bob.mesh())
        held = max(held, len(link.receiver._held) if link is not None else 0)
    assert 0 < held <= 512
    await _require_only(town)
