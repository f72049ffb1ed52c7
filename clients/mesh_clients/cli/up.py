"""`mesh up`: starts the daemon, through the user's service manager where that is installed; or reports the one that runs.

With `--service` it is installed there first.
"""

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
    from mesh_clients.start import Start
    from mesh_protocol.wire.codec import JsonValue


def run(called: Invocation) -> int:
    running = is_running()
    if not running and not called.line.start:
        raise MeshError("bad_request", what="up starts the daemon: leave out --no-start")
    if called.params.get("service"):
        add_service()
    started = None if running else start()
    status = called.call({}, method="daemon.status")
    answer: dict[str, JsonValue] = {
        "started": not running,
        "service": started.service if started is not None else "",
        **{name: status.get(name) for name in ("pid", "version", "home", "state")},
    }
    if not called.as_json:
        said = "runs already" if started is None else f"started as {started.service}" if started.service else "started"
        pid, home = word(answer, "pid"), word(answer, "home")
        say(f"meshd {word(answer, 'version')} {said}: pid {pid}, home {home}")
        if started is not None and started.trouble:
            say(f"Its service did not start it ({started.trouble}); it runs without. See mesh doctor")
        if called.params.get("service"):
            now = "; the one that runs does so without: mesh down && mesh up" if running else ""
            say(f"It is a service of yours and starts at login{now}. mesh uninstall takes that back")
        if answer["state"] == "locked":
            say("Its keys are locked: mesh unlock")
    return finish(answer, as_json=called.as_json)


def add_service() -> None:
    """Raises `MeshError` where there can be none."""
    from mesh_clients.install import programs, service

    found = service.find_service(os.environ, programs.own_home(os.environ))
    if found.is_there and found.is_current:
        return
    reason = service.why_not(found) or service.install_service(found)
    if reason:
        raise MeshError("bad_request", what=f"{reason}: there can be no service; leave out --service")


def start() -> "Start":
    """Raises `MeshError` where no daemon can be had."""
    from mesh_clients.start import NotStarted, start_daemon

    try:
        return start_daemon(os.environ, asked_for=True)
    except (NotStarted, thin.NotTrusted) as error:
        raise MeshError("no_daemon", why=str(error)) from None


def is_running() -> bool:
    try:
        open_client(os.environ).close()
    except thin.NotTrusted as error:
        raise MeshError("no_daemon", why=str(error)) from None
    except (thin.NoDaemon, NotRunning):
        return False
    return True
