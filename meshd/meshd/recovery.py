"""The recovery key of a mesh: it may sign anything, no signer can remove it, and it belongs offline (crypto design 2.2, 2.4).

`mesh new` makes it. Its private half lies here, sealed under the store key, until it is in a backup that was read back, and
is removed from here when its person says so.
"""

from base64 import b32decode, b32encode
from typing import Final, Literal, TypeAlias

from mesh_protocol.keys import KEY_SIZE, SigningKey
from mesh_protocol.pae import BadEncoding
from meshd.link.driver import LOCAL
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.store.recovery import RecoveryRow, read_recovery

Standing: TypeAlias = Literal["", "not backed up", "backed up", "offline"]
"""Empty for a mesh whose recovery key is none of this machine's business."""

CHECK_SIZE: Final = 3
"""Bytes of the public key behind the seed: a slip of the pen passes once in 16 million times."""
GROUP: Final = 4
_PRINTED: Final = 8 * (KEY_SIZE + CHECK_SIZE) // 5
_MAX_TYPED: Final = 4 * _PRINTED
"""Characters with blanks, dashes and line breaks between."""


def print_recovery(seed: bytes) -> str:
    """The key's printed form: 14 groups of four letters and digits (RFC 4648 base32) of seed and check, for paper."""
    text = b32encode(seed + SigningKey.from_seed(seed).public[:CHECK_SIZE]).decode()
    return "-".join(text[start : start + GROUP] for start in range(0, len(text), GROUP))


def read_printed(text: str) -> bytes:
    """The 32-byte seed of a printed form, in any case, with whatever blanks and dashes. Raises BadEncoding."""
    if len(text) > _MAX_TYPED:
        raise BadEncoding("this is too long for a recovery key: it has 14 groups of four letters and digits")
    plain = "".join(text.split()).replace("-", "").upper().translate(str.maketrans("018", "OIB"))
    if len(plain) != _PRINTED:
        raise BadEncoding(f"a recovery key has {_PRINTED} letters and digits, not {len(plain)}: compare it once more")
    try:
        data = b32decode(plain)
    except ValueError:
        raise BadEncoding("a recovery key has only letters and the digits 2 to 7: compare it once more") from None
    seed, check = data[:KEY_SIZE], data[KEY_SIZE:]
    if SigningKey.from_seed(seed).public[:CHECK_SIZE] != check:
        raise BadEncoding("a letter of the recovery key is wrong: compare it once more")
    return seed


def parse_recovery(text: str) -> SigningKey:
    """The key of a printed form. Raises BadEncoding, which says what is wrong and repeats nothing of it."""
    return SigningKey.from_seed(read_printed(text))


def recovery_row(node: Node, mesh: Mesh, seed: bytes, backed_up_ms: int = 0) -> RecoveryRow:
    """The key as it is stored here."""
    return RecoveryRow(node.seal("recovery", "sealed", mesh.id, seed), backed_up_ms)


def recovery_seed(node: Node, mesh: Mesh) -> bytes | None:
    """The private half, if it is here and is the one that genesis names."""
    row = read_recovery(node.db.reader, mesh.id)
    if row is None or row.sealed is None:
        return None
    seed = node.open("recovery", "sealed", mesh.id, row.sealed)
    return seed if SigningKey.from_seed(seed).public == mesh.state.genesis.recovery_pub else None


def recovery_key(node: Node, mesh: Mesh) -> SigningKey | None:
    """The key, if its private half is here."""
    seed = recovery_seed(node, mesh)
    return None if seed is None else SigningKey.from_seed(seed)


def standing(node: Node, mesh: Mesh) -> Standing:
    """What a person should know of the mesh's recovery key. A mesh of this machine's own broker needs none: it ends with it."""
    if mesh.row.broker_url == LOCAL:
        return ""
    row = read_recovery(node.db.reader, mesh.id)
    if row is None:
        return ""
    if row.sealed is None:
        return "offline"
    return "backed up" if row.backed_up_ms else "not backed up"
