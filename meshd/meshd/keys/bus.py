"""Is there a session bus? Asked by connecting: an environment variable alone says nothing."""

import os
import socket
import struct
from collections.abc import Mapping
from pathlib import Path

CONNECT_TIMEOUT_S = 0.5


def reachable_bus(environ: Mapping[str, str], uid: int) -> str | None:
    """The D-Bus address of the first session bus that accepts a connection and is this user's (or root's); or None.

    Tried: DBUS_SESSION_BUS_ADDRESS, $XDG_RUNTIME_DIR/bus and /run/user/<uid>/bus; the last finds the bus from cron or
    ssh. Only unix addresses: a bus across the network does not hold this machine's keys.
    """
    addresses = [each for each in environ.get("DBUS_SESSION_BUS_ADDRESS", "").split(";") if each]
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    places = ([f"{runtime}/bus"] if runtime else []) + [f"/run/user/{uid}/bus"]
    addresses += [f"unix:path={place}" for place in places]
    for address in addresses:
        name = _socket_name(address)
        if name is not None and _answers(name, uid):
            return address
    return None


def _socket_name(address: str) -> bytes | None:
    """What connect(2) takes, from "unix:path=…" or "unix:abstract=…" (D-Bus specification, "Server addresses")."""
    transport, _, rest = address.partition(":")
    if transport != "unix":
        return None
    for pair in rest.split(","):
        key, _, value = pair.partition("=")
        if key == "path":
            return _unescape(value)
        if key == "abstract":
            return b"\0" + _unescape(value)
    return None


def _unescape(value: str) -> bytes:
    """Undoes D-Bus's %XX. Whoever writes an address cannot smuggle a NUL: connect(2) refuses it."""
    if "%" not in value:
        return os.fsencode(value)
    from urllib.parse import unquote_to_bytes

    return unquote_to_bytes(value)


def _answers(name: bytes, uid: int) -> bool:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(CONNECT_TIMEOUT_S)
            probe.connect(name)
            if not hasattr(socket, "SO_PEERCRED"):
                return Path(os.fsdecode(name)).stat().st_uid in (uid, 0)
            owner: int = struct.unpack("iII", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
            return owner in (uid, 0)
    except (OSError, ValueError):
        return False
