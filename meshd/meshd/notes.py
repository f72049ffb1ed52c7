"""What other members' daemons write to this one about the membership: of epoch keys, and that somebody wants to leave.

Verified like all mail; marked as seen here, and looked at by the mesh's link. A wish to leave is kept on the disk, because
who said it is not there to say it again; a question about keys is asked again by who still lacks them.
"""

from collections.abc import Callable
from typing import Final, TypeVar

import apsw

from mesh_protocol.envelope import SignedMessage
from mesh_protocol.io.sqlite import Pending
from meshd.lacking import Note
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.store.leavers import put_leaver

T = TypeVar("T")

KEY_REQUEST: Final = "key-request"
KEYS: Final = "keys"
LEAVE: Final = "leave"
NOTES: Final = frozenset({KEY_REQUEST, KEYS, LEAVE})
"""The kinds of mail that are such notes."""


def commit_note(node: Node, mesh: Mesh, signed: SignedMessage, mark: Callable[[apsw.Connection], T]) -> Pending[T]:
    """Queue the transaction that takes a note in; `mark` marks its envelope as seen."""
    message = signed.message
    wish = message.kind == LEAVE
    now = node.now()

    def work(tx: apsw.Connection) -> T:
        if wish:
            put_leaver(tx, mesh.id, message.from_device, message.tip.chain_seq, now)
        return mark(tx)

    def settled() -> None:
        if not pending.succeeded:
            return
        if wish:
            mesh.wishes.set()
        else:
            lacking = mesh.lacking
            notes = lacking.requests if message.kind == KEY_REQUEST else lacking.answers
            lacking.take(notes, Note(message.from_device, message.content))

    pending = node.db.submit(work)
    pending.settled(settled)
    return pending
