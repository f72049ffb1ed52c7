"""One daemon a home, and how its socket is born."""

import errno
import fcntl
import json
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from meshd import instance as instance_module
from meshd.instance import AlreadyRunning, Instance, bind_socket, hold, read_holder
from meshd.local_disk import NotLocal, check_wal, current_kind, filesystem_kind
from meshd.paths import Paths, prepare, resolve
from meshd.private_files import NotPrivate

HOLDER = """
import os, sys, signal
from meshd.paths import prepare, resolve
from meshd.instance import bind_socket, hold
paths = resolve(os.environ, sys.platform, os.geteuid())
place = prepare(paths)
held = hold(paths, "9.9")
listener = bind_socket(held, place, os.urandom)
print("ready", flush=True)
signal.pause()
"""


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    found = resolve({"MESH_HOME": str(tmp_path / "home")}, "linux", os.geteuid())
    prepare(found)
    return found


@contextmanager
def other_daemon(paths: Paths) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        env={"MESH_HOME": str(paths.data), "PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        assert select.select([process.stdout], [], [], 20)[0]
        assert process.stdout.readline() == b"ready\n"
        yield process
    finally:
        process.kill()
        process.stdout.close()
        process.wait(10)


def born(paths: Paths) -> tuple[Instance, socket.socket]:
    held = hold(paths, "0.1")
    return held, bind_socket(held, prepare(paths), os.urandom)


def connect(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
        return True


def test_a_second_daemon_learns_who_runs(paths: Paths) -> None:
    with other_daemon(paths) as first:
        with pytest.raises(AlreadyRunning) as caught:
            hold(paths, "0.1")
        refused = caught.value
        assert (refused.pid, refused.home, refused.version) == (first.pid, str(paths.data), "9.9")
        assert refused.exit_status == 75
        assert str(first.pid) in str(refused)
        assert connect(paths.run / "sock")


def test_kill_9_frees_the_lock_and_the_stale_socket_is_replaced(paths: Paths) -> None:
    with other_daemon(paths) as first:
        first.send_signal(signal.SIGKILL)
        first.wait(10)
    assert (paths.run / "sock").exists()
    assert not connect(paths.run / "sock")
    held, listener = born(paths)
    with listener:
        assert connect(paths.run / "sock")
        assert read_holder(paths).pid == os.getpid()
    held.release()


def test_a_child_does_not_inherit_the_lock(paths: Paths) -> None:
    held = hold(paths, "0.1")
    script = "import sys; print('up', flush=True); sys.stdin.read()"
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        assert select.select([child.stdout], [], [], 20)[0]
        held.release()
        hold(paths, "0.1").release()
    finally:
        child.stdin.close()
        child.stdout.close()
        child.wait(10)


def test_a_release_takes_the_socket_away_and_frees_the_lock(paths: Paths) -> None:
    held, listener = born(paths)
    listener.close()
    held.release()
    held.release()
    assert not (paths.run / "sock").exists()
    hold(paths, "0.1").release()


def test_a_release_leaves_a_successors_socket_alone(paths: Paths) -> None:
    held, listener = born(paths)
    listener.close()
    (paths.run / "sock").unlink()
    with socket.socket(socket.AF_UNIX) as successor:
        successor.bind(str(paths.run / "sock"))
        held.release()
        assert (paths.run / "sock").exists()


def test_a_socket_that_answers_is_not_replaced(paths: Paths) -> None:
    held = hold(paths, "0.1")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(paths.run / "sock"))
        other.listen(1)
        for _ in range(4):  # the last ones find a full backlog
            with pytest.raises(AlreadyRunning) as caught:
                bind_socket(held, prepare(paths), os.urandom)
            assert caught.value.pid in (os.getpid(), None)
    held.release()


@pytest.mark.parametrize("kind", ["file", "link", "directory"])
def test_what_is_no_socket_is_not_replaced(paths: Paths, kind: str) -> None:
    planted = paths.run / "sock"
    if kind == "file":
        planted.write_bytes(b"mine")
    elif kind == "link":
        planted.symlink_to(paths.config)
    else:
        planted.mkdir()
    held = hold(paths, "0.1")
    with pytest.raises(NotPrivate, match="is not a socket; remove it"):
        bind_socket(held, prepare(paths), os.urandom)
    assert os.path.lexists(planted)
    held.release()


def test_leftovers_of_a_birth_that_crashed_are_removed(paths: Paths) -> None:
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(paths.run / "sock.deadbeef"))
    held, listener = born(paths)
    listener.close()
    assert {path.name for path in paths.run.iterdir()} == {"sock", "where"}
    held.release()


