"""One client at a time changes what lies in the data directory: a lock that ends with its process, however that ends."""

import fcntl
import os
import time
from contextlib import contextmanager

from mesh_clients.start import NotStarted, make_private
from mesh_protocol.wire.errors import MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_S = 20.0
"""How long another one is waited for."""
STEP_S = 0.05


@contextmanager
def exclusive(data: str) -> "Iterator[None]":
    """Make the data directory if there is none, and hold it (flock(2) on the folder itself, which leaves no file behind).

    On a file system without locks nobody is kept out. Raises `MeshError`.
    """
    try:
        make_private(os.fsencode(data))
        folder = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except NotStarted as error:
        raise MeshError("bad_request", what=str(error)) from None
    except OSError as error:
        raise MeshError("bad_request", what=f"{data} cannot be opened: {error.strerror}") from None
    try:
        lock(folder, data)
        yield
    finally:
        os.close(folder)


def lock(folder: int, data: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise MeshError("bad_request", what=f"another mesh command changes {data}: wait for its end") from None
            time.sleep(STEP_S)
        except OSError:
            return
