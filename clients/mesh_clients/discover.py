"""Finding the daemon, and starting one where that is allowed."""

import _socket
import os

from mesh_clients import thin
from mesh_clients.build import BUILD
from mesh_protocol.io.blocking import Client, NotRunning
from mesh_protocol.wire.errors import MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

HINT = "run mesh up"


def connect(environ: "Mapping[str, str]", *, may_start: bool) -> Client:
    """A connection to the daemon of `environ`, started if there is none and `may_start`. Raises `MeshError`."""
    try:
        try:
            return open_client(environ)
        except thin.NotTrusted as error:
            raise MeshError("no_daemon", why=str(error)) from None
        except (thin.NoDaemon, NotRunning):
            if not may_start:
                raise MeshError("no_daemon", why=HINT) from None
        from mesh_clients.start import NotStarted, start_daemon

        try:
            start_daemon(environ)
        except NotStarted as error:
            raise MeshError("no_daemon", why=str(error)) from None
        return open_client(environ)
    except (thin.NoDaemon, NotRunning) as error:
        raise MeshError("no_daemon", why=f"{error}; see mesh doctor") from None


def open_client(environ: "Mapping[str, str]") -> Client:
    """A connection to the daemon that runs. Raises `thin.NoDaemon` or `NotRunning`."""
    path = thin.socket_path(data_directory(environ))
    client = Client(os.fsdecode(path), build=BUILD, env=session_environment(environ))
    sock = _socket.socket(fileno=client.fileno())
    try:
        thin.check_owner(sock)
    except thin.NotTrusted:
        client.close()
        raise
    finally:
        sock.detach()
    return client


def data_directory(environ: "Mapping[str, str]") -> bytes:
    """Where the daemon's data is. Raises `thin.NotTrusted`."""
    return thin.data_directory({os.fsencode(name): os.fsencode(value) for name, value in environ.items()})


def session_environment(environ: "Mapping[str, str]") -> dict[str, str]:
    """The few variables that say which agent session this is."""
    named = {variable.decode(): environ.get(variable.decode(), "") for variable in thin.VARIABLES}
    return {
        name: value for name, value in named.items() if value and value.isprintable() and len(value) <= thin.MAX_SHORT
    }
