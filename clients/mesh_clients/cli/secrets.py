"""Values that should not stand in a command's arguments, where other users of the machine can read them while it runs."""

import os
import sys

from mesh_protocol.wire.errors import MeshError

MAX_LINE = 4096
MAX_PASSPHRASE = 1024


def read_secret(what: str) -> str:
    """One line: asked for without echo on a terminal, read from standard input elsewhere. Raises `MeshError`."""
    if sys.stdin is None:
        raise MeshError("bad_request", what=f"standard input is closed: give {what} there")
    if sys.stdin.isatty():
        line = type_hidden(f"{what} (not shown): ")
    else:
        line = sys.stdin.readline(MAX_LINE)
    if not line.strip():
        raise MeshError("bad_request", what=f"standard input holds no {what}")
    return line.strip()


class Passphrases:
    """Where a command gets its passphrases: the terminal, else one line each of standard input, or of the descriptor that
    `--passphrase-fd` names, in the order in which they are asked for."""

    def __init__(self, descriptor: object = None) -> None:
        self._descriptor = descriptor if isinstance(descriptor, int) else None

    def ask(self, what: str, *, twice: bool = False) -> str:
        """One passphrase, exactly as it was given. `twice`: a new one, typed two times on a terminal. Raises `MeshError`."""
        descriptor = self._descriptor
        if descriptor is None:
            if sys.stdin is None:
                raise MeshError(
                    "bad_request", what=f"standard input is closed: give {what} there, or --passphrase-fd N"
                )
            if sys.stdin.isatty():
                return _type(what, twice=twice)
            descriptor = sys.stdin.fileno()
        given = _read_line(descriptor, what)
        if not given:
            raise MeshError("bad_request", what=f"there is no {what} to read: one line for each passphrase")
        return given


def _type(what: str, *, twice: bool) -> str:
    given = type_hidden(f"{what} (not shown): ")
    if not given:
        raise MeshError("bad_request", what=f"no {what} was typed: nothing was done")
    if twice and type_hidden("once more: ") != given:
        raise MeshError("bad_request", what="the two differ: nothing was done")
    return given


def type_hidden(prompt: str) -> str:
    """A line from the terminal, which does not show it; empty for Ctrl-D."""
    from getpass import getpass

    try:
        return getpass(prompt)
    except EOFError:
        return ""


def _read_line(descriptor: int, what: str) -> str:
    """A line without its end. Read byte by byte, so that what follows stays for the next one."""
    line = b""
    try:
        while len(line) <= MAX_PASSPHRASE + len(b"\r") and not line.endswith(b"\n"):
            byte = os.read(descriptor, 1)
            if not byte:
                break
            line += byte
        text = line.decode().rstrip("\r\n")
    except OSError as error:
        raise MeshError(
            "bad_request", what=f"{what} cannot be read from descriptor {descriptor}: {error.strerror}"
        ) from None
    except UnicodeDecodeError:
        raise MeshError("bad_request", what=f"{what} is not UTF-8") from None
    if len(line.rstrip(b"\r\n")) > MAX_PASSPHRASE:
        raise MeshError("bad_request", what=f"{what} is longer than {MAX_PASSPHRASE} bytes")
    return text


def login_name() -> str:
    """The name that this machine knows the person by; empty when there is none."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return os.environ.get("LOGNAME", "")
