"""Making, inviting and joining at a broker that lies: one clear refusal each, nothing kept, and never an internal error."""

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from broker_kit.people import seeded
from core_kit.core import Core
from core_kit.liar import RESPONSE, Said, honest
from core_kit.town import LYING_URL, Town
from mesh_protocol.keys import SigningKey
from mesh_protocol.wire.errors import MeshError

OTHER = SigningKey.from_seed(seeded("another broker"))
Lie = Callable[[Said], list[Said | bytes]]


def _answer(method: str, **changes: Any) -> Lie:
    """Change fields of the answers to `method`."""
    return lambda said: [said.with_value(**changes) if said.is_answer_to(method) else said]


def _refuse(method: str, code: str) -> Lie:
    error = {"code": code, "message": "\x1b[2Jobey me", "data": {"why": "\x1b[2Jobey\u202e me"}}
    return lambda said: [
        said.changed(value=None, error=error) if said.kind == RESPONSE and said.method == method else said
    ]


def _garble(method: str) -> Lie:
    return lambda said: [said.changed(value=["garbage"]) if said.is_answer_to(method) else said]


def _silence(method: str) -> Lie:
    return lambda said: [] if said.method == method else [said]


def _cut(method: str) -> Lie:
    return lambda said: [b"\xff" * 8] if said.method == method and said.kind == RESPONSE else [said]


LIES: dict[str, tuple[Lie, set[str]]] = {
    "no challenge": (_silence("challenge"), {"broker_unreachable"}),
    "a garbled challenge": (
        lambda said: [said.changed(value={"x": 1}) if said.is_news("challenge") else said],
        {"broker_unreachable"},
    ),
    "another key": (
        lambda said: [said.with_value(broker_key=OTHER.public) if said.is_news("challenge") else said],
        {"broker_refused"},
    ),
    "a forged hello": (_answer("hello", sig=bytes(64)), {"broker_refused"}),
    "a forged tip": (_answer("hello", tip=b"garbage"), {"broker_refused", "chain_invalid"}),
    "a garbled hello": (_garble("hello"), {"broker_refused", "bad_request", "broker_unreachable"}),
    "no hello": (_silence("hello"), {"broker_unreachable"}),
    "a cut hello": (_cut("hello"), {"broker_unreachable"}),
    "a refusal": (_refuse("hello", "admission_needed"), {"admission_needed"}),
    "a refusal of tomorrow": (_refuse("hello", "no such code"), {"broker_refused"}),
}


async def _refused(core: Core, method: str, **params: Any) -> MeshError:
    with pytest.raises(MeshError) as caught:
        await core.call(method, **params)
    assert caught.value.message.isprintable()
    assert not core.failures, core.failures
    return caught.value


@pytest.mark.parametrize("name", LIES)
async def test_a_mesh_is_not_made_at_a_broker_that_lies(town: Town, autojump_clock: MockClock, name: str) -> None:
    carol = await town.settle("carol")
    town.liars["carol"].down, codes = LIES[name]
    refusal = await _refused(carol, "mesh.new", name="mine", me="carol", broker=LYING_URL)
    assert refusal.code in codes
    assert not carol.app.node.meshes
    town.liars["carol"].down = honest
    await carol.call("mesh.new", name="mine", me="carol", broker=LYING_URL)
    await carol.until_online("mine")


JOIN_LIES: dict[str, tuple[Lie, set[str]]] = {
    **LIES,
    "another mesh's chain": (
        lambda said: [said.changed(body=b"") if said.is_answer_to("chain.read") else said],
        {"chain_invalid", "broker_rollback", "broker_refused"},
    ),
    "no chain": (_silence("chain.read"), {"broker_unreachable"}),
    "a garbled chain": (
        _garble("chain.read"),
        {"broker_refused", "bad_request", "broker_unreachable", "chain_invalid"},
    ),
}


@pytest.mark.parametrize("name", JOIN_LIES)
async def test_nobody_joins_at_a_broker_that_lies(town: Town, autojump_clock: MockClock, name: str) -> None:
    alice = town.cores["alice"]
    carol = await town.settle("carol")
    url = (await alice.call("mesh.invite", mesh="team"))["url"]
    town.liars["carol"].down, codes = JOIN_LIES[name]
    refusal = await _refused(carol, "mesh.join", url=url, me="carol")
    assert refusal.code in codes | {"chain_invalid"}
    assert not carol.app.node.meshes
    town.liars["carol"].down = honest
    joined = await carol.call("mesh.join", url=url, me="carol")
    assert joined["state"] == "joined"


@pytest.mark.parametrize("name", ["silence", "garbage", "a cut", "a refusal", "a forged tip"])
async def test_an_invite_that_the_broker_does_not_take_is_refused_in_one_line(
    town: Town, autojump_clock: MockClock, name: str
) -> None:
    lies = {
        "silence": _silence("chain.append"),
        "garbage": _garble("chain.append"),
        "a cut": _cut("chain.append"),
        "a refusal": _refuse("chain.append", "storage_full"),
        "a forged tip": _answer("chain.append", tip=bytes(300)),
    }
    alice = town.cores["alice"]
    town.liars["alice"].down = lies[name]
    refusal = await _refused(alice, "mesh.invite", mesh="team")
    assert refusal.code in {"broker_unreachable", "broker_refused", "timeout", "storage_full", "bad_request"}
    town.liars["alice"].down = honest
    await town.liars["alice"].cut()
    await trio.sleep(1)
    await alice.until_online()
    await alice.call("mesh.invite", mesh="team")
