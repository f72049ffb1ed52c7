"""A program on a pseudo terminal of a given size, its screen kept by a terminal emulator. Blocking; every wait is bounded.

    with Terminal([MESH, "peers"], environ, columns=80) as terminal:
        terminal.ends()
    check_picture("peers-80", terminal.lines)

The picture lies in tests/snapshots/peers-80.txt. MESH_SNAPSHOTS=write writes the pictures anew: look at them before you
commit them.
"""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyte

SECONDS = 60.0
"""No wait is longer."""
SNAPSHOTS = Path(__file__).parents[1] / "snapshots"
WRITE = "MESH_SNAPSHOTS"
# Between fork and exec nothing may run in a process with threads, so the new program makes the terminal its own.
_TRAMPOLINE = "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
_END = b"\x1b]2;end\x07"
"""A terminal's title, which is no part of its screen."""
_REST = "the rest of its output"
MASKS: tuple[tuple[str, str], ...] = (
    (r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\b", "YYYY-MM-DD hh:mm:ss"),
    (r"\b\d{4}-\d\d-\d\d \d\d:\d\d\b", "YYYY-MM-DD hh:mm"),
    (r"\b\d{4}-\d\d-\d\d\b", "YYYY-MM-DD"),
    (r"\b\d\d:\d\d:\d\d\b", "hh:mm:ss"),
    (r"\b\d\d:\d\d\b", "hh:mm"),
)
"""Pattern and replacement of the times; both have the same width, so that columns stay where they are."""
_IDS = re.compile(r"\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f]|\d{8})[0-9a-f]{8,64}\b")


class Terminal:
    """The screen as text, and a keyboard. Leaving the block ends the program if it still runs."""

    def __init__(
        self,
        command: Sequence[str | Path],
        environ: Mapping[str, str],
        *,
        columns: int = 80,
        rows: int = 24,
        cwd: str | Path = "/",
    ) -> None:
        environ = {"TERM": "xterm-256color", **environ}
        if "MESH_TESTS_COVERAGE" in os.environ:
            environ["COVERAGE_PROCESS_CONFIG"] = os.environ["MESH_TESTS_COVERAGE"]
        self._screen = pyte.Screen(columns, rows)
        self._emulator = pyte.ByteStream(self._screen)
        self.written = b""
        """Every byte that the program wrote to the terminal."""
        self.status: int | None = None
        self._master, slave = pty.openpty()
        try:
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            self.before = termios.tcgetattr(slave)
            """The line's settings before the program ran."""
            self.process = subprocess.Popen(
                [sys.executable, "-ISc", _TRAMPOLINE, *map(str, command)],
                stdin=slave,
                stdout=slave,
                stderr=slave,
                env=environ,
                cwd=cwd,
            )
            self._slave = slave
        except BaseException:
            os.close(self._master)
            os.close(slave)
            raise

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(SECONDS)
        os.close(self._slave)
        os.close(self._master)

    # What is seen.

    @property
    def lines(self) -> list[str]:
        """The rows of the screen, without blanks at their ends and without empty rows at the bottom."""
        rows = [row.replace("\xa0", " ").rstrip() for row in self._screen.display]
        while rows and not rows[-1]:
            rows.pop()
        return rows

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def is_plain(self) -> bool:
        """Whether no cell is coloured, bold, underlined or reversed."""
        default = self._screen.default_char
        return all(
            cell._replace(data=" ") == default._replace(data=" ")
            for row in self._screen.buffer.values()
            for cell in row.values()
        )

    def is_as_before(self) -> bool:
        """Whether the terminal is as the program found it: line settings, cursor, screen, paste and mouse modes."""
        private = {1049, 1047, 47, 2004, 1000, 1002, 1003, 1006}  # xterm control sequences, DECSET
        left = {mode >> 5 for mode in self._screen.mode} & private
        return termios.tcgetattr(self._slave) == self.before and not self._screen.cursor.hidden and not left

    # Doing something.

    def keys(self, text: str) -> None:
        """Type. Return is \\r, the arrows are \\x1b[A and so on, Ctrl-C is \\x03."""
        data = text.encode()
        while data:
            data = data[os.write(self._master, data) :]

    def resize(self, columns: int, rows: int) -> None:
        self._screen.resize(rows, columns)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, number: signal.Signals) -> None:
        """A signal to the program alone."""
        self.process.send_signal(number)

    # Waiting.

    def shows(self, text: str) -> None:
        """Wait until `text` stands on one row of the screen."""
        self.until(lambda: any(text in line for line in self.lines), f"{text!r} on the screen")

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Draw what the program writes until `condition` holds."""
        deadline = time.monotonic() + SECONDS
        while not condition():
            ended = self.process.poll() is not None
            drawn = self._draw()
            if condition():
                return
            assert not (ended and not drawn) or what == _REST, (
                f"it ended with {self.process.returncode} before {what}:\n{self.text}"
            )
            assert time.monotonic() < deadline, f"waited {SECONDS:g} s for {what}:\n{self.text}"

    def ends(self) -> int:
        """Wait for the program's end and draw the rest of what it wrote. Returns its exit status."""
        self.until(lambda: self.process.poll() is not None, "the end")
        # What is written to a terminal comes out in order, so behind this nothing of the program's is left.
        os.write(self._slave, _END)
        self.until(lambda: self.written.endswith(_END), _REST)
        self.written = self.written.removesuffix(_END)
        self.status = self.process.returncode
        return self.process.returncode

    def _draw(self) -> bool:
        """Take in what was written; wait a moment if there is nothing. Whether there was something."""
        ready, _, _ = select.select([self._master], [], [], 0.05)
        if not ready:
            return False
        data = os.read(self._master, 65536)
        self.written += data
        self._emulator.feed(data)
        return True


def mask(line: str, masks: Sequence[tuple[str, str]] = ()) -> str:
    """A row without what differs from run to run: ids become `#`, times their pattern. `masks` come first."""
    for pattern, instead in (*masks, *MASKS):
        line = re.sub(pattern, instead, line)
    return _IDS.sub(lambda found: "#" * len(found[0]), line)


def check_picture(name: str, lines: Sequence[str], masks: Sequence[tuple[str, str]] = ()) -> None:
    """Compare rows with the picture `name`; both are shown when they differ."""
    path = SNAPSHOTS / f"{name}.txt"
    seen = "".join(f"{mask(line, masks)}".rstrip() + "\n" for line in lines)
    if os.environ.get(WRITE) == "write":
        path.write_text(seen, encoding="utf-8")
        return
    wanted = path.read_text(encoding="utf-8") if path.exists() else ""
    assert seen == wanted, (
        f"the screen is not the picture {path.relative_to(SNAPSHOTS.parent)} "
        f"(if it is right now: {WRITE}=write)\n\n--- picture\n{wanted}\n--- screen\n{seen}---"
    )
