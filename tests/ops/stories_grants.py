"""What members may do beside their roles, and what a person lets a peer do."""

from functools import partial

from exercised import refuses, works

from world.world import World

GRANTING: dict[str, dict[str, object]] = {
    "grant.give": {"peer": "ann", "keys": ["dm"]},
    "grant.take": {"peer": "ann", "keys": ["dm"]},
    "grant.block": {"peer": "ann"},
    "grant.unblock": {"peer": "ann"},
    "grant.list": {"peer": "ann"},
}


@works("member.allow")
async def a_member_is_allowed_to_invite(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    assert await bob.refusal("mesh.invite") == "not_allowed"
    allowed = await ann.call("member.allow", peer="bob", keys=["invite"])
    assert (allowed["member"], allowed["role"], allowed["own"], allowed["signer"]) == ("bob", "member", True, True)
    await world.until(lambda: bob.app.node.device in bob.mesh().state.signers, what="bob signs")
    await world.invite(bob)


@works("member.deny")
async def a_member_is_denied_to_send(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    assert (await ann.call("member.deny", peer="bob", keys=["send"]))["permissions"] == ["use_tools", "write_state"]
    await world.until(lambda: not bob.mesh().state.may(bob.app.node.device, "send"), what="bob knows")
    assert await bob.refusal("message.send", to="ann", message="hello") == "not_allowed"


@works("member.rights")
async def rights_are_listed(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await ann.call("member.deny", peer="bob", keys=["send"])
    owner, member = (await ann.call("member.rights"))["members"]
    assert (owner["member"], owner["role"], owner["own"], len(owner["permissions"])) == ("ann", "owner", False, 11)
    assert (member["member"], member["own"], member["permissions"]) == ("bob", True, ["use_tools", "write_state"])
    web = await bob.claude("web")
    assert len((await (await web.shell()).call("member.rights"))["members"]) == 2


@works("grant.take")
async def direct_messages_are_not_taken(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    row = await bob.call("grant.take", peer="ann", keys=["dm"])
    assert row == {"peer": "ann", "mesh": "team", "policy": "allow", "grants": ["read", "broadcast"]}
    await ann.until_state(await ann.send("bob", "hello"), "refused")


@works("grant.give")
async def direct_messages_are_taken_again(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await bob.call("grant.take", peer="ann", keys=["dm", "broadcast"])
    assert (await bob.call("grant.give", peer="ann", keys=["dm"]))["grants"] == ["read", "dm"]
    await ann.until_state(await ann.send("bob", "hello"), "stored")


@works("grant.block")
async def a_peer_is_blocked(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    assert (await bob.call("grant.block", peer="ann"))["policy"] == "block"
    await ann.until_state(await ann.send("bob", "hello"), "stored")
    assert await bob.read() == []
    web = await bob.claude("web")
    assert (await bob.call("trust.list"))["peers"] != []
    assert (await (await web.shell()).call("trust.list"))["peers"] == []


@works("grant.unblock")
async def a_peer_is_unblocked(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await bob.call("grant.block", peer="ann")
    assert (await bob.call("grant.unblock", peer="ann"))["policy"] == "allow"
    await ann.until_state(await ann.send("bob", "hello"), "stored")
    assert await bob.read() == ["hello"]


@works("grant.list")
async def grants_are_listed(world: World) -> None:
    _, bob, _ = await world.mesh("ann", "bob", "cid")
    await bob.call("grant.take", peer="cid", keys=["broadcast"])
    rows = (await bob.call("grant.list"))["peers"]
    assert [(row["peer"], row["policy"], row["grants"]) for row in rows] == [
        ("ann", "allow", ["read", "dm", "broadcast"]),
        ("cid", "allow", ["read", "dm"]),
    ]
    assert [row["peer"] for row in (await bob.call("grant.list", peer="cid"))["peers"]] == ["cid"]


async def nobody_of_that_name(world: World, method: str) -> str:
    _, bob = await world.mesh("ann", "bob")
    assert await bob.refusal(method, **{**GRANTING[method], "peer": "bob"}) == "unknown_recipient", "not of oneself"
    return await bob.refusal(method, **{**GRANTING[method], "peer": "eve"})


async def another_mesh(world: World, method: str) -> str:
    _, bob = await world.mesh("ann", "bob")
    return await bob.refusal(method, **GRANTING[method], mesh="nowhere")


async def no_mesh_at_all(world: World, method: str) -> str:
    return await (await world.machine("bob")).refusal(method, **GRANTING[method])


for _method in GRANTING:
    refuses(_method, "unknown_recipient")(partial(nobody_of_that_name, method=_method))
    refuses(_method, "unknown_mesh")(partial(another_mesh, method=_method))
    refuses(_method, "no_mesh")(partial(no_mesh_at_all, method=_method))


@refuses("member.rights", "unknown_mesh")
async def listing_rights_in_another_mesh(world: World) -> str:
    (ann,) = await world.mesh("ann")
    return await ann.refusal("member.rights", mesh="nowhere")


@refuses("member.rights", "no_mesh")
async def listing_rights_nowhere(world: World) -> str:
    return await (await world.machine("ann")).refusal("member.rights")
