"""Running the clients as the processes that they are."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import mesh_clients

SECONDS = 20.0
PACKAGE = Path(mesh_clients.__file__).parent
HOT = (sys.executable, "-IS", str(PACKAGE / "hot.py"))
"""As settings files name it."""
MESH = (sys.executable, str(PACKAGE.parent / "bin" / "mesh"))
"""As the installed script runs."""


def run(
    command: Sequence[str], environ: Mapping[str, str], text: bytes = b"", cwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run to the end."""
    return subprocess.run(
        command, env=environ, input=text, capture_output=True, timeout=SECONDS, check=False, cwd=cwd or "/"
    )


def mesh(environ: Mapping[str, str], *arguments: str, text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """`mesh …`, measured where the tests are."""
    if "MESH_TESTS_COVERAGE" in os.environ:
        environ = {**environ, "COVERAGE_PROCESS_CONFIG": os.environ["MESH_TESTS_COVERAGE"]}
    return run((*MESH, *arguments), environ, text)


class McpClient:
    """`mesh mcp` as a child, spoken to line by line."""

    def __init__(self, environ: Mapping[str, str], *arguments: str, command: Sequence[str] = MESH) -> None:
        self.process = subprocess.Popen(
            [*command, "mcp", *arguments],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            cwd="/",
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin = self.process.stdin
        self.stdout = self.process.stdout

    def __enter__(self) -> "McpClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(SECONDS)
        self.stdin.close()
        self.stdout.close()

    def say(self, message: object) -> None:
        line = message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n"
        while line:
            line = line[self.stdin.write(line) :]

    def hear(self) -> dict:
        """The next line."""
        ready, _, _ = select.select([self.stdout], [], [], SECONDS)
        assert ready, "no line came in time"
        return json.loads(self.stdout.readline())

    def ask(self, message: object) -> dict:
        self.say(message)
        return self.hear()
