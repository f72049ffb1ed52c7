"""The daemon as a service of the user's: a systemd user unit, on macOS a launchd agent. Its file, and what its manager is told.

The unit hides neither /tmp nor the home: the sessions' sockets and transcripts lie there (systemd.exec(5), PrivateTmp).
"""

import os
import shutil
import subprocess
import sys
from hashlib import sha256
from typing import NamedTuple

from mesh_clients.install.documents import read_bytes, remove_file, replace_file
from mesh_clients.start import ALREADY_RUNNING, daemon_command
from mesh_protocol.wire.errors import MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SECONDS = 20.0
"""How long the service manager may take; it waits for the daemon to say that it is ready."""
SAID = 200
"""Characters of a manager's complaint that are passed on."""
CONFIG_EXITS = (2, ALREADY_RUNNING, 77, 78)
"""Exit statuses after which starting again cannot help."""
UNIT = """\
[Unit]
Description=meshd: messages between coding sessions and their people

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
{environment}Restart=on-failure
RestartSec=2
RestartPreventExitStatus={exits}
TimeoutStopSec=20
UMask=0077
NoNewPrivileges=yes

[Install]
WantedBy=default.target
"""


class Service(NamedTuple):
    """`name` is the unit's or the agent's, `path` its file, `text` what the file holds."""

    launchd: bool
    name: str
    path: str
    text: bytes

    @property
    def is_there(self) -> bool:
        return os.path.lexists(self.path)

    @property
    def is_current(self) -> bool:
        return read_bytes(self.path) == self.text


def find_service(environ: "Mapping[str, str]", home: str, platform: str = sys.platform) -> Service:
    """The service of the daemon for `home` (empty: the platform's own place), whether it is installed or not."""
    mark = f"-{sha256(os.fsencode(home)).hexdigest()[:8]}" if home else ""
    person = environ.get("HOME", "")
    command = daemon_command()
    if platform == "darwin":
        label = f"meshd.daemon{mark}"
        path = f"{person}/Library/LaunchAgents/{label}.plist"
        return Service(True, label, path, write_plist(label, command, home))
    config = environ.get("XDG_CONFIG_HOME", "")
    folder = config if config.startswith("/") else f"{person}/.config"
    name = f"meshd{mark}.service"
    return Service(False, name, f"{folder}/systemd/user/{name}", write_unit(command, home))


def write_unit(command: tuple[str, ...], home: str) -> bytes:
    """The unit file. systemd.service(5): `%` and `$` are doubled, a word in quotes keeps its blanks."""
    line = " ".join(quote_word(word).replace("$", "$$") for word in command)
    environment = f"Environment={quote_word(f'MESH_HOME={home}')}\n" if home else ""
    exits = " ".join(map(str, CONFIG_EXITS))
    return os.fsencode(UNIT.format(command=line, environment=environment, exits=exits))


def quote_word(word: str) -> str:
    quoted = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("\n", "\\n")
    return f'"{quoted}"'


def write_plist(label: str, command: tuple[str, ...], home: str) -> bytes:
    """The agent's property list. launchd.plist(5): started again unless it ended with 0, at most every 10 s."""
    import plistlib

    agent: dict[str, object] = {
        "Label": label,
        "ProgramArguments": [*command],
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 10,
        "Umask": 0o077,
        "ProcessType": "Background",
    }
    if home:
        agent["EnvironmentVariables"] = {"MESH_HOME": home}
    return plistlib.dumps(agent)


# The manager.


def why_not(service: Service) -> str:
    """Why there can be no service here; empty when there can."""
    tool = "launchctl" if service.launchd else "systemctl"
    if shutil.which(tool) is None:
        return f"there is no {tool} here"
    if not service.launchd:
        said = tell("systemctl", "--user", "show-environment")
        if said:
            return f"systemd runs nothing for you here ({said})"
    return ""


def install_service(service: Service) -> str:
    """Write its file and have it started at login. Returns what went wrong: then there is none. Raises `MeshError` where its
    file cannot be taken away again."""
    try:
        replace_file(service.path, service.text)
    except MeshError as error:
        return error.message
    if service.launchd:
        return ""  # every file in that folder is loaded at login
    trouble = tell("systemctl", "--user", "daemon-reload") or tell("systemctl", "--user", "enable", service.name)
    if trouble:
        remove_file(service.path)
    return trouble


def start_service(service: Service) -> str:
    """Have it started and wait until it is ready. Returns what went wrong, empty for nothing."""
    if service.launchd:
        domain = f"gui/{os.getuid()}"
        tell("launchctl", "bootstrap", domain, service.path)  # fails where it is loaded already
        return tell("launchctl", "kickstart", f"{domain}/{service.name}")
    return tell("systemctl", "--user", "start", service.name)


def remove_service(service: Service) -> str:
    """Stop it and remove its file. Returns what the manager said against it. Raises `MeshError`."""
    if service.launchd:
        said = tell("launchctl", "bootout", f"gui/{os.getuid()}/{service.name}")
        remove_file(service.path)
        return said
    said = tell("systemctl", "--user", "disable", "--now", service.name)
    remove_file(service.path)
    return said or tell("systemctl", "--user", "daemon-reload")


def tell(*command: str) -> str:
    """Run a command of the manager's. Returns what it said where it failed, empty when it went well."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{command[0]}: {error}"[:SAID]
    said = b" ".join(done.stderr.split()).decode("utf-8", "replace")[:SAID]
    return (said or f"{command[0]} ended with {done.returncode}") if done.returncode else ""
