"""What a daemon is: one device key, one key for its own database, and how often it has started."""

from dataclasses import dataclass
from typing import NewType, NoReturn

from mesh_protocol.ids import DeviceId
from mesh_protocol.keys import SigningKey

StoreKey = NewType("StoreKey", bytes)
"""32 bytes: LK, under which columns of the local database are sealed (columns.py)."""


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """The private side of this device. It prints its public key only, and is neither copied nor pickled."""

    device: SigningKey
    store_key: StoreKey
    generation: int
    """Rises by one at each start; a broker that has seen a higher one refuses this device as a clone."""

    @property
    def device_id(self) -> DeviceId:
        return self.device.public

    def __repr__(self) -> str:
        return f"Identity(device={self.device_id.hex()[:16]}, generation={self.generation})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an identity is not copied or pickled")
