"""Starting the daemon from a client: one starter at a time, through the user's service manager where the service is
installed, else detached, with as little of the caller's world as possible."""

import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping

from mesh_clients import ancestry, thin
from mesh_clients.holder import find_holder

HOLD_MS = 10_000
"""A start that failed is not tried again for so long."""
SECONDS = 10.0
"""How long a start may take until the socket answers; it takes half a second."""
STEP = 0.01
AGAIN = 0.1
LOG_BYTES = 10 * 1024 * 1024
REASON_BYTES = 4096
ALREADY_RUNNING = 75
ANEW = "mesh down && mesh up"
NAMES = ("PATH", "HOME", "LANG", "TZ")
PREFIXES = ("XDG_", "MESH_", "SSL_")
SESSION_ONLY = ("MESH_SESSION_FILE",)
"""Of those, what belongs to one session."""


class NotStarted(Exception):
    """No daemon could be started; the text says why and what to do."""


class Start:
    """How a daemon came to be there. `service`: the service that started it, empty for none; `trouble`: why the one that
    is installed did not."""

    __slots__ = ("service", "trouble")

    def __init__(self, service: str = "", trouble: str = "") -> None:
        self.service = service
        self.trouble = trouble


def start_daemon(
    environ: Mapping[str, str],
    home: bytes = b"",
    *,
    seconds: float = SECONDS,
    command: tuple[str, ...] = (),
    asked_for: bool = False,
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> Start:
    """Start a daemon for `home` (or the environment's own) and wait until its socket answers; nothing if one runs.

    A `command` is run as it is, without any service. `asked_for`: a person wants this start, so that one which failed a
    moment ago is tried again. Raises `NotStarted`, and `thin.NotTrusted` for a home that must not be used.
    """
    data = thin.data_directory(encode_environment(environ), home)
    if serves(data, time.monotonic() + seconds):
        return Start()
    why = ancestry.refusal(environ, os.getpid())
    if why:
        raise NotStarted(why)
    make_private(data)
    lock = os.open(data + b"/start.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if not take_turn(lock, data, time.monotonic() + seconds):
            return Start()
        failed = read_failure(lock, now_ms())
        if failed and not asked_for:
            raise NotStarted(failed)
        os.ftruncate(lock, 0)
        try:
            started = Start() if command else start_service(environ, home, data, seconds)
            if not started.service:
                reduced = reduce_environment(environ, data, home)
                run_until_ready(command or daemon_command(), reduced, data, time.monotonic() + seconds)
        except NotStarted as error:
            os.pwrite(lock, f"{now_ms()} {error}"[:REASON_BYTES].encode("utf-8", "replace"), 0)
            raise
        return started
    finally:
        os.close(lock)


def start_service(environ: Mapping[str, str], home: bytes, data: bytes, seconds: float) -> Start:
    """Have the service manager start it, where the service for this home is installed. A service that does not bring a
    daemon is no reason to have none."""
    from mesh_clients.install import programs, service

    named = os.path.normpath(os.fsdecode(thin.absolute(home))) if home else programs.own_home(environ)
    found = service.find_service(environ, named)
    if not found.is_there:
        return Start()
    trouble = service.start_service(found)
    deadline = time.monotonic() + seconds
    # A manager that does not wait for readiness returns before the socket is there.
    while not trouble and not serves(data, deadline):
        if time.monotonic() > deadline:
            trouble = "it does not answer"
        time.sleep(STEP)
    return Start(trouble=trouble) if trouble else Start(found.name)


def start_quietly(home: bytes) -> int:
    """For the relay's child: exit status 0 when a daemon answers. The reason of a failure stays in the lock file."""
    try:
        start_daemon(os.environ, home)
    except (NotStarted, thin.NoDaemon, OSError):
        return 1
    return 0


def last_failure(environ: Mapping[str, str], home: bytes) -> str:
    """Why a daemon was not or could not be started here; empty when nothing is known."""
    data = thin.data_directory(encode_environment(environ), home)
    why = ancestry.refusal(environ, os.getpid())
    if why:
        return why
    try:
        lock = os.open(data + b"/start.lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return read_failure(lock, 0, hold_ms=sys.maxsize)
    finally:
        os.close(lock)


def serves(data: bytes, deadline: float) -> bool:
    """Whether a daemon accepts connections and goes on to answer: it listens before it has opened its keys and its database,
    and ends where it cannot. One that is still at it at the `deadline` is taken for one that will. Raises `thin.NotTrusted`.
    """
    from mesh_clients.build import BUILD
    from mesh_protocol.io.blocking import Client, ConnectionLost
    from mesh_protocol.wire.errors import MeshError

    try:
        with Client(thin.connect(thin.socket_path(data)), build=BUILD) as client:
            client.call("daemon.status", {}, timeout=max(STEP, deadline - time.monotonic()))
    except thin.NotTrusted:
        raise
    except (thin.NoDaemon, ConnectionLost):
        return False
    except (MeshError, TimeoutError):
        pass  # it is there, whatever it thinks of us
    return True


def take_turn(lock: int, data: bytes, deadline: float) -> bool:
    """Wait for the lock of starters: True when it is ours and there is no daemon yet, False when there is one."""
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if serves(data, deadline):
                return False
            if time.monotonic() > deadline:
                raise NotStarted("another command is starting it and is not done: try again in a moment") from None
            time.sleep(STEP)
        else:
            return not serves(data, deadline)


def read_failure(lock: int, now_ms: int, hold_ms: int = HOLD_MS) -> str:
    """The recorded failure if it is at most `hold_ms` old."""
    at, _, why = os.pread(lock, REASON_BYTES, 0).decode("utf-8", "replace").partition(" ")
    return why if at.isdecimal() and abs(now_ms - int(at)) < hold_ms else ""


def make_private(data: bytes) -> None:
    """Create the data directory with mode 0700. An empty one that others may only read is made private, as the daemon does.

    Whatever else is wrong with it is for the daemon to refuse.
    """
    try:
        os.makedirs(data, 0o700, exist_ok=True)
        if os.stat(data).st_mode & 0o077 and not os.stat(data).st_mode & 0o022 and not os.listdir(data):
            os.chmod(data, 0o700)
    except OSError as error:
        raise NotStarted(f"cannot create {os.fsdecode(data)}: {error.strerror}; set MESH_HOME") from None


def daemon_command() -> tuple[str, ...]:
    return (sys.executable, "-I", "-m", "meshd", "run")


def reduce_environment(environ: Mapping[str, str], data: bytes, home: bytes) -> dict[str, str]:
    """What the daemon may know of the caller's environment: an agent's holds keys and tokens."""
    kept = {
        name: value
        for name, value in environ.items()
        if (name in NAMES or name.startswith(PREFIXES)) and name not in SESSION_ONLY
    }
    if home or "MESH_HOME" in kept:
        kept["MESH_HOME"] = os.fsdecode(data)
    return kept


def encode_environment(environ: Mapping[str, str]) -> dict[bytes, bytes]:
    return {os.fsencode(name): os.fsencode(value) for name, value in environ.items()}


def run_until_ready(command: tuple[str, ...], environ: dict[str, str], data: bytes, deadline: float) -> None:
    """Run the daemon detached and wait until it answers. Raises `NotStarted`.

    One that finds another running ends at once; where that one is just stopping, it is run again.
    """
    log, start = open_log(data)
    try:
        while True:
            status = run_once(command, environ, log, data, deadline)
            if status is None:
                return
            if status != ALREADY_RUNNING:
                look = f"its log is {os.fsdecode(log_path(data))}"
                raise NotStarted(read_reason(data, start) or f"it ended at once with status {status}; {look}")
            time.sleep(AGAIN)
            if has_found_way(data, deadline):
                return
    finally:
        os.close(log)


def has_found_way(data: bytes, deadline: float) -> bool:
    """Wait until the daemon that holds the home answers, or holds it no more; whether it answers. Raises `NotStarted`."""
    while pid := find_holder(data):
        if serves(data, deadline):
            return True
        if time.monotonic() > deadline:
            raise NotStarted(f"pid {pid} holds this home and nobody can connect to it: {ANEW}")
        time.sleep(AGAIN)
    return False


def run_once(command: tuple[str, ...], environ: dict[str, str], log: int, data: bytes, deadline: float) -> int | None:
    """Run it once: None when a daemon answers, its exit status when it ended before. Raises `NotStarted`."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    try:
        watcher = detach(command, environ, log, writer)
    finally:
        os.close(writer)
    try:
        while not serves(data, deadline):
            status = read_status(reader)
            if status is not None:
                return status
            if time.monotonic() > deadline:
                raise NotStarted(f"it does not answer; its log is {os.fsdecode(log_path(data))}")
            time.sleep(STEP)
    finally:
        os.close(reader)
        os.kill(watcher, signal.SIGKILL)
        os.waitpid(watcher, 0)
    return None


def detach(command: tuple[str, ...], environ: dict[str, str], log: int, writer: int) -> int:
    """Run `command` in a session of its own, below a watcher that tells `writer` its exit status. Returns the watcher.

    The watcher ends with the starter; the daemon then belongs to init.
    """
    starter = os.getpid()
    watcher = os.fork()
    if watcher:
        return watcher
    try:
        os.setsid()
        daemon = os.fork()
        if daemon == 0:
            become(command, environ, log)
        while os.getppid() == starter:
            ended, status = os.waitpid(daemon, os.WNOHANG)
            if ended:
                os.write(writer, b"%d" % os.waitstatus_to_exitcode(status))
                break
            time.sleep(STEP)
    finally:
        os._exit(0)


def become(command: tuple[str, ...], environ: dict[str, str], log: int) -> None:
    """Turn this process into the daemon: no terminal, no descriptors, no folder of the caller's."""
    try:
        os.chdir("/")
        os.umask(0o077)
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.closerange(3, 65_536)
        os.execve(command[0], command, environ)  # noqa: S606 a fixed argv, without a shell
    finally:
        os._exit(127)


def read_status(reader: int) -> int | None:
    """The daemon's exit status, None while it runs."""
    try:
        said = os.read(reader, 16)
    except BlockingIOError:
        return None
    return int(said) if said else None


def log_path(data: bytes) -> bytes:
    return data + b"/logs/daemon.log"


def open_log(data: bytes) -> tuple[int, int]:
    """The daemon's log for appending, and its size now; the null device where there can be none."""
    path = log_path(data)
    try:
        os.makedirs(data + b"/logs", 0o700, exist_ok=True)
        if os.path.exists(path) and os.path.getsize(path) > LOG_BYTES:
            os.replace(path, path + b".1")
        log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        return log, os.fstat(log).st_size
    except OSError:
        return os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC), 0


def read_reason(data: bytes, start: int) -> str:
    """The last sentence that the daemon said since `start`; its JSON log lines are not sentences."""
    try:
        with open(log_path(data), "rb") as file:
            file.seek(max(start, os.fstat(file.fileno()).st_size - REASON_BYTES))
            lines = file.read(REASON_BYTES).decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    spoken = [line.strip() for line in lines if line.strip() and not line.startswith("{")]
    return spoken[-1][:500] if spoken else ""
