"""The numbers of our mailbox: a broker that counts lower than we have seen was restored from a backup."""

import apsw

from meshd.log import Id, get_logger
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.store import meshes as store
from meshd.store.outbox import offer_again

log = get_logger("link")


async def check_mailbox(node: Node, mesh: Mesh, next_mseq: int, *, broker_lost: bool) -> None:
    """Note what a broker says that it numbers next. Lower than what we were told, or than what it has handed us since, it
    is said, and lived with, because what was committed here is recognised by its ids. `broker_lost`: it had lost records
    of the chain, so it lost mail as well."""
    if next_mseq < max(mesh.row.next_mseq, mesh.heard_mseq + 1):
        log.error("the broker's mailbox went back", mesh=Id(mesh.id))
        mesh.doubts.mailbox_ms = node.now()
        node.events.publish("broker_rollback", mesh=mesh.slug)
        broker_lost = True
    mesh.row = mesh.row._replace(next_mseq=next_mseq)
    mesh.heard_mseq = next_mseq - 1
    mesh.replace_onetime |= broker_lost  # of those that lie there some were given out already

    def work(tx: apsw.Connection) -> None:
        store.set_next_mseq(tx, mesh.id, next_mseq)
        if broker_lost:  # what it accepted since its backup may be gone: its repeats are known there, or they are not
            offer_again(tx, mesh.id)

    await node.db.write(work)


def keep_heard(node: Node) -> None:
    """Note on the disk how far the mailboxes of all meshes have counted, for the next life of the daemon."""
    due = [mesh for mesh in node.meshes.values() if mesh.heard_mseq >= mesh.row.next_mseq]
    for mesh in due:
        mesh.row = mesh.row._replace(next_mseq=mesh.heard_mseq + 1)
    if due:
        rows = [(mesh.id, mesh.row.next_mseq) for mesh in due]

        def work(tx: apsw.Connection) -> None:
            for mesh_id, next_mseq in rows:
                store.set_next_mseq(tx, mesh_id, next_mseq)

        node.db.submit(work)
