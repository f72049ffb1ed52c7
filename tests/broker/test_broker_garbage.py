"""Whatever arrives in a well-formed frame: a declared refusal or a closed connection, and the others never notice."""

import random
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker_kit.people import Device, envelope
from broker_kit.side import Side
from broker_kit.stand import Stand, open_memory_stand
from mesh_broker.limits import Limits
from mesh_protocol import broker_api, broker_chain, broker_meeting
from mesh_protocol.broker_api import Stats, StatsAnswer
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.registry import operations_in
from mesh_protocol.wire.codec import JsonValue
from mesh_protocol.wire.errors import CODES, RemoteError

OPERATIONS = operations_in([broker_api, broker_chain, broker_meeting])
UNIVERSAL = {"bad_request", "unknown_field", "unknown_method", "not_allowed", "rate_limited"}
"""Refusals that any operation may give without declaring them."""
ROOMY = Limits(prekey_burst=10**6, append_burst=10**6, live_burst=10**6, member_burst=10**6, hellos_refused=10**6)

values: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=70) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


async def attempt(side: Side, method: str, params: dict[str, JsonValue], body: bytes) -> None:
    """A call whose refusal, if any, must be one of the closed list and declared."""
    code = None
    try:
        await side.connection.call(method, params, body, seconds=5)
    except RemoteError as error:
        code = error.code
    assert code is None or code in CODES
    declared = {None, *UNIVERSAL, *OPERATIONS[method].errors}
    assert code in declared, f"{method} may not answer {code}"


async def greeted(stand: Stand) -> tuple[bytes, Side, Side]:
    mesh, side = await stand.create()
    bob = Device("bob")
    await side.append(mesh, mesh.add_member(bob))
    return mesh.id, side, await stand.enter(mesh, bob)


@pytest.mark.parametrize("method", sorted(OPERATIONS))
def test_no_parameters_and_no_body_make_an_operation_fail_otherwise_than_declared(
    method: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    fields = OPERATIONS[method].request.__struct_fields__

    @settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.tuples(st.dictionaries(st.sampled_from(fields), values), st.binary(max_size=300)), max_size=8))
    def fuzz(calls: list[tuple[dict[str, JsonValue], bytes]]) -> None:
        trio.run(play, calls, tmp_path_factory.mktemp("garbage"))

    async def play(calls: list[tuple[dict[str, JsonValue], bytes]], folder: Path) -> None:
        async with open_memory_stand(folder, ROOMY) as stand:
            mesh_id, side, witness = await greeted(stand)
            for params, body in calls:
                if method != "hello":
                    params = {**params, "mesh": mesh_id}
                await attempt(side, method, params, body)
            await witness.call(Stats(mesh=mesh_id), StatsAnswer)

    fuzz()


async def test_envelopes_with_any_bit_turned_are_accepted_or_refused_as_declared(memory_stand: Stand) -> None:
    chance = random.Random(3)
    mesh, side = await memory_stand.create()
    body = envelope(mesh, mesh.owner, mesh.owner, 1)
    head = 12 * 8 + 8 + 2 + 32 * 3 + 16 + 8 * 3
    for _ in range(300):
        turned = bytearray(body)
        turned[chance.randrange(head)] ^= 1 << chance.randrange(8)
        await attempt(
            side, "mail.send", {"mesh": mesh.id}, bytes(turned[: chance.choice((len(turned), len(turned) - 1))])
        )


async def test_unknown_methods_and_fields_are_refused_by_name(memory_stand: Stand) -> None:
    mesh_id, side, _ = await greeted(memory_stand)
    calls: tuple[tuple[str, dict[str, JsonValue], str], ...] = (
        ("no.such", {}, "unknown_method"),
        ("", {}, "unknown_method"),
        ("stats", {"mesh": mesh_id, "more": 1}, "unknown_field"),
        ("chain.read", {"mesh": mesh_id, "after": -1}, "bad_request"),
        ("chain.read", {"mesh": mesh_id, "after": 2**63}, "bad_request"),
        ("chain.read", {"mesh": mesh_id}, "bad_request"),
        ("live.subscribe", {"mesh": mesh_id, "channels": [b"short"]}, "bad_request"),
        ("stats", {"mesh": "text"}, "not_allowed"),
    )
    for method, params, code in calls:
        with pytest.raises(RemoteError) as caught:
            await side.connection.call(method, params, seconds=5)
        assert caught.value.code == code


async def test_a_body_where_none_belongs_is_refused(memory_stand: Stand) -> None:
    mesh_id, side, _ = await greeted(memory_stand)
    assert await side.refusal(Stats(mesh=mesh_id), b"x") == "bad_request"


async def test_notifications_of_any_kind_are_never_answered_and_harm_nobody(memory_stand: Stand) -> None:
    mesh_id, side, witness = await greeted(memory_stand)
    for method in (*OPERATIONS, "challenge", "mail", "no.such"):
        await side.connection.notify(method, {"mesh": mesh_id}, b"x")
        await side.connection.notify(method, {"mesh": 7})
    for each in (side, witness):
        await each.call(Stats(mesh=mesh_id), StatsAnswer)


async def test_an_answer_to_nothing_ends_the_connection_that_sent_it(memory_stand: Stand) -> None:
    mesh_id, side, witness = await greeted(memory_stand)
    with pytest.raises(LinkClosed):
        await side.connection.send_encoded(b"\x00\x00\x00\x04\x00\x00\x00\x00\x94\x01\x07\xc0" + b"\xc0")
        await side.call(Stats(mesh=mesh_id), StatsAnswer)
    await witness.call(Stats(mesh=mesh_id), StatsAnswer)
