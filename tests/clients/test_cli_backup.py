"""Passphrases as commands take them, and a backup's file as it is written: whole, private, and over nothing."""

import errno
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mesh_clients.cli import parcel
from mesh_clients.cli.secrets import MAX_PASSPHRASE, Passphrases
from mesh_protocol.wire.errors import MeshError


def given_by(data: bytes) -> int:
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    return reading


def test_a_descriptor_gives_one_passphrase_a_line_in_the_order_they_are_asked_for():
    descriptor = given_by("old one\n new ü \r\nlast".encode())
    passphrases = Passphrases(descriptor)
    assert [passphrases.ask("it"), passphrases.ask("it", twice=True), passphrases.ask("it")] == [
        "old one",
        " new ü ",
        "last",
    ]
    with pytest.raises(MeshError, match="there is no it to read"):
        passphrases.ask("it")
    os.close(descriptor)


@pytest.mark.parametrize(
    ("data", "why"),
    [(b"\n", "no it to read"), (b"\xff\xfe\n", "not UTF-8"), (b"x" * (MAX_PASSPHRASE + 2), "longer than")],
)
def test_what_is_no_passphrase_is_refused_and_not_repeated(data: bytes, why: str):
    with pytest.raises(MeshError, match=why) as caught:
        Passphrases(given_by(data)).ask("it")
    assert "xxx" not in str(caught.value)


def test_the_longest_passphrase_may_be_followed_by_a_line_break_and_another():
    for end in (b"\n", b"\r\n"):
        passphrases = Passphrases(given_by(b"x" * MAX_PASSPHRASE + end + b"next"))
        assert [passphrases.ask("it"), passphrases.ask("it")] == ["x" * MAX_PASSPHRASE, "next"]


def test_a_descriptor_that_is_not_open_is_said():
    descriptor = given_by(b"")
    os.close(descriptor)
    with pytest.raises(MeshError, match="cannot be read from descriptor"):
        Passphrases(descriptor).ask("it")


ASK = "from mesh_clients.cli.secrets import Passphrases\nprint('got', Passphrases().ask('it', twice=True))"


@pytest.mark.parametrize(
    ("first", "second", "end"),
    [("one two", "one two", "got one two"), ("one two", "one too", "the two differ"), ("", "", "no it was typed")],
)
def test_on_a_terminal_a_new_passphrase_is_typed_twice_and_never_shown(first: str, second: str, end: str):
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", ASK])
    said = b""
    for prompt, typed in ((b"it (not shown): ", first), (b"once more: ", second)):
        while prompt not in said:
            said += os.read(terminal, 4096)
        if b"not shown" in prompt:
            assert first.encode() not in said or not first
        os.write(terminal, typed.encode() + b"\n")
        if not typed:
            break
    try:
        while piece := os.read(terminal, 4096):
            said += piece
    except OSError:
        pass  # the other end is gone
    os.waitpid(pid, 0)
    os.close(terminal)
    assert end.encode() in said
    assert said.count(b"one t") == end.count("got one t")


def test_the_end_of_input_on_a_terminal_is_nothing_typed():
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", ASK])
    said = b""
    while b"it (not shown): " not in said:
        said += os.read(terminal, 4096)
    os.write(terminal, b"\x04")
    try:
        while piece := os.read(terminal, 4096):
            said += piece
    except OSError:
        pass  # the other end is gone
    os.waitpid(pid, 0)
    os.close(terminal)
    assert b"no it was typed" in said
    assert b"EOFError" not in said


def test_a_backup_is_written_whole_private_and_over_nothing(tmp_path: Path):
    path = tmp_path / "backup"
    parcel.write(str(path), b"content", force=False)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"content", 0o600)
    with pytest.raises(MeshError, match="is there already"):
        parcel.write(str(path), b"other", force=False)
    assert path.read_bytes() == b"content"
    parcel.write(str(path), b"other", force=True)
    assert parcel.read(str(path)) == b"other"
    assert [each.name for each in tmp_path.iterdir()] == ["backup"]


def test_on_a_stick_that_knows_no_hard_links_a_backup_is_written_too_and_over_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(place: str, path: str) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")  # what link(2) says on vfat

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "backup"
    parcel.write(str(path), b"content", force=False)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"content", 0o600)
    with pytest.raises(MeshError, match="is there already"):
        parcel.write(str(path), b"other", force=False)
    assert path.read_bytes() == b"content"
    assert [each.name for each in tmp_path.iterdir()] == ["backup"]


def test_a_link_is_neither_followed_nor_replaced_unasked(tmp_path: Path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"precious")
    link.symlink_to(target)
    for attempt in (
        lambda: parcel.require_new(str(link), force=False),
        lambda: parcel.write(str(link), b"x", force=False),
    ):
        with pytest.raises(MeshError, match="is there already"):
            attempt()
    parcel.write(str(link), b"x", force=True)
    assert (target.read_bytes(), link.read_bytes(), link.is_symlink()) == (b"precious", b"x", False)


def test_where_no_file_can_be_nothing_is_asked_and_nothing_is_left(tmp_path: Path):
    for path, force in ((tmp_path, True), (tmp_path / "gone" / "backup", False)):
        with pytest.raises(MeshError):
            parcel.require_new(str(path), force=force)
    with pytest.raises(MeshError, match="cannot be written"):
        parcel.write(str(tmp_path / "gone" / "backup"), b"x", force=False)
    assert [*tmp_path.iterdir()] == []


def test_a_full_disk_leaves_no_part_of_a_file(tmp_path: Path):
    script = (
        "import resource, signal, sys\n"
        "from mesh_clients.cli import parcel\n"
        "from mesh_protocol.wire.errors import MeshError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    parcel.write(sys.argv[1], bytes(5000), force=False)\n"
        "except MeshError as error:\n"
        "    print(error.message)\n"
    )
    command = [sys.executable, "-B", "-c", script, str(tmp_path / "backup")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "cannot be written" in done.stdout
    assert [*tmp_path.iterdir()] == []


def test_what_is_no_file_or_too_large_is_not_read(tmp_path: Path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(MeshError, match="is not a file"):
        parcel.read(str(tmp_path / "fifo"))
    large = tmp_path / "large"
    large.touch()
    os.truncate(large, parcel.MAX_BYTES + 1)
    with pytest.raises(MeshError, match="the limit is"):
        parcel.read(str(large))
