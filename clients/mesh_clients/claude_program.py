"""Finds the real `claude`: by an absolute path, and never one that the project brings along.

A cloned repository may hold a program of that name, and a PATH may name the folder one works in. What is found there
would run as the person, with his keys.
"""

import os
import stat

from mesh_protocol.wire.errors import MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NAME = "claude"
PLACES = ("{home}/.local/bin", "{home}/.claude/local", "/usr/local/bin", "/opt/homebrew/bin", "/usr/bin")
"""Where Claude Code's installers put it, when PATH does not say."""
MAX_PARENTS = 64


def find_claude(environ: "Mapping[str, str]", folder: str) -> str:
    """The absolute path of the program to run in `folder`. Raises `MeshError("no_claude")`, which says what was passed over."""
    avoided = project_folders(folder, environ)
    passed: list[str] = []
    for path in candidates(environ):
        try:
            why = objection(path, avoided)
        except OSError:
            continue  # there is none
        if not why:
            return path
        passed.append(f"{path} {why}")
    raise MeshError("no_claude", why="; ".join(passed) or "it is neither on PATH nor where its installer puts it")


def candidates(environ: "Mapping[str, str]") -> "Iterator[str]":
    """Where it may be, in order. What is no absolute path means another folder each time, and is left out."""
    home = environ.get("HOME", "")
    places = [place.format(home=home) for place in PLACES if home.startswith("/") or "{home}" not in place]
    for folder in dict.fromkeys([*environ.get("PATH", "").split(os.pathsep), *places]):
        if folder.startswith("/"):
            yield os.path.join(folder, NAME)


def objection(path: str, avoided: "list[str]") -> str:
    """Why the program at `path` is not run; empty when nothing speaks against it. Raises `OSError` where there is none."""
    real = os.path.realpath(path)
    about = os.stat(real)
    if not stat.S_ISREG(about.st_mode) or not os.access(real, os.X_OK):
        return "is no program"
    if any(is_below(real, folder) or is_below(os.path.abspath(path), folder) for folder in avoided):
        return "lies in this project: run it by itself if you trust it"
    around = os.stat(os.path.dirname(real))
    if about.st_uid not in (0, os.geteuid()):
        return "belongs to another user"
    if about.st_mode & stat.S_IWOTH or (around.st_mode & stat.S_IWOTH and not around.st_mode & stat.S_ISVTX):
        return "can be changed by every user"
    return ""


def project_folders(folder: str, environ: "Mapping[str, str]") -> "list[str]":
    """The folder, the repository that it is in, and the project of a session above us; none of them is the home itself."""
    home = os.path.realpath(environ.get("HOME") or "/")
    named = [folder, *parents_with_git(folder), environ.get("CLAUDE_PROJECT_DIR", "")]
    found = dict.fromkeys(os.path.realpath(each) for each in named if each.startswith("/"))
    return [each for each in found if not is_below(home, each)]


def parents_with_git(folder: str) -> "Iterator[str]":
    """The folder or the nearest one above it that is the top of a repository."""
    at = os.path.realpath(folder)
    for _ in range(MAX_PARENTS):
        if os.path.lexists(f"{at}/.git"):
            yield at
            return
        if os.path.dirname(at) == at:
            return
        at = os.path.dirname(at)


def is_below(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or in it; both are absolute."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")
