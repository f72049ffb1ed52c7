"""A device's own key for presence that not every member may read: the content of a `details` message.

```
details = lst(u64(version), key)
```

The key stands in the place of the epoch key of a live frame, and the version in the place of the epoch.
"""

from typing import NamedTuple

from mesh_protocol.keys import KEY_SIZE
from mesh_protocol.pae import BadEncoding, lst, read_u64, u64, unlst_exactly


class DetailsKey(NamedTuple):
    """A key of 32 bytes, or an empty one: there is none any more. Of two of a device the one with the higher `version`
    counts; it is epoch ms, so that it rises."""

    version: int
    key: bytes

    def __repr__(self) -> str:
        return f"DetailsKey(version={self.version})"


def encode_key(key: DetailsKey) -> bytes:
    """The content of a `details` message."""
    return lst(u64(key.version), key.key)


def decode_key(content: bytes) -> DetailsKey:
    """Raises BadEncoding."""
    version, key = unlst_exactly(content, 2)
    if len(key) not in (0, KEY_SIZE):
        raise BadEncoding("a key for details has 32 bytes, or none")
    return DetailsKey(read_u64(version), key)
