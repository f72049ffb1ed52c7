"""Values that should not stand in a command's arguments, where other users of the machine can read them while it runs."""

import sys

from mesh_protocol.wire.errors import MeshError

MAX_LINE = 4096


def read_secret(what: str) -> str:
    """One line: asked for without echo on a terminal, read from standard input elsewhere. Raises `MeshError`."""
    if sys.stdin is None:
        raise MeshError("bad_request", what=f"standard input is closed: give {what} there")
    if sys.stdin.isatty():
        from getpass import getpass

        line = getpass(f"{what} (not shown): ")
    else:
        line = sys.stdin.readline(MAX_LINE)
    if not line.strip():
        raise MeshError("bad_request", what=f"standard input holds no {what}")
    return line.strip()


def login_name() -> str:
    """The name that this machine knows the person by; empty when there is none."""
    import os
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return os.environ.get("LOGNAME", "")
