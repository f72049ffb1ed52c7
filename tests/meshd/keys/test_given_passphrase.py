"""The passphrase that a start is given: by a descriptor or as a credential; and everything that may be wrong with it."""

import os
from pathlib import Path

import pytest

from meshd.keys import passphrase as module
from meshd.keys.argon2 import PASSPHRASE_LIMIT
from meshd.keys.passphrase import CREDENTIAL, Given


def read_given(descriptor: int | None, environ: dict[str, str]) -> Given:
    return module.read_given(descriptor, environ, lambda: 0)


def given_by(data: bytes) -> int:
    """The reading end of a pipe that holds this and is at its end."""
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    return reading


@pytest.mark.parametrize("data", [b"correct horse", b"correct horse\n", b"correct horse\r\n", b"correct horse\nmore"])
def test_a_descriptor_gives_its_first_line_and_is_closed(data: bytes) -> None:
    descriptor = given_by(data)
    assert read_given(descriptor, {}) == (bytearray(b"correct horse"), "")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_blanks_belong_to_a_passphrase() -> None:
    assert read_given(given_by(b"  a b  \n"), {}).passphrase == b"  a b  "


@pytest.mark.parametrize("data", [b"", b"\n", b"\r\n"])
def test_an_empty_descriptor_is_no_passphrase_and_is_said(data: bytes) -> None:
    given = read_given(given_by(data), {})
    assert given.passphrase is None
    assert "holds no passphrase" in given.note


def test_too_long_a_passphrase_is_none() -> None:
    given = read_given(given_by(b"x" * (PASSPHRASE_LIMIT + 1)), {})
    assert given.passphrase is None
    assert "more than a passphrase may have" in given.note
    assert read_given(given_by(b"x" * PASSPHRASE_LIMIT), {}).passphrase == b"x" * PASSPHRASE_LIMIT


def test_a_descriptor_that_is_not_open_or_is_a_standard_stream_is_said() -> None:
    closed = given_by(b"")
    os.close(closed)
    assert "could not be read" in read_given(closed, {}).note
    assert "standard streams" in read_given(0, {}).note
    assert "standard streams" in read_given(-1, {}).note


def test_a_writer_who_never_writes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.05)
    reading, writing = os.pipe()
    given = read_given(reading, {})
    os.close(writing)
    assert given.passphrase is None
    assert "gave no passphrase within" in given.note


def test_the_credential_of_the_service_is_read(tmp_path: Path) -> None:
    (tmp_path / CREDENTIAL).write_bytes(b"correct horse\n")
    assert read_given(None, {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == (bytearray(b"correct horse"), "")
    assert read_given(given_by(b"the other"), {"CREDENTIALS_DIRECTORY": str(tmp_path)}).passphrase == b"the other"


def test_a_service_with_other_credentials_or_none_is_given_nothing(tmp_path: Path) -> None:
    assert read_given(None, {}) == (None, "")
    assert read_given(None, {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == (None, "")


def test_a_credential_that_is_no_file_is_said_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / CREDENTIAL)
    assert read_given(None, {"CREDENTIALS_DIRECTORY": str(tmp_path)}).note.endswith("is not a file")
    (tmp_path / CREDENTIAL).unlink()
    (tmp_path / CREDENTIAL).mkdir()
    assert read_given(None, {"CREDENTIALS_DIRECTORY": str(tmp_path)}).note.endswith("is not a file")
