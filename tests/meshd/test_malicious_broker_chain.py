"""A broker that forges its identity or shows another membership: it is caught, told, and nothing of it is folded."""

from collections.abc import Callable, Iterable

import pytest
import trio
from trio.testing import MockClock

from broker_kit.people import seeded
from core_kit.core import Core, until
from core_kit.forgery import MALLORY, chain_of, ghost_record, invite_record, signed_tip
from core_kit.liar import Said, honest
from core_kit.town import BROKER_KEY, LYING_URL, Town
from mesh_protocol.chain import Record
from mesh_protocol.keys import SigningKey
from mesh_protocol.seals import MeshKeys, seal_keys
from mesh_protocol.wire.errors import MeshError
from mesh_protocol.wire.items import pack_items

OTHER_BROKER = SigningKey.from_seed(seeded("another broker"))


async def _reconnect(town: Town, name: str, down: Callable[[Said], Iterable[Said | bytes]]) -> Core:
    """Let the broker lie to a machine from its next connection on."""
    core, liar = town.cores[name], town.liars[name]
    liar.down = down
    before = liar.connections
    await liar.cut()
    await until(lambda: liar.connections > before, "a new connection")
    return core


async def _require_refused(core: Core, town: Town, *words: str) -> None:
    await until(lambda: core.mesh().link.value == "refused", "the refusal")
    finding = await core.finding("mesh team")
    assert finding["ok"] == "bad"
    assert any(word in finding["text"] for word in words), finding
    assert (await core.link_state())["trouble"]
    await town.require_safe_mesh_works()
    assert not core.failures, core.failures


async def _require_mends(core: Core, town: Town) -> None:
    """An honest broker again: the mesh goes on by itself."""
    town.liars[core.name].down = honest
    await town.liars[core.name].cut()
    await core.until_online()
    assert core.mesh().alarm == ""
    other = "alice" if core.name == "bob" else "bob"
    await core.send(other, "all is well again")
    assert not core.failures, core.failures


async def _require_resolved(core: Core, town: Town) -> None:
    """An honest broker again: the fork that it once signed stays, and everybody hears of it, until a person chooses."""
    town.liars[core.name].down = honest
    await town.liars[core.name].cut()
    alice = town.cores["alice"]
    for each in town.cores.values():
        await until(lambda each=each: each.mesh().fork is not None, f"{each.name} is frozen")  # type: ignore[misc]
    heads = {each.mesh().fork.result.heads for each in town.cores.values()}  # type: ignore[union-attr]
    assert len(heads) == 1
    ours = alice.mesh().state.head
    await alice.call("resolve.choose", head=ours.hex()[:12], mesh="team")
    await core.until_online()
    assert ours in core.mesh().hashes
    assert "mallory" not in core.mesh().names.values()
    await _require_mends(core, town)


# Who the broker is.


async def test_a_broker_with_another_key_than_the_chain_names_is_refused(town: Town, autojump_clock: MockClock) -> None:
    def lie(said: Said) -> list[Said]:
        return [said.with_value(broker_key=OTHER_BROKER.public) if said.is_news("challenge") else said]

    bob = await _reconnect(town, "bob", lie)
    await _require_refused(bob, town, "another key")
    await _require_mends(bob, town)


@pytest.mark.parametrize("field", ["sig", "session_id", "version", "server_ms"])
async def test_a_hello_that_the_broker_did_not_sign_is_refused(
    town: Town, autojump_clock: MockClock, field: str
) -> None:
    def lie(said: Said) -> list[Said]:
        if not said.is_answer_to("hello"):
            return [said]
        true = said.value[field]
        return [said.with_value(**{field: true + 1 if isinstance(true, int) else bytes(reversed(true))})]

    bob = await _reconnect(town, "bob", lie)
    await _require_refused(bob, town, "hello", "signature", "version", "bad", "genuine")
    await _require_mends(bob, town)


