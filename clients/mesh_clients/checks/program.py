"""Claude Code itself: which one is run, and whether its version is one that we have tried."""

import os
import re
import subprocess

from mesh_clients.checks.finding import Finding
from mesh_clients.claude_program import NAME, find_claude
from mesh_protocol.wire.errors import MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KNOWN_VERSIONS = ("2.1.329",)
"""Tried with this release; the daemon has the same list, and a test holds the two equal."""
SECONDS = 10.0
"""How long it may take to say its version; it is a large program."""
VERSION = re.compile(r"\b(\d+\.\d+\.\d+)\b")


def check_program(environ: "Mapping[str, str]", folder: str) -> "Iterator[Finding]":
    """The program that a session started in `folder` would be."""
    try:
        path = find_claude(environ, folder)
    except MeshError as error:
        yield Finding(NAME, "warn", error.message, "install Claude Code, or add its folder to PATH")
        return
    folders = environ.get("PATH", "").split(os.pathsep)
    if os.path.dirname(path) not in folders:
        text = f"{path} is in no folder of PATH: a shell does not find it"
        yield Finding(NAME, "warn", text, f"add {os.path.dirname(path)} to PATH")
    version = ask_version(path, environ)
    if not version:
        yield Finding(NAME, "warn", f"{path} does not say its version", f"{path} --version")
    elif version in KNOWN_VERSIONS:
        yield Finding(NAME, "ok", f"{path}, version {version}")
    else:
        text = f"{path}, version {version}; tried is {', '.join(KNOWN_VERSIONS)}"
        yield Finding(NAME, "warn", text, "mesh sessions says which way messages take; a newer meshd may know it")


def ask_version(path: str, environ: "Mapping[str, str]") -> str:
    """The version it says it is; empty where it says none in time."""
    quiet = {**environ, "DISABLE_AUTOUPDATER": "1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}
    try:
        said = subprocess.run(
            [path, "--version"], env=quiet, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    found = VERSION.search(said.stdout[:1000].decode("utf-8", "replace"))
    return found[1] if found else ""