def test_the_socket_is_0600_at_every_instant_of_its_birth(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread looks at everything that appears in the directory, as fast as it can, over many births."""
    seen: set[int] = set()
    births, stop = 0, threading.Event()

    def watch() -> None:
        nonlocal births
        while not stop.is_set():
            for entry in os.scandir(paths.run):
                if entry.name.startswith("sock"):
                    try:
                        seen.add(stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode))
                    except FileNotFoundError:
                        continue
                    births += entry.name != "sock"

    # The kernel makes the node in bind; it is looked at right then as well, before anybody could mend it.
    real = socket.socket.bind

    def bind(self: socket.socket, address: str) -> None:
        real(self, address)
        seen.add(stat.S_IMODE(os.stat(address).st_mode))
        os.sched_yield()

    monkeypatch.setattr(instance_module.socket.socket, "bind", bind)
    before = os.umask(0)
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        held = hold(paths, "0.1")
        for _ in range(200):
            bind_socket(held, prepare(paths), os.urandom).close()
        assert os.umask(0) == 0, "the umask was put back"
    finally:
        stop.set()
        watcher.join(10)
        os.umask(before)
    held.release()
    assert births > 0
    assert seen == {0o600}


def test_the_listener_is_ready_for_an_event_loop(paths: Paths) -> None:
    held, listener = born(paths)
    with listener:
        assert listener.getblocking() is False
        assert not os.get_inheritable(listener.fileno())
        with pytest.raises(BlockingIOError):
            listener.accept()
    held.release()


def test_a_path_too_long_for_the_system_works_through_a_descriptor(tmp_path: Path) -> None:
    home = tmp_path / ("x" * 120) / ("y" * 120)
    paths = resolve({"MESH_HOME": str(home)}, "linux", os.geteuid())
    place = prepare(paths)
    assert place.through_descriptor
    held, listener = born(paths)
    recorded = paths.where.read_bytes().splitlines()[0]
    assert recorded == os.fsencode(paths.run / "sock")
    directory = os.open(os.path.dirname(recorded), os.O_RDONLY | os.O_DIRECTORY)
    with listener, socket.socket(socket.AF_UNIX) as client:
        client.connect(f"/proc/self/fd/{directory}/sock")
        accepted, _ = listener.accept()
        accepted.close()
    os.close(directory)
    assert stat.S_IMODE((paths.run / "sock").stat().st_mode) == 0o600
    held.release()
    assert not (paths.run / "sock").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"pid": "x", "home": 3}', b"\xff" * 100, b"x" * 5000])
def test_a_lock_file_of_garbage_still_tells_the_second_that_there_is_a_first(paths: Paths, content: bytes) -> None:
    held = hold(paths, "0.1")
    paths.lock.write_bytes(content)
    with pytest.raises(AlreadyRunning) as caught:
        hold(paths, "0.1")
    assert caught.value.home == str(paths.data)
    assert caught.value.pid is None
    held.release()


def test_a_planted_lock_is_refused(paths: Paths, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    paths.lock.symlink_to(victim)
    with pytest.raises(NotPrivate):
        hold(paths, "0.1")
    assert victim.read_bytes() == b"precious"


def test_a_lock_file_replaced_while_waiting_is_not_believed(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    real = fcntl.flock
    replaced = []

    def flock(descriptor: int, operation: int) -> None:
        if not replaced:
            paths.lock.unlink()
            replaced.append(True)
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    held = hold(paths, "0.1")
    with pytest.raises(AlreadyRunning):
        hold(paths, "0.1")
    held.release()


MOUNTINFO = b"""\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
31 27 0:40 / /home rw,relatime shared:1 master:2 - nfs4 server:/home rw
32 31 0:41 / /home/ada/local\\040disk rw - xfs /dev/sdb rw
33 27 0:42 / /mnt rw - ext4 /dev/sdc rw
34 27 0:43 / /mnt rw - fuse.sshfs host: rw
broken line
"""


@pytest.mark.parametrize(
    ("directory", "kind"),
    [
        ("/var/lib", "ext4"),
        ("/home", "nfs4"),
        ("/home/ada/x", "nfs4"),
        ("/homeless", "ext4"),
        ("/home/ada/local disk/x", "xfs"),
        ("/mnt/x", "fuse.sshfs"),
    ],
)
def test_the_mount_table_names_the_filesystem(directory: str, kind: str) -> None:
    assert filesystem_kind(Path(directory), MOUNTINFO) == kind


def test_the_mount_table_of_this_machine_is_read(tmp_path: Path) -> None:
    kind = current_kind(tmp_path)
    assert kind is not None
    told = subprocess.run(["stat", "-f", "-c", "%T", str(tmp_path)], capture_output=True, text=True, check=True)
    assert kind in told.stdout.strip().split("/") or kind.startswith(told.stdout.strip().split("/")[0][:3])


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse", "fuseblk", "fuse.sshfs", "virtiofs"])
def test_a_home_that_is_not_on_a_local_disk_is_refused(paths: Paths, kind: str) -> None:
    with pytest.raises(NotLocal) as caught:
        hold(paths, "0.1", kind_of=lambda directory: kind)
    assert str(caught.value) == (
        f"MESH_HOME must be on a local disk: keys and WAL are not safe there; set MESH_HOME ({paths.data} is on {kind})"
    )
    assert caught.value.exit_status == 78
    assert not paths.lock.exists()


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "apfs", None])
def test_a_local_disk_is_taken(paths: Paths, kind: str | None) -> None:
    hold(paths, "0.1", kind_of=lambda directory: kind).release()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_filesystem_without_locks_is_refused(paths: Paths, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(NotLocal, match="set MESH_HOME"):
        hold(paths, "0.1")


def test_the_wal_probe_passes_here_and_leaves_nothing(tmp_path: Path) -> None:
    check_wal(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_sqlite_cannot_keep_a_wal_is_refused_and_the_lock_is_free_again(paths: Paths) -> None:
    # A directory in the way of the shared-memory file is what a filesystem without shared mappings looks like.
    blocker = paths.data / "wal-probe.db-shm"
    (blocker / "full").mkdir(parents=True)
    with pytest.raises(NotLocal, match=r"set MESH_HOME"):
        hold(paths, "0.1")
    (blocker / "full").rmdir()
    blocker.rmdir()
    hold(paths, "0.1").release()


def test_the_lock_file_tells_pid_version_and_home(paths: Paths) -> None:
    held = hold(paths, "0.1")
    assert json.loads(paths.lock.read_bytes()) == {"pid": os.getpid(), "version": "0.1", "home": str(paths.data)}
    assert stat.S_IMODE(paths.lock.stat().st_mode) == 0o600
    held.release()
