"""A text that announces files: their names, sizes and digests. The bytes are not in the message.

```
content      = lst(text, entry, …)          under the content type CONTENT_TYPE, in a message of kind `text`
entry        = lst(name, size, digest)      name: UTF-8; size: u64; digest: SHA-256 of the bytes
```
"""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from mesh_protocol.pae import (
    MAX_INT,
    BadEncoding,
    lst,
    read_text,
    read_u64,
    require_number,
    require_size,
    require_text,
    text_bytes,
    u64,
    unlst,
    unlst_exactly,
)

CONTENT_TYPE = "mesh/text-and-files"
MAX_FILES = 16
MAX_NAME = 255
DIGEST_SIZE = 32


class Attachment(NamedTuple):
    """A file as its sender announced it. `name` is no path and has no control characters."""

    name: str
    size: int
    digest: bytes

    def encode(self) -> bytes:
        """Raises BadEncoding for a name, size or digest that no announcement may have."""
        _require(self)
        return lst(text_bytes(self.name), u64(self.size), self.digest)


def pack_text(text: str, attachments: Sequence[Attachment]) -> bytes:
    """The content of a text that announces 1 to 16 files. Raises BadEncoding."""
    require_number(len(attachments), 1, MAX_FILES, "the number of files")
    return lst(text_bytes(text), *(each.encode() for each in attachments))


def unpack_text(content: bytes) -> tuple[str, tuple[Attachment, ...]]:
    """The text and the files it announces. Raises BadEncoding."""
    items = unlst(content, max_items=1 + MAX_FILES)
    require_number(len(items), 2, 1 + MAX_FILES, "the number of parts")
    attachments = []
    for item in items[1:]:
        name, size, digest = unlst_exactly(item, 3)
        found = Attachment(read_text(name), read_u64(size), digest)
        _require(found)
        attachments.append(found)
    return read_text(items[0]), (*attachments,)


def _require(attachment: Attachment) -> None:
    name = attachment.name
    require_text(name, 1, MAX_NAME, "a file's name")
    if name in (".", "..") or any(c in "/\\" or unicodedata.category(c)[0] == "C" for c in name):
        raise BadEncoding("a file's name is a path, or holds control characters")
    require_number(attachment.size, 0, MAX_INT, "a file's size")
    require_size(attachment.digest, DIGEST_SIZE, "a file's digest")
