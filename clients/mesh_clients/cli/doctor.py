"""`mesh doctor`: every finding with what mends it. What needs no daemon is looked at here, the rest the daemon tells.

Ends with 0 where nothing is broken (warnings are not), with 1 where anything is.
"""

import os
import sys

from mesh_clients import thin
from mesh_clients.build import BUILD
from mesh_clients.checks.finding import Finding
from mesh_clients.cli.invocation import SECONDS, Invocation
from mesh_clients.exits import finish
from mesh_clients.render import emphasise, fold, say, terminal_width, word
from mesh_protocol.wire.errors import FAILED, OK, MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from mesh_protocol.wire.codec import JsonValue

SIGNS = {"ok": "ok  ", "warn": "warn", "bad": "BAD "}
PATIENCE = 10.0
"""Seconds after which a daemon that says nothing is called stuck."""
HOME = "unset MESH_HOME, or set it to a folder of yours"
TITLES = ("This machine", "Claude Code", "The daemon")


def run(called: Invocation) -> int:
    parts = examine(called)
    rows = [row for part in parts for row in part]
    if not called.as_json:
        for title, part in zip(TITLES, parts, strict=True):
            print_part(title, part)
            say("")
        print_verdict(rows)
    checks: list[JsonValue] = [*rows]
    finish({"checks": checks}, as_json=called.as_json)
    return FAILED if any(row.get("ok") == "bad" for row in rows) else OK


def examine(called: Invocation) -> "list[list[dict[str, JsonValue]]]":
    """The findings of this machine, of Claude Code's files, and of the daemon."""
    told = ask_daemon(called)
    here = [*look_here(called, told)]
    return [[finding.row() for finding in here], [finding.row() for finding in look_at_claude()], told.checks]


class Told:
    """What the daemon says; `pid` is 0 where none does, `checks` then is one that says why."""

    def __init__(self, checks: "list[dict[str, JsonValue]]", pid: int) -> None:
        self.checks = checks
        self.pid = pid


def ask_daemon(called: Invocation) -> Told:
    try:
        status = called.call({}, method="daemon.status", wait=PATIENCE - SECONDS)
        answer = called.call(called.params, wait=PATIENCE - SECONDS)
    except MeshError as error:
        return Told([no_answer(error).row()], 0)
    listed = answer.get("checks")
    checks = [row for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []
    version, pid = word(status, "version"), status.get("pid")
    if version and version != BUILD:
        text = f"it is version {version}, this command is {BUILD}: a part of what is asked may be refused"
        checks.append(Finding("version", "warn", text, "mesh down && mesh up").row())
    return Told(checks, pid if isinstance(pid, int) else 0)


def no_answer(error: MeshError) -> Finding:
    """Why there is no daemon to ask, with what is known of its last start."""
    if error.code != "no_daemon":
        return Finding("daemon", "bad", f"it does not answer as it should: {error.message}", "mesh down && mesh up")
    from mesh_clients.holder import find_holder
    from mesh_clients.install.programs import data_directory
    from mesh_clients.start import ANEW, last_failure

    try:
        pid = find_holder(data_directory(os.environ))
        why = last_failure(os.environ, b"")
    except thin.NotTrusted:
        return Finding("daemon", "bad", error.message, HOME)
    if pid:
        text = f"it runs as pid {pid}, and nobody can connect to it, unless it is just starting"
        return Finding("daemon", "bad", text, ANEW)
    text = error.message if not why or why in error.message else f"{error.message}; its last start failed: {why}"
    return Finding("daemon", "bad", text, "see to that, then mesh up" if why else "mesh up")


def look_here(called: Invocation, told: Told) -> "Iterator[Finding]":
    from mesh_clients.checks.home import check_folder, check_socket
    from mesh_clients.checks.service import check_service
    from mesh_clients.install.programs import data_directory, own_home

    try:
        data, home = data_directory(os.environ), own_home(os.environ)
    except thin.NotTrusted as error:
        yield Finding("files", "bad", str(error), HOME)
        return
    if not told.pid:
        yield from check_folder(data)
    yield check_socket(data)
    yield from check_service(os.environ, home, told.pid)


def look_at_claude() -> "Iterator[Finding]":
    from mesh_clients.checks.policy import check_policy
    from mesh_clients.checks.program import check_program
    from mesh_clients.checks.settings import check_registration
    from mesh_clients.install.programs import own_home

    try:
        home = own_home(os.environ)
    except thin.NotTrusted:
        return  # said above
    yield from check_program(os.environ, os.getcwd())
    yield from check_registration(os.environ, home)
    yield from check_policy(os.environ, os.getcwd())


def print_part(title: str, rows: "list[dict[str, JsonValue]]") -> None:
    if rows:
        say(emphasise(title, sys.stdout))
    for row in rows:
        print_check(row, terminal_width(sys.stdout))


def print_check(row: "dict[str, JsonValue]", width: int) -> None:
    verdict = word(row, "ok")
    name, text, fix = (word(row, key) for key in ("name", "text", "fix"))
    for line in fold(f"{SIGNS.get(verdict, verdict)}  ", f"{name}: {text}", width):
        say(line if verdict == "ok" else emphasise(line, sys.stdout))
    if fix and verdict != "ok":
        for line in fold("      mend: ", fix, width):
            say(line)


def print_verdict(rows: "list[dict[str, JsonValue]]") -> None:
    bad, warn = (sum(row.get("ok") == verdict for row in rows) for verdict in ("bad", "warn"))
    if bad:
        say(f"{bad} broken{f', {warn} to look at' if warn else ''}.")
    else:
        say(f"Nothing is broken{f'; {warn} to look at' if warn else ''}.")
