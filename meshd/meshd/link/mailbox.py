"""The numbers of our mailbox: a broker that counts lower than we have seen was restored from a backup."""

import apsw

from meshd.log import Id, get_logger
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.store import meshes as store
from meshd.store.outbox import offer_again

log = get_logger("link")


def least_next(mesh: Mesh) -> int:
    """What the broker numbers next, at least, if it has lost nothing: asked before it says so, because mail that comes
    behind its answer may be here before the answer is looked at."""
    return max(mesh.row.next_mseq, mesh.heard_mseq + 1)


async def check_mailbox(node: Node, mesh: Mesh, least: int, next_mseq: int, *, broker_lost: bool) -> None:
    """Note what a broker says that it numbers next. Lower than `least`, it is said, and lived with, because what was
    committed here is recognised by its ids. `broker_lost`: it had lost records of the chain, so it lost mail as well."""
    went_back = next_mseq < least
    if went_back:
        log.error("the broker's mailbox went back", mesh=Id(mesh.id))
        mesh.doubts.mailbox_ms = node.now()
        node.events.publish("broker_rollback", mesh=mesh.slug)
        mesh.heard_mseq = next_mseq - 1
    else:
        mesh.heard_mseq = max(mesh.heard_mseq, next_mseq - 1)
    lost = broker_lost or went_back
    number = mesh.heard_mseq + 1
    mesh.row = mesh.row._replace(next_mseq=number)
    mesh.replace_onetime |= lost  # of those that lie there some were given out already

    def work(tx: apsw.Connection) -> None:
        store.set_next_mseq(tx, mesh.id, number)
        if lost:  # what it accepted since its backup may be gone: its repeats are known there, or they are not
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
