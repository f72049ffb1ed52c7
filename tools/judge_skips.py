"""Fails when a test was skipped that this machine can run. Reads what pytest printed with -ra, from the files named.

A skip is right only for a reason listed here, and only while its condition holds on this machine. Whoever adds a skip
adds a line.
"""

import argparse
import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
LINE: Final = re.compile(r"^SKIPPED \[\d+\] (?P<place>\S+?:\d+): (?P<reason>.*)$", re.MULTILINE)


def is_not_root(reason: str) -> bool:
    return os.geteuid() != 0


def is_not_linux(reason: str) -> bool:
    return sys.platform != "linux"


def lacks_program(reason: str) -> bool:
    return shutil.which(reason.partition(" ")[0]) is None


def has_no_peer_pidfd(reason: str) -> bool:
    import socket

    one, other = socket.socketpair()
    try:
        one.getsockopt(socket.SOL_SOCKET, 77, 4)  # SO_PEERPIDFD (linux/asm-generic/socket.h)
    except OSError:
        return True
    finally:
        one.close()
        other.close()
    return False


def makes_no_namespace(reason: str) -> bool:
    """Asks for the namespaces that the reason names, or for one with a network of its own."""
    flags = reason.partition(" unshare ")[2].split() or (
        ["--net"] if os.geteuid() == 0 else ["--map-root-user", "--net"]
    )
    try:
        return subprocess.run(["unshare", *flags, "true"], capture_output=True, check=False, timeout=10).returncode != 0
    except OSError:
        return True


def gets_no_claude(reason: str) -> bool:
    """Tries once more to find or fetch the binary: a registry that failed for a moment is no reason."""
    sys.path.insert(0, str(ROOT / "tests" / "e2e"))
    binary = importlib.import_module("claude_harness.binary")
    try:
        binary.find_binary()
    except binary.BinaryUnavailable:
        return True
    return False


def has_old_node(reason: str) -> bool:
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False, timeout=60).stdout
    return tuple(map(int, re.findall(r"\d+", said)[:2])) < (20, 19)


def gets_no_npm_package(reason: str) -> bool:
    """Tries once more, as for Claude Code."""
    command = ["npm", "ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund"]
    folder = ROOT / "tests/javascript"
    return subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=300).returncode != 0


REASONS: Final[Mapping[str, Callable[[str], bool]]] = {
    r"only root can |needs root to ": is_not_root,
    r"(prctl|/proc|a Secret Service) is Linux's": is_not_linux,
    r"(peer credentials of Linux|reads /proc|memory is read through /proc)": is_not_linux,
    r"the other platforms' calls cannot be made here": is_not_linux,
    r"this kernel has no SO_PEERPIDFD": has_no_peer_pidfd,
    r"(bash|zsh|fish|node|npm|dbus-daemon|gnome-keyring-daemon|systemd-analyze|groff) is not installed": lacks_program,
    r"node 20\.19 or newer is needed": has_old_node,
    r"npm could not install what the second implementation needs": gets_no_npm_package,
    r"(no network namespace may be made here|this machine's kernel does not let us unshare )": makes_no_namespace,
    r"(pip could not download claude-agent-sdk|.* does not run: .*MESHD_CLAUDE_BIN)": gets_no_claude,
}
"""Beginning of a reason → whether this machine really cannot."""


def judge(output: str) -> list[str]:
    """A sentence for each skip that is not right."""
    wrong = []
    for found in LINE.finditer(output):
        place, reason = found["place"], found["reason"]
        condition = next((holds for pattern, holds in REASONS.items() if re.match(pattern, reason)), None)
        if condition is None:
            wrong.append(f"{place}: skipped for a reason that tools/judge_skips.py does not list: {reason}")
        elif not condition(reason):
            wrong.append(f"{place}: skipped, but this machine can run it: {reason}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, nargs="+", help="what pytest printed")
    wrong = [each for path in parser.parse_args().output for each in judge(path.read_text(encoding="utf-8"))]
    for each in wrong:
        print(each, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
