"""What a stored message says: a text, and the files it announces. Between the signed content and the store's columns.

A plain text is stored as it is. One that announces files is stored behind a byte that no UTF-8 text can begin with.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from mesh_protocol.attachments import CONTENT_TYPE, Attachment, pack_text, unpack_text
from mesh_protocol.pae import BadEncoding

PLAIN: Final = "text/plain"
_MARK: Final = b"\xff"


class Said(NamedTuple):
    """The text of a message and the files it announces."""

    text: str
    attachments: tuple[Attachment, ...] = ()


def keep_said(text: str, attachments: Sequence[Attachment]) -> bytes:
    """The stored form of what is to be sent. Raises BadEncoding for a file that cannot be announced."""
    return _MARK + pack_text(text, attachments) if attachments else text.encode()


def content_of(stored: bytes) -> tuple[str, bytes]:
    """Content type and content, as they are signed."""
    return (CONTENT_TYPE, stored[1:]) if stored.startswith(_MARK) else (PLAIN, stored)


def keep_content(content_type: str, content: bytes) -> bytes:
    """The stored form of what arrived. What does not keep to its type is kept, and read as the text it is not."""
    if content_type != CONTENT_TYPE:
        return content
    try:
        unpack_text(content)
    except BadEncoding:
        return content
    return _MARK + content


def read_said(stored: bytes) -> Said:
    """What a stored message says."""
    if not stored.startswith(_MARK):
        return Said(stored.decode("utf-8", "replace"))
    try:
        return Said(*unpack_text(stored[1:]))
    except BadEncoding:
        return Said(stored[1:].decode("utf-8", "replace"))


def announce(said: Said) -> str:
    """The text as an agent is shown it: with a line for each file."""
    lines = [f"[announces a file: {each.name}, {each.size} bytes]" for each in said.attachments]
    return "\n".join([said.text, *lines])
