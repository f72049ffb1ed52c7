"""What the guard wants to see before a guarded command: a token's file in scripts, else the passphrase, from the terminal."""

import os
import stat

from mesh_protocol.wire.errors import MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue

VARIABLE = "MESH_TOKEN_FILE"
MAX_TOKEN = 128
TERMINAL = "/dev/tty"


def find_proof(*, takes_token: bool) -> "dict[str, JsonValue] | None":
    """The parameters of `guard.open`; None where there is neither a token, or none does, nor a terminal. Raises `MeshError`."""
    path = os.environ.get(VARIABLE, "") if takes_token else ""
    if path:
        return {"token": read_token(path)}
    try:
        os.close(os.open(TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return None
    from mesh_clients.cli.secrets import type_hidden

    # Opens the terminal itself, so that standard input stays the command's own.
    passphrase = type_hidden("passphrase of mesh guard (not shown): ")
    if not passphrase:
        raise MeshError("bad_request", what="no passphrase was typed: nothing was done")
    return {"passphrase": passphrase}


def read_token(path: str) -> str:
    """A token from a file that is this user's alone. Raises `MeshError`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise MeshError("bad_request", what=f"{VARIABLE} names {path}: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise MeshError("bad_request", what=f"{path} must be a file of yours that nobody else can read: chmod 600")
        token = file.read(MAX_TOKEN + 1).strip()
    if not token or len(token) > MAX_TOKEN or not token.isascii():
        raise MeshError("bad_request", what=f"{path} holds no token: mesh token create NAME --file {path}")
    return token.decode()
