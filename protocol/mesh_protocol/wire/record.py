"""`NamedTuple` without `typing`, whose import alone would cost every short command 7 ms; type checkers see the real one.

A class that uses it needs `from __future__ import annotations`: its annotations are read as names only.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:
    from collections import namedtuple

    class _Named(type):
        def __new__(mcs, name, bases, space):
            if not bases:
                return super().__new__(mcs, name, bases, space)
            fields = list(space.pop("__annotations__", ()))
            defaults = [space.pop(field) for field in fields if field in space]
            record = namedtuple(name, fields, defaults=defaults, module=space.pop("__module__"))
            for key, value in space.items():
                setattr(record, key, value)
            return record

    class NamedTuple(metaclass=_Named):
        """An immutable record: fields in order, defaults last."""
