"""Sealed columns: what the database and the key files keep of secrets, bound to the very place they belong to.

`nonce (24) || XChaCha20-Poly1305(key, nonce, aad = PAE("store-column", table, column, row id), plaintext)`. The only
place that uses the label "store-column" (crypto design 2.3): a value moved to another row, column or table fails.
"""

from mesh_protocol.keys import NONCE_SIZE, BadCiphertext, aead_open, aead_seal
from mesh_protocol.pae import pae, text_bytes


def seal_column(key: bytes, table: str, column: str, row_id: bytes, plaintext: bytes, nonce: bytes) -> bytes:
    """The bytes to store: 40 more than `plaintext`. `key` has 32 bytes; `nonce` 24, random, never used twice."""
    return nonce + aead_seal(key, nonce, _bound(table, column, row_id), plaintext)


def open_column(key: bytes, table: str, column: str, row_id: bytes, sealed: bytes) -> bytes:
    """The plaintext. Raises BadCiphertext for altered bytes, another key, or another place."""
    if len(sealed) < NONCE_SIZE:
        raise BadCiphertext("a sealed column is shorter than its nonce")
    return aead_open(key, sealed[:NONCE_SIZE], _bound(table, column, row_id), sealed[NONCE_SIZE:])


def _bound(table: str, column: str, row_id: bytes) -> bytes:
    return pae("store-column", text_bytes(table), text_bytes(column), row_id)
