"""`mesh` where there is no mesh yet: what is here already, and the three commands to a first message."""

import os
import sys

from mesh_clients import claude_program
from mesh_clients.cli import wizard
from mesh_clients.exits import finish
from mesh_clients.install.present import is_set_up
from mesh_clients.render import say, terminal_width
from mesh_clients.terminal import style_of
from mesh_protocol.wire.errors import MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from mesh_clients.terminal import Style
    from mesh_protocol.wire.codec import JsonValue

WIDTH = 80
NAME = 16
COMMAND = 26


class Here:
    """What is on this machine already."""

    __slots__ = ("claude", "daemon", "folder", "set_up")

    def __init__(self, environ: "Mapping[str, str]", folder: str, *, daemon: bool) -> None:
        self.folder = folder
        self.daemon = daemon
        try:
            self.claude = claude_program.find_claude(environ, folder)
        except MeshError:
            self.claude = ""
        self.set_up = is_set_up(environ)


def show(*, daemon: bool, as_json: bool) -> int:
    """Print it. `daemon`: one runs."""
    here = Here(os.environ, os.getcwd(), daemon=daemon)
    answer: dict[str, JsonValue] = {
        "state": "new",
        "daemon": here.daemon,
        "claude": here.claude,
        "set_up": here.set_up,
        "meshes": [],
    }
    if not as_json:
        width = (terminal_width(sys.stdout) or WIDTH) - 1
        for line in lines(here, width, style_of(sys.stdout, os.environ)):
            say(line)
    return finish(answer, as_json=as_json)


def lines(here: Here, width: int, style: "Style") -> list[str]:
    session = wizard.plain_name(os.path.basename(here.folder)) or "session"
    steps = [
        ("mesh new team", "a mesh on this machine; elsewhere: mesh join -"),
        ("mesh launch", f"Claude Code in {wizard.short_path(here.folder)}, known as {session}"),
        (f'mesh send {session} "hello"', "in another terminal: it wakes and reads it"),
    ]
    found = [
        *(
            style.bold(line)
            for line in wrap("Messages between people and their agents, encrypted, with true receipts", width)
        ),
        "",
        *facts(here, width, style),
        "",
        style.cut("Three commands to a first message:", width),
    ]
    for number, (command, about) in enumerate(steps, 1):
        found += step(f" {number} ", command, about, width, style)
    return [*found, "", style.faint(f"More: mesh help {style.between} mesh doctor")]


def facts(here: Here, width: int, style: "Style") -> "list[str]":
    claude = wizard.short_path(here.claude) if here.claude else "not found: install it, or put it on PATH"
    rows = (
        (bool(here.claude), "Claude Code", claude),
        (here.set_up, "set up for it", "yes" if here.set_up else "not yet: mesh install, once, for every session"),
        (here.daemon, "daemon", "runs" if here.daemon else "not running; it starts by itself"),
    )
    found = []
    for good, name, said in rows:
        first, *others = wrap(said, width - NAME - 3)
        found.append(f" {style.good(style.dot) if good else style.warn(style.ring)} {name.ljust(NAME)}{first}")
        found += [f"{'':{NAME + 3}}{line}" for line in others]
    return found


def step(number: str, command: str, about: str, width: int, style: "Style") -> list[str]:
    """A command and what it is for, beside it where there is room, else below it."""
    if len(number) + COMMAND + 2 + len(about) <= width and len(command) <= COMMAND:
        return [f"{number}{style.bold(command.ljust(COMMAND))}  {style.faint(about)}"]
    below = [style.faint(f"{'':{len(number)}}{line}") for line in wrap(about, width - len(number))]
    return [f"{number}{style.bold(style.cut(command, width - len(number)))}", *below]


def wrap(text: str, width: int) -> list[str]:
    """Lines at most `width` wide, and at least one."""
    from textwrap import wrap as fold

    return fold(text, max(width, 1)) or [""]
