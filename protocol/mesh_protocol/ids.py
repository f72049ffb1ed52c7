"""Typed identifiers. All are raw bytes; the type says which length and meaning they have."""

from typing import NewType

MeshId = NewType("MeshId", bytes)
"""32 bytes: SHA-256 over the genesis record's PAE."""
DeviceId = NewType("DeviceId", bytes)
"""32 bytes: the device's Ed25519 public key."""
MemberId = NewType("MemberId", bytes)
"""16 random bytes chosen by whoever admits the member."""
MsgId = NewType("MsgId", bytes)
"""16 random bytes chosen by the sending daemon; the same for every recipient of one message."""
InviteId = NewType("InviteId", bytes)
"""32 bytes: the hash of the chain record that opened the invite."""

MESH_ID_SIZE = 32
DEVICE_ID_SIZE = 32
MEMBER_ID_SIZE = 16
MSG_ID_SIZE = 16
INVITE_ID_SIZE = 32
