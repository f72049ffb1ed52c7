"""`mesh up`: starts the daemon, or reports the one that runs. Where the user has a service manager, it becomes a service first.

`--service` fails where there can be none; `--no-service` installs none, now and later.
"""

import os
from typing import NamedTuple

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
    if called.params.get("service") and called.params.get("no_service"):
        raise MeshError("bad_request", what="--service or --no-service, not both")
    if not called.line.start and not is_running():
        raise MeshError("bad_request", what="up starts the daemon: leave out --no-start")
    added = add_service(called)
    running = is_running()
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
        if added.trouble:
            say(added.trouble)
        if added.is_there:
            now = "; the one that runs does so without: mesh down && mesh up" if running else ""
            say(f"It is a service of yours and starts at login{now}. mesh up --no-service takes that back")
        if answer["state"] == "locked":
            say("Its keys are locked: mesh unlock")
    return finish(answer, as_json=called.as_json)


class Added(NamedTuple):
    """What became of the service. `is_there`: to be said, because it was asked for or is new; `trouble`: a sentence on what
    the service manager did not do."""

    is_there: bool = False
    trouble: str = ""


def add_service(called: Invocation) -> Added:
    """Raises `MeshError` where one is asked for and there can be none."""
    from mesh_clients.install import programs, service, wish

    try:
        programs.data_directory(os.environ)
        found = service.find_service(os.environ, programs.own_home(os.environ))
    except thin.NotTrusted as error:
        raise MeshError("no_daemon", why=str(error)) from None
    if called.params.get("no_service"):
        said = service.remove_service(found) if found.is_there else ""
        wish.decline(os.environ)
        return Added(trouble=f"Its service was removed, but: {said}" if said else "")
    if not called.params.get("service"):
        if not wish.is_wanted(os.environ, found):
            return Added()
        said = service.install_service(found)
        return Added(not said, f"It was not made a service ({said}). mesh up --no-service stops trying" if said else "")
    if not (found.is_there and found.is_current):
        reason = service.why_not(found) or service.install_service(found)
        if reason:
            raise MeshError("bad_request", what=f"{reason}: there can be no service; leave out --service")
    wish.accept(os.environ)
    return Added(is_there=True)


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
