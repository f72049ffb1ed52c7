"""Messages and digests as a session is to read them, whatever way they take."""

from collections.abc import Sequence
from dataclasses import dataclass

from meshd.claude.frame import Framed, Sender, frame_message
from meshd.claude.marks import Mark
from meshd.contents import announce
from meshd.deliver.digest import MAX_NAMED, Line, write_digest
from meshd.node import Node
from meshd.reading import Reading
from meshd.store.inbox import InboxRow
from meshd.verified import VERIFIED


@dataclass(frozen=True, slots=True)
class Framer:
    """Opens the stored text, names its verified sender, and puts both in the frame."""

    node: Node
    reading: Reading

    def sender_of(self, row: InboxRow) -> Sender:
        """The message's author; its mesh too where this machine has several."""
        mesh = self.node.meshes[row.mesh]
        said = mesh.slug if len(self.node.meshes) > 1 else None
        verified = self.node.pins.standing(mesh, row.from_member) == VERIFIED
        return Sender(mesh.name_of(row.from_member), row.from_session or None, said, row.origin, verified)

    def frame(self, row: InboxRow, mark: Mark) -> Framed:
        """One message."""
        return frame_message(self.sender_of(row), row.msg_id.hex(), mark, announce(self.reading.said_by(row)))

    def digest(self, rows: Sequence[InboxRow], mark: Mark) -> Framed:
        """Many, oldest first, of which nobody is shown one by it."""
        texts = [self.reading.text_of(row) for row in rows[:MAX_NAMED]]
        texts += [""] * (len(rows) - len(texts))
        lines = [Line(row.msg_id.hex(), self.sender_of(row), text) for row, text in zip(rows, texts, strict=True)]
        return write_digest(lines, mark)
