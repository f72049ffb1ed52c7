"""Run as a program of its own: talks to the platform's keyring, so that one that hangs can be killed.

One JSON request a line on stdin, one JSON answer a line on stdout; ends with stdin. Only the three keyrings that are
encrypted by the user's login are ever loaded: no discovery, no configuration file, no variable chooses another.
"""

import json
import os
import sys
from importlib import import_module
from typing import Protocol

ALLOWED = {
    "linux": ("keyring.backends.SecretService", "Keyring"),
    "darwin": ("keyring.backends.macOS", "Keyring"),
    "win32": ("keyring.backends.Windows", "WinVaultKeyring"),
}


class Keyring(Protocol):
    """What the three have in common; the library's own type would be an import."""

    priority: float

    def get_password(self, service: str, username: str) -> str | None: ...

    def set_password(self, service: str, username: str, password: str) -> None: ...

    def delete_password(self, service: str, username: str) -> None: ...


def open_keyring() -> Keyring:
    """The one allowed backend of this platform. Raises whatever the library raises when it is not there."""
    # Never keyring.get_keyring(): it loads what a variable, a settings file or any installed package names.
    module, name = ALLOWED[sys.platform]
    backend: type[Keyring] = getattr(import_module(module), name)
    if backend.priority <= 0:  # raises RuntimeError when the service is not there
        raise RuntimeError("the keyring is not usable")
    return backend()


def answer(keyring: Keyring, request: dict[str, str]) -> dict[str, str | None]:
    """The answer to one request: {"value": …} or {"error": "locked" | "failed", "detail": type name}."""
    service, name = request["service"], request["name"]
    try:
        match request["op"]:
            case "get":
                return {"value": keyring.get_password(service, name)}
            case "set":
                keyring.set_password(service, name, request["value"])
            case "delete":
                keyring.delete_password(service, name)
    except Exception as error:  # noqa: BLE001 foreign: every keyring raises its own
        locked = type(error).__name__ in ("KeyringLocked", "LockedException", "PromptDismissedException")
        return {"error": "locked" if locked else "failed", "detail": type(error).__name__}
    return {"value": None}


def main() -> None:
    keyring: Keyring | None = None
    detail = ""
    try:
        keyring = open_keyring()
    except Exception as error:  # noqa: BLE001 foreign
        detail = type(error).__name__
    for line in sys.stdin.buffer:
        told = {"error": "absent", "detail": detail} if keyring is None else answer(keyring, json.loads(line))
        os.write(1, json.dumps(told).encode() + b"\n")


if __name__ == "__main__":
    main()
