"""Names of members and meshes: their normal form, and their seal under the mesh's name key (crypto design 2.4, 2.18).

The broker and the chain see sealed names only, all of one size. A name never decides whether a record is valid:
normal forms differ between Unicode versions.
"""

import unicodedata

from mesh_protocol.chain import SALT_SIZE
from mesh_protocol.ids import MEMBER_ID_SIZE, MemberId
from mesh_protocol.keys import AEAD_TAG_SIZE, NONCE_SIZE, aead_open, aead_seal
from mesh_protocol.padding import bucket, pad, require_padding
from mesh_protocol.pae import BadEncoding, lst, pae, read_text, require_size, split_items, text_bytes

MAX_MEMBER_NAME = 32
MAX_MESH_NAME = 48
MAX_NAME_BYTES = 240
"""UTF-8 bytes of a name that still fit the one bucket of 256 with its two length words."""

_MARKS = frozenset("-_.")


def check_name(name: str) -> str:
    """The normal form (NFKC) of a member's name. Raises BadEncoding: 1 to 32 letters, digits, `-`, `_`, `.`."""
    normal = unicodedata.normalize("NFKC", name)
    if not 1 <= len(normal) <= MAX_MEMBER_NAME:
        raise BadEncoding(f"a name must have 1 to {MAX_MEMBER_NAME} characters: choose another")
    if not all(char in _MARKS or _is_word(char) for char in normal):
        raise BadEncoding("a name may hold letters, digits, '-', '_' and '.': choose another")
    return normal


def check_mesh_name(name: str) -> str:
    """The normal form (NFKC) of a mesh's name: as a member's, and single spaces inside, up to 48 characters."""
    normal = unicodedata.normalize("NFKC", name)
    if not 1 <= len(normal) <= MAX_MESH_NAME or normal != " ".join(normal.split()):
        raise BadEncoding(
            f"a mesh name must have 1 to {MAX_MESH_NAME} characters and no blanks at its ends: choose another"
        )
    if not all(char in _MARKS or char == " " or _is_word(char) for char in normal):
        raise BadEncoding("a mesh name may hold letters, digits, blanks, '-', '_' and '.': choose another")
    return normal


def compare_form(name: str) -> str:
    """The form in which two names are compared: equal names differ in case and width at most."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _is_word(char: str) -> bool:
    category = unicodedata.category(char)
    return category.startswith("L") or category == "Nd"


def member_subject(member_id: MemberId, salt: bytes) -> bytes:
    """What a member's name is bound to: the member, and by genesis' salt the mesh."""
    require_size(member_id, MEMBER_ID_SIZE, "member_id")
    require_size(salt, SALT_SIZE, "salt")
    return member_id + salt


def seal_name(name_key: bytes, subject: bytes, name: str, nonce: bytes) -> bytes:
    """296 bytes: `nonce` (24 random bytes) and the padded name under the mesh's name key (32 bytes).

    `subject` is genesis' salt for the mesh's own name, `member_subject` for a member's.
    """
    return nonce + aead_seal(name_key, nonce, _bound(subject), pack_name(name))


def open_name(name_key: bytes, subject: bytes, sealed: bytes) -> str:
    """The name. Raises BadCiphertext when it was sealed under another key or for another subject, or BadEncoding.

    What comes back has no control or format characters; whether it is in normal form, `check_name` says.
    """
    if len(sealed) != NONCE_SIZE + bucket(0) + AEAD_TAG_SIZE:
        raise BadEncoding("a sealed name has a size that none has")
    nonce, ciphertext = sealed[:NONCE_SIZE], sealed[NONCE_SIZE:]
    return unpack_name(aead_open(name_key, nonce, _bound(subject), ciphertext))


def _bound(subject: bytes) -> bytes:
    return pae("name", subject)


def pack_name(name: str) -> bytes:
    """A name padded to 256 bytes, so that its size tells nothing. Raises BadEncoding for what may not be shown."""
    data = text_bytes(name)
    _require_showable(name, data)
    return pad(lst(data))


def unpack_name(padded: bytes) -> str:
    """The name that `pack_name` padded. Raises BadEncoding."""
    (data,), used = split_items(padded, 1)
    require_padding(padded, used)
    name = read_text(data)
    _require_showable(name, data)
    return name


def _require_showable(name: str, data: bytes) -> None:
    if not 1 <= len(data) <= MAX_NAME_BYTES:
        raise BadEncoding(f"a name must have 1 to {MAX_NAME_BYTES} bytes of UTF-8")
    # Categories C* are control, format (among them the bidirectional ones), surrogate, private and unassigned.
    if any(unicodedata.category(char)[0] == "C" or char in "\u2028\u2029" for char in name):
        raise BadEncoding("a name holds characters that must not be shown")
