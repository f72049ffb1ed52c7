"""`mesh up`: starts the daemon, through the user's service manager where that is installed; or reports the one that runs."""

import os

from mesh_clients import thin
from mesh_clients.cli.invocation import Invocation
from mesh_clients.discover import open_client
from mesh_clients.exits import finish
from mesh_clients.render import say, word
from mesh_protocol.io.blocking import NotRunning
from mesh_protocol.wire.errors import MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue


def run(called: Invocation) -> int:
    running = is_running()
    if not running and not called.line.start:
        raise MeshError("bad_request", what="up starts the daemon: leave out --no-start")
    unit, trouble = ("", "") if running else start_by_service()
    status = called.call({}, method="daemon.status")
    answer: dict[str, JsonValue] = {
        "started": not running,
        "service": unit,
        **{name: status.get(name) for name in ("pid", "version", "home", "state")},
    }
    if not called.as_json:
        said = "runs already" if running else f"started as {unit}" if unit else "started"
        pid, home = word(answer, "pid"), word(answer, "home")
        say(f"meshd {word(answer, 'version')} {said}: pid {pid}, home {home}")
        if trouble:
            say(f"Its service did not start it ({trouble}); it runs without. See mesh install --check")
        if answer["state"] == "locked":
            say("Its keys are locked: mesh unlock")
    return finish(answer, as_json=called.as_json)


def start_by_service() -> tuple[str, str]:
    """Start the service if one is installed: its name where it serves now, and why it does not."""
    from mesh_clients.install import programs, service

    try:
        found = service.find_service(os.environ, programs.own_home(os.environ))
    except thin.NotTrusted as error:
        raise MeshError("no_daemon", why=str(error)) from None
    if not found.is_there:
        return "", ""
    trouble = service.start_service(found) or wait_until_running()
    return ("", trouble) if trouble else (found.name, "")


def wait_until_running() -> str:
    """A manager that does not wait for readiness returns before the socket is there."""
    import time

    from mesh_clients.start import SECONDS, STEP

    deadline = time.monotonic() + SECONDS
    while not is_running():
        if time.monotonic() > deadline:
            return "it does not answer"
        time.sleep(STEP)
    return ""


def is_running() -> bool:
    try:
        open_client(os.environ).close()
    except thin.NotTrusted as error:
        raise MeshError("no_daemon", why=str(error)) from None
    except (thin.NoDaemon, NotRunning):
        return False
    return True
