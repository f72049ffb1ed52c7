"""Sealed columns open only in their own place."""

import pytest

from mesh_protocol.keys import BadCiphertext
from mesh_protocol.pae import BadEncoding
from meshd.columns import open_column, seal_column

KEY = bytes(range(32))
NONCE = bytes(range(24))
SEALED = seal_column(KEY, "inbox", "body", b"row", b"plaintext", NONCE)


def test_a_sealed_column_opens_in_its_place() -> None:
    assert open_column(KEY, "inbox", "body", b"row", SEALED) == b"plaintext"
    assert SEALED[:24] == NONCE
    assert len(SEALED) == len(b"plaintext") + 40


@pytest.mark.parametrize(
    ("key", "table", "column", "row"),
    [
        (bytes(32), "inbox", "body", b"row"),
        (KEY, "outbox", "body", b"row"),
        (KEY, "inbox", "name", b"row"),
        (KEY, "inbox", "body", b"row2"),
        (KEY, "inboxb", "ody", b"row"),
        (KEY, "inbox", "bodyr", b"ow"),
    ],
)
def test_a_sealed_column_opens_nowhere_else(key: bytes, table: str, column: str, row: bytes) -> None:
    with pytest.raises(BadCiphertext):
        open_column(key, table, column, row, SEALED)


@pytest.mark.parametrize("at", [0, 23, 24, len(SEALED) - 17, len(SEALED) - 1])
def test_an_altered_column_is_refused(at: int) -> None:
    altered = bytearray(SEALED)
    altered[at] ^= 1
    with pytest.raises(BadCiphertext):
        open_column(KEY, "inbox", "body", b"row", bytes(altered))


@pytest.mark.parametrize("size", [0, 1, 23, 24, 39])
def test_a_cut_column_is_refused(size: int) -> None:
    with pytest.raises(BadCiphertext):
        open_column(KEY, "inbox", "body", b"row", SEALED[:size])


def test_keys_and_nonces_of_the_wrong_size_are_refused() -> None:
    with pytest.raises(BadEncoding):
        seal_column(KEY[:31], "inbox", "body", b"row", b"", NONCE)
    with pytest.raises(BadEncoding):
        seal_column(KEY, "inbox", "body", b"row", b"", NONCE[:12])
