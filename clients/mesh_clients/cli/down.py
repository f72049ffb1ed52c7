"""`mesh down`: stops the daemon and returns when it is gone, so that the next command may start another."""

import os
import select
import signal
import time

from mesh_clients import discover, thin
from mesh_clients.cli.invocation import Invocation
from mesh_clients.exits import finish
from mesh_clients.render import say, word
from mesh_protocol.wire.errors import MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue

SECONDS = 20.0
STEP = 0.02


def run(called: Invocation) -> int:
    called.line.start = False
    try:
        called.connect()
    except MeshError as error:
        if error.code != "no_daemon":
            raise
        pid = end_unreached()
        if not called.as_json:
            say(f"meshd stopped (pid {pid}); nobody could connect to it" if pid else "no daemon runs")
        return finish({"stopped": bool(pid), "pid": pid or None}, as_json=called.as_json)
    answer: dict[str, JsonValue] = {"stopped": True, "pid": stop_daemon(called)}
    if not called.as_json:
        say(f"meshd stopped (pid {word(answer, 'pid')})")
    return finish(answer, as_json=called.as_json)


def stop_daemon(called: Invocation) -> "JsonValue":
    """Stop the daemon that is connected and wait for its end; its process id. Raises `MeshError`."""
    pid = called.call({}, method="daemon.status").get("pid")
    ended = watch(pid) if isinstance(pid, int) else -1
    called.call({}, method="daemon.stop")
    called.disconnect()
    if isinstance(pid, int) and not wait_for_end(pid, ended):
        raise MeshError("timeout", what="the end of the daemon", seconds=SECONDS)
    return pid


def end_unreached() -> int:
    """End a daemon that nobody can connect to and wait for its end; its pid, 0 where there is none. Raises `MeshError`."""
    from mesh_clients.holder import find_holder

    try:
        data = discover.data_directory(os.environ)
        thin.connect(thin.socket_path(data)).close()
    except thin.NotTrusted as error:
        raise MeshError("no_daemon", why=str(error)) from None
    except thin.NoDaemon:
        pass
    else:
        return 0
    pid = find_holder(data)
    ended = watch(pid) if pid else -1
    if not pid or find_holder(data) != pid:  # again, now that it cannot be another's number
        if ended >= 0:
            os.close(ended)
        return 0
    try:
        if ended >= 0:
            signal.pidfd_send_signal(ended, signal.SIGTERM)
        else:
            os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
    if not wait_for_end(pid, ended):
        raise MeshError("timeout", what="the end of the daemon", seconds=SECONDS)
    return pid


def watch(pid: int) -> int:
    """A descriptor that becomes readable when the process ends, -1 where the system has none."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1


def wait_for_end(pid: int, ended: int) -> bool:
    """Whether the process ended in time: its lock is free then."""
    if ended >= 0:
        try:
            return bool(select.select([ended], [], [], SECONDS)[0])
        finally:
            os.close(ended)
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(STEP)
    return False
