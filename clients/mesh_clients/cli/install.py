"""`mesh install`: Claude Code's settings, its MCP server, the service. Shows what it will change, and asks."""

import os
import sys

from mesh_clients import thin
from mesh_clients.build import BUILD
from mesh_clients.cli.invocation import Invocation
from mesh_clients.exits import finish
from mesh_clients.install import changes, claude, programs, service, wish
from mesh_clients.install.documents import read_document
from mesh_clients.install.record import Record
from mesh_clients.render import say, word
from mesh_protocol.wire.errors import FAILED, OK, MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue

PARTS = ("hooks and status line", "MCP server")


class Place:
    """Where an install goes: Claude Code's files, our data, the service."""

    def __init__(self) -> None:
        try:
            self.home = programs.own_home(os.environ)
            data = os.fsdecode(programs.data_directory(os.environ))
        except thin.NotTrusted as error:
            raise MeshError("bad_request", what=str(error)) from None
        self.paths = claude.find_paths(os.environ)
        self.targets = changes.find_targets(self.paths)
        self.record = Record(data, self.paths.settings).load()
        self.service = service.find_service(os.environ, self.home)

    def plan_install(self) -> list[changes.Change]:
        return [changes.plan_install(each, self.home, self.record.files.get(each.path)) for each in self.targets]

    def plan_uninstall(self) -> list[changes.Change]:
        return [changes.plan_uninstall(each, self.record.files.get(each.path)) for each in self.targets]


def run(called: Invocation) -> int:
    place = Place()
    if called.params.get("check"):
        return check(called, place)
    planned = place.plan_install()
    reason = why_no_service(called, place.service)
    with_service = not reason and not place.service.is_current and not called.params.get("no_service")
    needed = with_service or any(change.needed for change in planned)
    asks = needed and not called.params.get("yes")
    if asks:
        lines = [line for change in planned if change.needed for line in changes.show(change)]
        ask(called, [*lines, *(show_service(place.service) if with_service else [])])
    with place.record.held():
        planned = changes.renew(place.targets, planned, place.plan_install(), shown=asks)
        for target, change in zip(place.targets, planned, strict=True):
            changes.install(target, place.home, place.record, change)
    trouble = service.install_service(place.service) if with_service else ""
    reason = reason or trouble
    if called.params.get("no_service"):
        wish.decline(os.environ)
    elif not reason:
        wish.accept(os.environ)
    notes = read_notes(place.paths)
    files: list[JsonValue] = [{"path": change.path, "changed": change.needed} for change in planned]
    answer: dict[str, JsonValue] = {
        "changed": needed,
        "files": files,
        "service": place.service.path if not reason else "",
        "backup": place.record.folder,
        "notes": [*notes],
    }
    if not called.as_json:
        print_done(place, needed, reason, notes)
    return finish(answer, as_json=called.as_json)


def why_no_service(called: Invocation, found: service.Service) -> str:
    """Why no service is installed, empty where one is or will be."""
    if found.is_there and (found.is_current or called.params.get("no_service")):
        return ""
    return "left out by --no-service" if called.params.get("no_service") else service.why_not(found)


def ask(called: Invocation, lines: list[str]) -> None:
    """Show what will change and ask. Raises `MeshError` where the answer is no, or where nobody can be asked."""
    if called.as_json:
        raise MeshError("bad_request", what="with --json nothing is asked: give --yes")
    for line in lines:
        say(line)
    say("")
    if sys.stdin is None or not sys.stdin.isatty():
        raise MeshError("bad_request", what="nobody can be asked here: give --yes; nothing was changed")
    sys.stdout.flush()
    try:
        answer = input("Make these changes? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise MeshError("bad_request", what="not confirmed; nothing was changed")


def show_service(found: service.Service) -> list[str]:
    text = found.text.decode("utf-8", "replace")
    return [found.path, *(f"  +{line}" for line in text.splitlines())]


def read_notes(paths: claude.Paths) -> list[str]:
    """What in the settings keeps the install from working."""
    settings = read_document(paths.settings).value
    notes = []
    if settings.get("disableAllHooks") is True:
        notes.append("disableAllHooks is set: hooks and status line stay off until it is removed")
    plugins = settings.get("enabledPlugins")
    if isinstance(plugins, dict) and any(name.startswith("mesh@") and plugins[name] for name in plugins):
        notes.append("the plugin mesh is enabled too: each event is told twice; claude plugin uninstall mesh")
    return notes


def print_done(place: Place, changed: bool, reason: str, notes: list[str]) -> None:
    say("Installed. Restart the Claude Code sessions that run." if changed else "It is installed already.")
    if changed:
        say(f"What was there is kept in {place.record.folder}; mesh uninstall puts it back.")
    say(
        f"Service: none, {reason}; mesh up starts the daemon by itself." if reason else f"Service: {place.service.name}"
    )
    for note in notes:
        say(f"Note: {note}")


def check(called: Invocation, place: Place) -> int:
    """`--check`: whether the parts are there as this version writes them."""
    rows: list[JsonValue] = []
    good = True
    for name, target in zip(PARTS, place.targets, strict=True):
        try:
            ok = changes.is_installed(target, place.home)
            text = f"as {BUILD} writes them" if ok else "missing, or another version's: mesh install"
        except MeshError as error:
            ok, text = False, error.message
        rows.append({"name": name, "ok": ok, "path": target.path, "text": text})
        good = good and ok
    found = place.service
    ok = not found.is_there or found.is_current
    text = "another version's: mesh install" if not ok else found.name if found.is_there else "none"
    rows.append({"name": "service", "ok": ok, "path": found.path, "text": text})
    good = good and ok
    if not called.as_json:
        for row in rows:
            if isinstance(row, dict):
                say(
                    f"{'ok  ' if row['ok'] else 'BAD '}  {word(row, 'name')}: {word(row, 'text')} ({word(row, 'path')})"
                )
    answer: dict[str, JsonValue] = {"installed": good, "version": BUILD, "parts": rows}
    finish(answer, as_json=called.as_json)
    return OK if good else FAILED
