"""Random names of one surfacing: what no peer can know, so that finding it again is evidence."""

import re
import uuid
from collections.abc import Callable
from typing import NewType

Mark = NewType("Mark", str)
"""16 lower-case hex digits, new for every surfacing of a message."""
PushId = NewType("PushId", str)
"""A random UUID (version 4, RFC 9562) that names one push to an inbox socket."""

Rng = Callable[[int], bytes]

MARK_SIZE = 8
_MARK = re.compile(r"[0-9a-f]{16}")


def new_mark(rng: Rng) -> Mark:
    """A mark from 8 random bytes."""
    return Mark(rng(MARK_SIZE).hex())


def new_push_id(rng: Rng) -> PushId:
    """A push id from 16 random bytes."""
    return PushId(str(uuid.UUID(bytes=rng(16), version=4)))


def is_mark(text: str) -> bool:
    """Whether `text` has the form of a mark."""
    return _MARK.fullmatch(text) is not None