async def test_an_answer_of_an_earlier_hello_is_refused(town: Town, autojump_clock: MockClock) -> None:
    (earlier,) = [s for s in town.liars["bob"].heard if s.is_answer_to("hello") and s.value["tip"]][-1:]

    def lie(said: Said) -> list[Said]:
        return [said.changed(value=earlier.value) if said.is_answer_to("hello") else said]

    bob = await _reconnect(town, "bob", lie)
    await _require_refused(bob, town, "hello", "signature", "bad", "genuine")
    await _require_mends(bob, town)


# How far its chain is.


async def test_a_tip_at_hello_that_the_broker_did_not_sign_is_refused(town: Town, autojump_clock: MockClock) -> None:
    bob = town.cores["bob"]
    forged = signed_tip(bob, chain_of(bob), OTHER_BROKER)

    def lie(said: Said) -> list[Said]:
        return [said.with_value(tip=forged) if said.is_answer_to("hello") else said]

    await _reconnect(town, "bob", lie)
    await _require_refused(bob, town, "tip", "signature", "bad")
    await _require_mends(bob, town)


async def test_a_pushed_tip_that_the_broker_did_not_sign_changes_nothing(town: Town, autojump_clock: MockClock) -> None:
    bob = town.cores["bob"]
    records = chain_of(bob)
    ghost = ghost_record(bob, records[-1], MALLORY)
    await town.liars["bob"].news("tip", mesh=bob.mesh().id, tip=signed_tip(bob, [*records, ghost], OTHER_BROKER))
    await town.require_safe_mesh_works()
    await town.cores["alice"].send("bob", "still here")
    assert bob.mesh().link.value == "online"
    assert bob.mesh().alarm == ""


def _serve_chain(records: list[Record], tip: bytes) -> Callable[[Said], list[Said]]:
    """A broker whose chain is `records`, with that signed tip."""

    def lie(said: Said) -> list[Said]:
        if said.is_answer_to("hello"):
            return [said.with_value(tip=tip)]
        if said.is_answer_to("chain.read"):
            return [said.with_value(more=False).changed(body=pack_items([r.encode() for r in records]))]
        return [said]

    return lie


async def _require_alarm(core: Core, town: Town) -> None:
    await until(lambda: core.mesh().alarm, "the alarm")
    finding = await core.finding("mesh team")
    assert finding["ok"] == "bad"
    assert finding["fix"]
    with pytest.raises(MeshError) as refused:
        await core.call("message.send", "may I?", to="alice", mesh="team")
    assert refused.value.code == "broker_rollback"
    await town.require_safe_mesh_works()
    assert not core.failures, core.failures
    assert "mallory" not in [row["to"] for row in (await core.call("peer.list", mesh="team"))["peers"]]


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_fork_of_the_same_length_at_hello_raises_the_alarm(
    town: Town, autojump_clock: MockClock, restarts: bool
) -> None:
    bob = town.cores["bob"]
    records = chain_of(bob)
    fork = [*records[:-1], ghost_record(bob, records[-2], town.cores["alice"].app.node.key)]
    await _reconnect(town, "bob", _serve_chain(fork, signed_tip(bob, fork)))
    await _require_alarm(bob, town)
    if restarts:  # what the broker signed is kept, and still convinces an honest one
        await bob.restart()
        assert bob.mesh().fork is not None
    await _require_resolved(bob, town)


