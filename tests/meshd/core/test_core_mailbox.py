"""The numbers of a mailbox: what says that a broker was restored, and what does not."""

from meshd.link.mailbox import check_mailbox, least_next
from world.world import World


async def test_mail_that_is_here_before_the_answer_is_looked_at_is_no_sign_of_a_loss(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    mesh = ann.mesh()
    least = least_next(mesh)
    mesh.heard_mseq = least + 2  # handed over behind the broker's answer
    await check_mailbox(ann.app.node, mesh, least, least, broker_lost=False)
    assert not mesh.doubts.mailbox_ms
    assert mesh.heard_mseq == least + 2
    assert least_next(mesh) == least + 3


async def test_a_broker_that_counts_lower_than_it_did_is_told_of_once(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await bob.send("ann", "one", wait="stored")
    mesh = ann.mesh()
    least = least_next(mesh)
    assert least > 1
    await check_mailbox(ann.app.node, mesh, least, least - 1, broker_lost=False)
    assert mesh.doubts.mailbox_ms
    assert world.take_errors() == ["the broker's mailbox went back"]
    await check_mailbox(ann.app.node, mesh, least_next(mesh), least - 1, broker_lost=False)
    assert world.take_errors() == []
