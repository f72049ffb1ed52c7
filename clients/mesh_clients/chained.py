"""The command that made the user's status line before ours: run beside our request, for a bounded time, and kept above ours.

Loaded only where a status line is chained to one. Claude Code shows five lines, so four of them are the user's; it
ends a run at the next refresh, and whatever the command still runs then is ended with us.
"""

import _signal  # type: ignore[import-not-found]
import posix
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_MS = 10_000
DEFAULT_MS = 600
"""Below the shortest refresh, which is a second."""
BYTES = 8192
LINES = 4
PIPE_BYTES = 16 * 1024
"""What a pipe holds everywhere without a reader, where there are no files in memory."""
RESET = b"\x1b[0m"
KILLED = 137


class Chained:
    """A run of the user's command in a process group of its own."""

    def __init__(self, command: bytes, document: bytes, environ: "Mapping[bytes, bytes]", within_ms: int) -> None:
        self._until = time.monotonic() + (min(within_ms, MOST_MS) or DEFAULT_MS) / 1000
        self._output, writer = posix.pipe()
        reader = document_file(document)
        _signal.signal(_signal.SIGTERM, self._stop)
        try:
            self._pid = posix.posix_spawn(
                "/bin/sh",
                [b"sh", b"-c", command],
                environ,
                file_actions=[(posix.POSIX_SPAWN_DUP2, reader, 0), (posix.POSIX_SPAWN_DUP2, writer, 1)],
                setpgroup=0,
                setsigdef=[_signal.SIGPIPE, _signal.SIGTERM],
            )
        finally:
            posix.close(reader)
            posix.close(writer)

    def finish(self) -> bytes:
        """What it printed within its time, in whole lines; empty for nothing. What still runs then is ended."""
        poll = select.poll()
        poll.register(self._output, select.POLLIN)
        seen = b""
        while len(seen) <= BYTES:
            left = self._until - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                self._kill()
                break
            piece = posix.read(self._output, 65536)
            if not piece:
                break
            seen += piece
        else:
            self._kill()
        return shown(seen)

    def _kill(self) -> None:
        try:
            posix.killpg(self._pid, _signal.SIGKILL)
        except OSError:
            pass  # it ended by itself

    def _stop(self, number: int, frame: object) -> None:
        self._kill()
        posix._exit(KILLED)


def start(command: bytes, document: bytes, environ: "Mapping[bytes, bytes]", within_ms: int) -> Chained | None:
    """Run `command` on `document`; None where that is not possible: our own line does not depend on it."""
    try:
        return Chained(command, document, environ, within_ms)
    except OSError:
        return None


def document_file(document: bytes) -> int:
    """A descriptor to read the document from: a file in memory, else a pipe that holds it whole, else an empty one."""
    if hasattr(posix, "memfd_create"):
        file = posix.memfd_create("document", posix.MFD_CLOEXEC)
        posix.write(file, document)
        posix.lseek(file, 0, 0)
        return file
    reader, writer = posix.pipe()
    if len(document) <= PIPE_BYTES:
        posix.write(writer, document)
    posix.close(writer)
    return reader


def shown(output: bytes) -> bytes:
    """At most `LINES` lines and `BYTES` bytes of it, each line ended, no style left open, no line cut in two."""
    if len(output) > BYTES:
        output = output[:BYTES].rpartition(b"\n")[0]
    lines = [line for line in output.split(b"\n") if line.strip()][:LINES]
    end = RESET + b"\n" if b"\x1b" in output else b"\n"
    return b"\n".join(lines) + end if lines else b""