async def test_more_histories_than_are_kept_stop_the_mesh_and_fill_no_disk(
    town: Town, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshd.branches.MAX_BRANCH_RECORDS", 0)
    bob = town.cores["bob"]
    records = chain_of(bob)
    fork = [*records[:-1], ghost_record(bob, records[-2], town.cores["alice"].app.node.key)]
    await _reconnect(town, "bob", _serve_chain(fork, signed_tip(bob, fork)))
    await _require_alarm(bob, town)
    assert bob.mesh().fork is None
    assert bob.app.node.db.reader.execute("SELECT count(*) FROM branch").fetchall() == [(0,)]
    await _require_mends(bob, town)


async def test_a_longer_fork_at_hello_raises_the_alarm(town: Town, autojump_clock: MockClock) -> None:
    bob, key = town.cores["bob"], town.cores["alice"].app.node.key
    records = chain_of(bob)
    fork = [*records[:-1], ghost_record(bob, records[-2], key)]
    fork.append(invite_record(bob, fork[-1], key))
    lie = _serve_chain(fork[len(records) :], signed_tip(bob, fork))
    await _reconnect(town, "bob", lie)
    await _require_alarm(bob, town)
    await _require_mends(bob, town)


async def test_a_fork_pushed_as_a_signed_tip_raises_the_alarm_at_once(town: Town, autojump_clock: MockClock) -> None:
    """Two tips that the broker signed and that disagree: the proof itself."""
    bob = town.cores["bob"]
    records = chain_of(bob)
    fork = [*records[:-1], ghost_record(bob, records[-2], town.cores["alice"].app.node.key)]
    await town.liars["bob"].news("tip", mesh=bob.mesh().id, tip=signed_tip(bob, fork))
    await _require_alarm(bob, town)
    await _require_mends(bob, town)


async def test_a_shorter_chain_is_given_back_its_records_and_one_that_stays_short_raises_the_alarm(
    town: Town, autojump_clock: MockClock
) -> None:
    bob = town.cores["bob"]
    short = chain_of(bob)[:-1]
    tip = signed_tip(bob, short)

    def lie(said: Said) -> list[Said]:
        if said.kind == 1 and said.method in ("chain.append", "chain.branch"):
            return [said.changed(error=None, value={"tip": tip})]
        return [said.with_value(tip=tip) if said.is_answer_to("hello") else said]

    await _reconnect(town, "bob", lie)
    await _require_alarm(bob, town)
    await _require_mends(bob, town)


async def test_an_append_answered_with_another_history_raises_the_alarm(town: Town, autojump_clock: MockClock) -> None:
    alice = town.cores["alice"]
    records = chain_of(alice)
    fork = [*records, invite_record(alice, records[-1], alice.app.node.key, "a record nobody asked for")]
    tip = signed_tip(alice, fork)
    town.liars["alice"].down = lambda said: [said.with_value(tip=tip) if said.is_answer_to("chain.append") else said]
    with pytest.raises(MeshError):
        await alice.call("mesh.invite", mesh="team")
    await _require_mends(alice, town)


@pytest.mark.parametrize("signer", ["nobody", "the broker", "a mere member"])
async def test_a_member_that_no_signer_added_is_not_folded(town: Town, autojump_clock: MockClock, signer: str) -> None:
    bob = town.cores["bob"]
    key = {"nobody": MALLORY, "the broker": BROKER_KEY, "a mere member": bob.app.node.key}[signer]
    records = chain_of(bob)
    ghost = ghost_record(bob, records[-1], key)
    await _reconnect(town, "bob", _serve_chain([ghost], signed_tip(bob, [*records, ghost])))
    await _require_alarm(bob, town)
    assert len(bob.mesh().state.members) == 2
    await _require_mends(bob, town)


async def test_a_chain_that_breaks_off_in_its_second_page_leaves_disk_and_memory_equal(
    town: Town, autojump_clock: MockClock
) -> None:
    alice, bob = town.cores["alice"], town.cores["bob"]
    town.liars["bob"].refusing = True
    await town.liars["bob"].cut()
    for _ in range(3):
        await alice.call("mesh.invite", mesh="team")
    town.liars["bob"].refusing = False
    after_first_page = False

    def lie(said: Said) -> list[Said]:
        nonlocal after_first_page
        if not said.is_answer_to("chain.read"):
            return [said]
        if after_first_page:
            return [said.changed(body=b"garbage")]
        after_first_page = True
        whole = chain_of(alice)
        return [said.with_value(more=True).changed(body=pack_items([whole[len(chain_of(bob))].encode()]))]

    town.liars["bob"].down = lie
    await until(lambda: bob.mesh().link.value == "refused", "the refusal")
    assert after_first_page
    await _require_mends(bob, town)
    await bob.restart()
    await bob.until_online()
    assert len(chain_of(bob)) == bob.mesh().state.seq == alice.mesh().state.seq
    assert not bob.failures, bob.failures


async def test_a_link_lost_between_two_pages_leaves_disk_and_memory_equal(
    town: Town, autojump_clock: MockClock
) -> None:
    alice, bob = town.cores["alice"], town.cores["bob"]
    town.liars["bob"].refusing = True
    await town.liars["bob"].cut()
    for _ in range(3):
        await alice.call("mesh.invite", mesh="team")
    town.liars["bob"].refusing = False
    pages = 0

    def lie(said: Said) -> list[Said]:
        nonlocal pages
        if not said.is_answer_to("chain.read"):
            return [said]
        pages += 1
        whole = chain_of(alice)
        page = said.with_value(more=True).changed(body=pack_items([whole[len(chain_of(bob))].encode()]))
        return [page] if pages == 1 else []

    town.liars["bob"].down = lie
    await until(lambda: pages > 1, "the second page asked for")
    await _require_mends(bob, town)
    await bob.restart()
    await bob.until_online()
    assert len(chain_of(bob)) == bob.mesh().state.seq == alice.mesh().state.seq


async def test_a_swapped_prekey_is_never_sealed_to(town: Town, autojump_clock: MockClock) -> None:
    """The prekey of another device, of another mesh, or signed by another key: the message waits for the true one."""
    alice, bob = town.cores["alice"], town.cores["bob"]
    alice.mesh().peer_prekeys.clear()
    foreign, elsewhere = alice.mesh().prekey, bob.mesh("safe").prekey
    assert foreign is not None
    assert elsewhere is not None
    town.liars["alice"].down = lambda said: [
        said.changed(body=pack_items([foreign.encode(), elsewhere.encode(), b"garbage"]))
        if said.is_answer_to("prekey.take")
        else said
    ]
    sent: list[Said] = []
    town.liars["alice"].up = lambda said: [said] if not said.is_call("mail.send") else (sent.append(said) or [said])
    answer = await alice.call("message.send", "for bob's eyes", to="bob", mesh="team")
    await trio.sleep(20)
    assert await alice.state_of(answer["id"]) == "queued"
    assert not sent
    await town.require_safe_mesh_works()
    town.liars["alice"].down = honest
    await until(lambda: sent, "the message to go out")
    await alice.send("bob", "and another")
    assert await bob.texts() == ["for bob's eyes", "and another"]


async def test_epoch_keys_that_the_chain_does_not_vouch_for_are_not_taken(
    town: Town, autojump_clock: MockClock
) -> None:
    """The broker seals keys of its own to a newcomer: it stays outside while it cannot ask anybody else, says so, and comes
    in with the true ones, which a member gives it."""
    alice = town.cores["alice"]
    carol = await town.settle("carol")
    invite = await alice.call("mesh.invite", mesh="team")

    def lie(said: Said) -> list[Said]:
        if not said.is_answer_to("seals.read"):
            return [said]
        mesh = next(iter(carol.app.node.meshes.values()))
        assert mesh.prekey is not None
        forged = seal_keys(mesh.id, 1, mesh.prekey, MeshKeys(bytes(32), {1: bytes(32)}), mesh.tip)
        return [said.with_value(count=1).changed(body=pack_items([forged.encode()]))]

    town.liars["carol"].down = lie
    town.liars["carol"].up = lambda said: [] if said.is_call("mail.send") else [said]
    answer = await carol.call("mesh.join", url=invite["url"], me="carol", wait_s=5.0)
    assert answer["state"] == "pending"
    (finding,) = [c for c in (await carol.call("daemon.doctor"))["checks"] if c["name"].startswith("keys mesh")]
    assert (finding["ok"], "is not here yet" in finding["text"]) == ("warn", True), finding
    assert not carol.failures, carol.failures
    town.liars["carol"].up = honest
    await until(lambda: all(m.active for m in carol.app.node.meshes.values()), "the true keys")
    assert carol.mesh().keys == alice.mesh().keys
    await until(lambda: all(m.link.value == "online" for m in carol.app.node.meshes.values()), "carol let in")
    await alice.send("carol", "welcome")
    assert LYING_URL in carol.mesh().row.broker_url
