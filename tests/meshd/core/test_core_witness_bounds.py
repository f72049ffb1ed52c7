"""What a member may make others do by asking for a witness again and again."""

import pytest

from mesh_protocol.chain import Record
from mesh_protocol.witness import encode_ask
from meshd.branches import read_own
from meshd.link.witnesses import ASK, MAX_SENT
from meshd.mesh import Mesh
from meshd.node import Node
from world.letters import letter, sign
from world.world import World


async def test_who_asks_again_and_again_is_answered_so_often_and_costs_no_work_after_that(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    link = ann.app.brokers.link_of(ann.mesh())
    assert link is not None
    tip = ann.mesh().tip
    question = sign(bob, letter(bob, ann, kind=ASK, content=encode_ask(tip.chain_seq, tip.chain_hash)))
    read = 0

    def counted(node: Node, mesh: Mesh) -> list[Record]:
        nonlocal read
        read += 1
        return read_own(node, mesh)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("meshd.link.witnesses.read_own", counted)
        for _ in range(3 * MAX_SENT):
            await link.receiver.witnesses.heard(question)
    assert read == MAX_SENT
