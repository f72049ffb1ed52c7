"""Safety numbers: 60 digits by which two people see that they hold each other's keys (crypto design 2.13).

```
content = PAE("safety-number", mesh_id, lst(member_id, device ..), lst(member_id, device ..))
h_0     = content          h_n = SHA-512(h_(n-1) || content), n = 1 .. 5,200
number  = the first 60 bytes of h_5200: twelve numbers of five bytes, big endian, modulo 100,000
```

The lists stand in the order of their member ids, the devices in rising order. It is Signal's construction over both
sides at once, so both people see the same digits; whoever wants a number to collide pays the 5,200 hashes for each try.
"""

import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha512
from typing import Final

from mesh_protocol.chain_fields import require_rising
from mesh_protocol.ids import MEMBER_ID_SIZE, MESH_ID_SIZE, DeviceId, MemberId, MeshId
from mesh_protocol.pae import BadEncoding, lst, pae, require_size

ROUNDS: Final = 5_200
"""As many as Signal takes: about 5 ms, and so many for each try of an attacker."""
NUMBER_SIZE: Final = 60
_GROUP_BYTES: Final = 5
_CODE = re.compile(r"mesh://verify/1#([A-Za-z0-9_-]{80})")


@dataclass(frozen=True, slots=True)
class SafetyNumber:
    """`data` (60 bytes) stands for the key sets of two members of one mesh; what is pinned when a peer is verified."""

    data: bytes

    def __post_init__(self) -> None:
        require_size(self.data, NUMBER_SIZE, "a safety number")

    @property
    def digits(self) -> str:
        """Twelve groups of five digits, to read aloud."""
        parts = (self.data[start : start + _GROUP_BYTES] for start in range(0, NUMBER_SIZE, _GROUP_BYTES))
        return " ".join(f"{int.from_bytes(part, 'big') % 100_000:05d}" for part in parts)

    @property
    def code(self) -> str:
        """The text of the QR code: it holds the bytes themselves, more than the digits show."""
        return "mesh://verify/1#" + urlsafe_b64encode(self.data).decode("ascii")

    def matches(self, other: "SafetyNumber") -> bool:
        """Whether both are the same; compared in constant time."""
        return hmac.compare_digest(self.data, other.data)


def safety_number(
    mesh_id: MeshId, one: MemberId, ones: Collection[DeviceId], other: MemberId, others: Collection[DeviceId]
) -> SafetyNumber:
    """The number of two members with these active devices; the same from either side.

    Raises BadEncoding for ids of a wrong size, a device listed twice, a member without a device, or one with himself.
    """
    require_size(mesh_id, MESH_ID_SIZE, "mesh_id")
    if one == other:
        raise BadEncoding("a safety number is of two members: name a peer")
    sides = sorted(((one, tuple(sorted(ones))), (other, tuple(sorted(others)))))
    content = pae("safety-number", mesh_id, *(_side(member, devices) for member, devices in sides))
    digest = content
    for _ in range(ROUNDS):
        digest = sha512(digest + content).digest()
    return SafetyNumber(digest[:NUMBER_SIZE])


def _side(member: MemberId, devices: tuple[DeviceId, ...]) -> bytes:
    require_size(member, MEMBER_ID_SIZE, "member_id")
    if not devices:
        raise BadEncoding("a member without a device has no keys to compare")
    require_rising(devices)
    return lst(member, *devices)


def parse_code(text: str) -> SafetyNumber:
    """The number in a scanned code. Raises BadEncoding for anything but what `SafetyNumber.code` writes."""
    match = _CODE.fullmatch(text)
    if match is None:
        raise BadEncoding("this is not a code of mesh verify: scan the one your peer's mesh verify shows")
    return SafetyNumber(urlsafe_b64decode(match[1]))
