"""A broker and daemons on this machine, from the installed programs, each in a folder of its own."""

import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.install import environment
from mesh_protocol.io.blocking import Client
from mesh_protocol.wire.codec import JsonValue

PATIENCE: Final = 20.0
RATES: Final = ("--limit", "member_rate=5000", "--limit", "member_burst=5000")
"""The limits that the bench raises: a person does not send a thousand messages in ten seconds."""
BUILD: Final = "0.1.0"


class NotReady(Exception):
    """A program did not start, or ended; the text is what it wrote to standard error."""


@dataclass(slots=True)
class Program:
    """A running program. `ready_s` is the time from spawn to its line that says so; `line` is that line."""

    name: str
    process: "subprocess.Popen[str]"
    ready_s: float
    line: str
    traced: bool = False

    @property
    def pid(self) -> int:
        """Its own pid, not that of a tracer before it."""
        if not self.traced:
            return self.process.pid
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    def stop(self) -> None:
        try:
            os.kill(self.pid, signal.SIGTERM)
            self.process.wait(PATIENCE)
        except (OSError, IndexError):
            pass  # it has ended by itself
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait(PATIENCE)


def start(name: str, argv: Sequence[str], home: Path, prefix: Sequence[str] = ()) -> Program:
    """Start a program and wait for its line that contains "ready". Raises `NotReady`."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    errors = home / f"{name}.err"
    with errors.open("wb") as log:
        began = time.perf_counter()
        process = subprocess.Popen(
            [*prefix, *argv],
            env=environment(home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            preexec_fn=allow_files,
        )
    line = process.stdout.readline() if process.stdout is not None else ""
    ready_s = time.perf_counter() - began
    if "ready" not in line:
        process.kill()
        process.wait(PATIENCE)
        raise NotReady(f"{name}: {errors.read_text()[-1000:]}")
    return Program(name, process, ready_s, line.strip(), traced=bool(prefix))


def allow_files() -> None:
    """As many open files as the system allows: a broker has one for each connection."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def start_broker(bin_folder: Path, home: Path, prefix: Sequence[str] = ()) -> Program:
    argv = [str(bin_folder / "mesh-broker"), "run", "--listen", "127.0.0.1:0", "--data", str(home / "data"), *RATES]
    return start("broker", argv, home, prefix)


def start_daemon(bin_folder: Path, home: Path, prefix: Sequence[str] = ()) -> Program:
    return start("meshd", [str(bin_folder / "meshd"), "run"], home, prefix)


def connect(home: Path) -> Client:
    """A connection to the daemon whose home this is."""
    return Client((home / "mesh" / "run" / "where").read_text().splitlines()[0], build=BUILD)


def ask(
    client: Client, method: str, params: "dict[str, JsonValue] | None" = None, body: bytes = b""
) -> "dict[str, JsonValue]":
    """Call the daemon; the answer as a map."""
    result, _ = client.call(method, params or {}, body, timeout=PATIENCE)
    if not isinstance(result, dict):
        raise TypeError(f"{method} answered {type(result).__name__}")
    return result


@dataclass(slots=True)
class Pair:
    """A broker and the daemons of ann and ben, who share the mesh `team` there."""

    broker: Program
    ann_home: Path
    ben_home: Path
    ann: Program
    ben: Program
    to_ann: Client
    to_ben: Client
    programs: list[Program] = field(default_factory=list)


@contextmanager
def two_machines(bin_folder: Path, folder: Path, prefix: Sequence[str] = ()) -> Iterator[Pair]:
    """Two machines in one mesh, both online. `prefix` is put before each program's command."""
    started: list[Program] = []
    clients: list[Client] = []
    try:
        broker = start_broker(bin_folder, folder / "broker", prefix)
        started.append(broker)
        homes = [folder / "ann", folder / "ben"]
        started += [start_daemon(bin_folder, home, prefix) for home in homes]
        clients += [connect(home) for home in homes]  # now that all run: who connects and says nothing is not kept
        url = broker.line.rpartition(" ")[2]
        ask(clients[0], "mesh.new", {"name": "team", "me": "ann", "broker": url})
        link = ask(clients[0], "mesh.invite")["url"]
        if ask(clients[1], "mesh.join", {"url": link, "me": "ben", "wait_s": PATIENCE})["state"] != "joined":
            raise NotReady("ben was not let in")
        yield Pair(broker, homes[0], homes[1], started[1], started[2], clients[0], clients[1], started)
    finally:
        for client in clients:
            client.close()
        for program in reversed(started):
            program.stop()
