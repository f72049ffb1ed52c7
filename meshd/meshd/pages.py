"""As many rows as one answer holds. A caller asks for the rest: the command line does so by itself."""

from collections.abc import Iterable
from typing import Final, TypeVar

import msgspec

from mesh_protocol.op import Answer

MAX_BYTES: Final = 56 * 1024
MAX_ELEMENTS: Final = 3_800
"""Of the rows in one answer: a header holds 64 KiB and 4,096 elements, of which the rest of the answer takes some."""
MAX_BODY: Final = 900_000
"""Bytes of text in one answer; a frame's body holds 1 MiB."""

Row = TypeVar("Row", bound=Answer)


class Page:
    """The room of one answer. Two lists may share it. `beside` names a text of each row that travels in the body."""

    def __init__(self, size: int = MAX_BYTES, elements: int = MAX_ELEMENTS, *, beside: str = "") -> None:
        self._bytes = size
        self._elements = elements
        self._body = MAX_BODY
        self._beside = beside

    def take(self, rows: Iterable[Row], *, spare: int = 1) -> list[Row]:
        """The first of `rows`, as many as there is room for: one of `spare` parts of what is left."""
        taken = []
        room, elements = self._bytes // spare, self._elements // spare
        for row in rows:
            body = len(getattr(row, self._beside).encode()) if self._beside else 0
            size, count = len(msgspec.msgpack.encode(row)) - body, _count(row)
            if size > room or count > elements or body > self._body:
                break
            room, elements = room - size, elements - count
            self._bytes, self._elements, self._body = self._bytes - size, self._elements - count, self._body - body
            taken.append(row)
        return taken


def _count(row: Answer) -> int:
    """Elements of a row: itself, its names and values, and what its lists hold."""
    values = [getattr(row, name) for name in row.__struct_fields__]
    return 1 + 2 * len(values) + sum(len(value) for value in values if isinstance(value, list))
