"""Machines as their people see them: a home and the `mesh` command, the daemon started and stopped by it."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

MESH = Path(sys.executable).with_name("mesh")
SECONDS = 60.0


class Home:
    """One machine's home. Every command is a process of its own.

    `measured`: its commands and its daemon count for coverage, which makes them three times as slow.
    """

    def __init__(self, folder: Path, name: str, *, measured: bool = False) -> None:
        self.data = folder / name
        self.folder = folder
        self.environ = {
            "HOME": str(folder),
            "MESH_HOME": str(self.data),
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
        }
        if measured and "MESH_TESTS_COVERAGE" in os.environ:
            self.environ["COVERAGE_PROCESS_CONFIG"] = os.environ["MESH_TESTS_COVERAGE"]

    def run(self, *arguments: str, text: str = "") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [MESH, *arguments],
            env=self.environ,
            cwd=self.folder,
            input=text,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def json(self, *arguments: str, status: int = 0) -> dict:
        """The document that a command prints, which must end with `status`."""
        done = self.run(*arguments, "--json")
        assert done.returncode == status, f"{arguments}: {done.returncode} {done.stdout} {done.stderr}"
        return json.loads(done.stdout)

    def refusal(self, *arguments: str) -> tuple[int, str]:
        """Exit status and error code of a command that is refused."""
        done = self.run(*arguments, "--json")
        assert done.stderr.count("\n") == 1, done.stderr
        return done.returncode, json.loads(done.stdout)["error"]["code"]

    @property
    def pid(self) -> int:
        return self.json("--no-start", "status")["pid"]

    def kill(self) -> None:
        """kill -9 of the daemon, and wait until it is gone."""
        pid = self.pid
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: is_gone(pid))

    def texts(self) -> list[str]:
        """The newest messages of the person's inbox that one answer holds, oldest first."""
        return [row["message"] for row in self.json("inbox", "--all", "--limit", "100")["messages"]]

    def unread_texts(self) -> list[str]:
        """All that the person has not read, oldest first, in as many answers as it takes. Afterwards it is read."""
        texts: list[str] = []
        while page := self.json("inbox")["messages"]:
            texts += [row["message"] for row in page]
        return texts


def is_gone(pid: int) -> bool:
    """Whether the process has ended. Not every init collects the orphans that it is given."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@contextlib.contextmanager
def open_home(folder: Path, name: str, *, measured: bool = False) -> Iterator[Home]:
    """A home whose daemon is stopped in the end."""
    home = Home(folder, name, measured=measured)
    try:
        yield home
    finally:
        home.run("down")


def wait_until(condition: Callable[[], bool], seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


class StandIn:
    """A process that is called claude, registered as Claude Code registers itself, with one child below it."""

    def __init__(self, home: Home, command: Sequence[str | Path], name: str = "web") -> None:
        config = home.folder / f"config-{name}"
        (config / "sessions").mkdir(parents=True)
        work = home.folder / name
        work.mkdir()
        program = home.folder / f"bin-{name}" / "claude"
        program.parent.mkdir()
        shutil.copy("/bin/sh", program)
        go = config / "go"
        wait = f'while [ ! -e {go} ]; do sleep 0.01; done; "$@"; true'
        self.process = subprocess.Popen(
            [program, "-c", wait, "claude", *command],
            env={**home.environ, "CLAUDE_CONFIG_DIR": str(config), "CLAUDECODE": "1"},
            cwd=work,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        pid = self.process.pid
        entry = {
            "pid": pid,
            "sessionId": f"{pid:08x}-0000-4000-8000-000000000000",
            "cwd": str(work),
            "procStart": Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19],
            "version": "2.1.329",
            "peerProtocol": 1,
            "kind": "interactive",
            "status": "idle",
        }
        (config / "sessions" / f"{pid}.json").write_text(json.dumps(entry))
        go.write_text("")

    def __enter__(self) -> "StandIn":
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(SECONDS)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def say(self, **message: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self.process.stdin.flush()

    def hear(self) -> dict:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "it ended"
        return json.loads(line)

    def ask(self, request_id: int, method: str, **params: object) -> dict:
        """Call and wait for this call's answer."""
        self.say(id=request_id, method=method, params=params)
        while True:
            told = self.hear()
            if told.get("id") == request_id:
                return told

    def greet(self) -> None:
        told = self.ask(0, "initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "x"})
        assert told["result"]["serverInfo"]["name"] == "meshd"
        self.say(method="notifications/initialized")

    def call(self, request_id: int, tool: str, arguments: dict, **meta: object) -> dict:
        return self.ask(request_id, "tools/call", name=tool, arguments=arguments, _meta=meta)["result"]


@contextlib.contextmanager
def open_broker(folder: Path) -> Iterator[str]:
    """A broker of its own, whose data lies in `folder`; its URL."""
    command = [sys.executable, "-m", "mesh_broker", "run", "--listen", "127.0.0.1:0", "--data", folder / "broker"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as program:
        try:
            assert program.stdout is not None
            line = program.stdout.readline()
            assert line.startswith("mesh-broker ready on ")
            yield line.split()[-1]
        finally:
            program.terminate()
