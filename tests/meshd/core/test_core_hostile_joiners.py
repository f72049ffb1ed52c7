"""Whoever has a link can ask to join: what he sends costs him his request, and nobody else anything."""

import pytest

from mesh_protocol.invite import InviteLink, JoinRequest, invite_key, seal_joiner_name, sign_join_request
from mesh_protocol.keys import sign_prekey
from meshd.mesh import Mesh
from meshd.node import Node
from world.world import World

LOW_ORDER = bytes(32)


def request_under_a_low_order_key(node: Node, mesh: Mesh, link: InviteLink) -> bytes:
    """A request to join that verifies, to whose prekey nothing can be sealed."""
    prekey = sign_prekey(node.key, mesh.id, 1, LOW_ORDER, node.now())
    names = tuple(
        seal_joiner_name(mesh.id, link.invite_id, node.device, "eve", each) for each in mesh.peer_prekeys.values()
    )
    request = JoinRequest(mesh.id, link.invite_id, node.device, prekey, mesh.tip, names)
    return sign_join_request(request, invite_key(link.secret), node.key)


@pytest.mark.parametrize("approve", [False, True])
async def test_a_request_that_nothing_can_be_sealed_to_is_turned_away_and_the_signer_goes_on(
    world: World, approve: bool
) -> None:
    (ann,) = await world.mesh("ann")
    url = (await ann.call("mesh.invite", uses=3, approve=approve))["url"]
    eve = await world.machine("eve")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("meshd.link.joining.join_request", request_under_a_low_order_key)
        await eve.call("mesh.join", url=url, me="eve", wait_s=1)
        await world.settle(30)
    await eve.crash()
    assert ann.mesh().link.value == "online"
    assert (await ann.call("invite.list"))["waiting"] == []
    bob = await world.machine("bob")
    asked = await bob.call("mesh.join", url=url, me="bob", wait_s=5)
    if approve:
        await world.until(lambda: bool(ann.mesh().knocks), what="ann sees bob wait")
        await ann.call("invite.approve", who="bob")
    else:
        assert asked["state"] == "joined"
    await world.until(lambda: bob.mesh().active, what="bob is in")


async def test_a_signer_whose_prekey_nothing_can_be_sealed_to_keeps_nobody_from_asking_the_others(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await ann.call("member.role", peer="bob", role="admin")
    await world.until(lambda: bob.app.node.device in bob.mesh().state.signers, what="bob signs")
    link = bob.app.brokers.link_of(bob.mesh())
    assert link is not None
    bob.mesh().prekey = sign_prekey(bob.app.node.key, bob.mesh().id, 99, LOW_ORDER, bob.app.node.now())
    await link.prekeys.publish()
    await world.unplug(bob)
    url = await world.invite(ann)
    eve = await world.machine("eve")
    assert (await eve.call("mesh.join", url=url, me="eve"))["state"] == "joined"
    await world.until(lambda: "eve" in ann.mesh().names.values(), what="she is called as she said")
