"""The daemon's service: whether it is installed, whether it will start, and whether the daemon that answers is its own."""

import os
import subprocess

from mesh_clients.checks.finding import Finding
from mesh_clients.install.service import SECONDS, Service, find_service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FIELDS = ("ActiveState", "UnitFileState", "MainPID", "Result", "NeedDaemonReload")


def check_service(environ: "Mapping[str, str]", home: str, pid: int) -> "Iterator[Finding]":
    """`home` is empty for the platform's own place; `pid` is the daemon's that answers, 0 for none."""
    service = find_service(environ, home)
    if not service.is_there:
        yield Finding("service", "ok", "none is installed: the first command starts the daemon (mesh install adds one)")
        return
    if not service.is_current:
        text = f"{service.path} was written by another version, or for a Python that has moved"
        yield Finding("service", "warn", text, "mesh install")
    state = ask_launchd(service) if service.launchd else ask_systemd(service)
    if isinstance(state, str):
        fix = "log in with a session of its own (loginctl enable-linger keeps one), or mesh install --no-service"
        yield Finding("service", "warn", f"its manager cannot be asked here ({state}): it starts nothing", fix)
        return
    yield from judge(service, state, pid)


def judge(service: Service, state: "Mapping[str, str]", pid: int) -> "Iterator[Finding]":
    """What the manager's word means beside the daemon that answers."""
    name = service.name
    main = int(state.get("MainPID", "0") or 0)
    if state.get("UnitFileState") not in ("enabled", "enabled-runtime", "linked", "static"):
        yield Finding("service", "warn", f"{name} is not started at login", f"systemctl --user enable {name}")
    if state.get("NeedDaemonReload") == "yes":
        yield Finding("service", "warn", f"{name} has changed since systemd read it", "systemctl --user daemon-reload")
    if pid and main and main != pid:
        text = f"two daemons: {name} runs as pid {main}, and pid {pid} answers here"
        yield Finding("service", "bad", text, f"mesh down; systemctl --user stop {name}; mesh up")
    elif state.get("ActiveState") == "failed":
        text = f"{name} failed ({state.get('Result') or 'no reason given'})"
        verdict = "warn" if pid else "bad"
        yield Finding("service", verdict, text, f"journalctl --user -u {name} -n 20 tells why; then mesh up")
    elif pid and not main:
        text = f"{name} is installed and does not run: pid {pid} was started without it"
        yield Finding("service", "warn", text, "mesh down && mesh up")
    else:
        yield Finding("service", "ok", f"{name}: {state.get('ActiveState') or 'installed'}")


def ask_systemd(service: Service) -> "dict[str, str] | str":
    """What systemd knows of the unit, or why it does not say."""
    said = read_output("systemctl", "--user", "show", f"--property={','.join(FIELDS)}", service.name)
    if isinstance(said, bytes):
        lines = (line.partition("=") for line in said.decode("utf-8", "replace").splitlines())
        return {name: value for name, equals, value in lines if equals}
    return said


def ask_launchd(service: Service) -> "dict[str, str] | str":
    """The same words of launchd, whose `print` is for people: `state = running`, `pid = 71`."""
    said = read_output("launchctl", "print", f"gui/{os.getuid()}/{service.name}")
    if not isinstance(said, bytes):
        return said
    lines = (line.strip().partition(" = ") for line in said.decode("utf-8", "replace").splitlines())
    told = {name: value for name, equals, value in lines if equals}
    state = "active" if told.get("state") == "running" else "inactive"
    return {"ActiveState": state, "MainPID": told.get("pid", "0"), "UnitFileState": "enabled"}


def read_output(*command: str) -> bytes | str:
    """What a command of the manager's prints; its complaint, as text, where it fails."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{command[0]}: {error}"[:200]
    complaint = " ".join(done.stderr.decode("utf-8", "replace").split())[:200]
    return done.stdout if done.returncode == 0 else complaint or f"{command[0]} ended with {done.returncode}"
