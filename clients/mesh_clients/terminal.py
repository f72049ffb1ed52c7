"""A person's terminal, taken over for a moment and given back as it was, whatever ends that moment.

Plain ANSI (ECMA-48) on the rows where the cursor stands: no alternate screen, so what was on the screen stays there, and
nothing of ours is left when it is given back.
"""

import os
import select
import signal
import sys
import termios

from mesh_clients.render import cells

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import FrameType
    from typing import NoReturn

ESCAPE_S = 0.05
"""After so long without another byte an ESC was the key and not the beginning of one."""
MAX_LINE = 4096
"""Bytes that a terminal keeps of a line (termios(3), canonical mode)."""
LOOK_S = 0.25
"""How often the size is looked at."""
ENDING = (signal.SIGTERM, signal.SIGHUP)
HIDE, SHOW, PLAIN = "\x1b[?25l", "\x1b[?25h", "\x1b[0m"
SEQUENCES = {
    b"\x1b[A": "up",
    b"\x1b[B": "down",
    b"\x1b[C": "right",
    b"\x1b[D": "left",
    b"\x1bOA": "up",
    b"\x1bOB": "down",
    b"\x1bOC": "right",
    b"\x1bOD": "left",
    b"\x1b[Z": "up",
    b"\x1b[H": "first",
    b"\x1b[F": "last",
    b"\x1b[3~": "erase",
}
CONTROLS = {
    b"\r": "enter",
    b"\n": "enter",
    b"\t": "down",
    b"\x7f": "erase",
    b"\x08": "erase",
    b"\x15": "clear",
    b"\x04": "cancel",
    b"\x10": "up",
    b"\x0e": "down",
}


class Ended(BaseException):
    """A signal that ends the program came; the terminal is given back first."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Terminal:
    """Key by key and without echo from `__enter__` to `__exit__`. Ctrl-C raises KeyboardInterrupt."""

    def __init__(self, source: int = 0, sink: int = 1) -> None:
        self._source = source
        self._sink = sink
        self._bytes = b""
        self._drawn: list[int] = []
        self.columns, self.rows = self._size()

    def __enter__(self) -> "Terminal":
        self._handlers = {number: signal.signal(number, self._end) for number in ENDING}
        try:
            self._before = termios.tcgetattr(self._source)
            mode = termios.tcgetattr(self._source)
            mode[3] &= ~(termios.ICANON | termios.ECHO)
            # Stopped in the middle, it would leave the shell a terminal without echo.
            mode[6][termios.VSUSP] = b"\0"
            mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
            termios.tcsetattr(self._source, termios.TCSADRAIN, mode)
            self._write(HIDE)
        except BaseException:
            self._restore_handlers()
            raise
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self.wipe()
            self._write(PLAIN + SHOW)
        except OSError:
            pass  # there is no terminal any more
        try:
            termios.tcsetattr(self._source, termios.TCSADRAIN, self._before)
        except termios.error:
            pass
        self._restore_handlers()
        if isinstance(error, Ended):
            die_of(error.number)

    def _end(self, number: int, frame: "FrameType | None") -> "NoReturn":
        raise Ended(number)

    def _restore_handlers(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    # What is shown.

    def draw(self, lines: "Sequence[str]", widths: "Sequence[int]") -> None:
        """Show `lines` (which may hold colours) in place of the ones before; `widths` are their columns, below the
        terminal's."""
        # What is on the screen and what we know of it change together, or the wrong rows would be erased.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, *ENDING))
        try:
            self._write(self._to_start() + "\r\n".join(lines))
            self._drawn = [*widths]
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def wipe(self) -> None:
        """Take away what was drawn; the cursor is where it was before."""
        self._write(self._to_start())
        self._drawn = []

    def _to_start(self) -> str:
        """What erases the drawn lines, as many rows as they take in a window that may have become narrower."""
        rows = sum(max(1, -(-width // self.columns)) for width in self._drawn)
        return "\r" + (f"\x1b[{rows - 1}A" if rows > 1 else "") + "\x1b[J"

    def _write(self, text: str) -> None:
        data = text.encode(sys.stdout.encoding or "utf-8", "replace")
        while data:
            data = data[os.write(self._sink, data) :]

    def _size(self) -> tuple[int, int]:
        try:
            columns, rows = os.get_terminal_size(self._sink)
        except OSError:
            return 80, 24
        return columns or 80, rows or 24

    # What is typed.

    def key(self) -> str:
        """The next key: its name (of `SEQUENCES`, `CONTROLS`), a letter, `resized`, or nothing for one without a meaning.

        Raises `Ended` when the terminal is gone.
        """
        while True:
            found = next_key(self._bytes)
            if found is not None:
                self._bytes = found[1]
                return found[0]
            waiting = bool(self._bytes)
            ready, _, _ = select.select([self._source], [], [], ESCAPE_S if waiting else LOOK_S)
            if ready:
                try:
                    data = os.read(self._source, 1024)
                except OSError:
                    data = b""
                if not data:
                    raise Ended(signal.SIGHUP)
                self._bytes += data
            elif waiting:
                lone, self._bytes = self._bytes == b"\x1b", b""
                return "cancel" if lone else ""
            elif self._size() != (self.columns, self.rows):
                self.columns, self.rows = self._size()
                return "resized"


def next_key(data: bytes) -> tuple[str, bytes] | None:
    """The first key in `data` and what follows it; None when more is needed to tell."""
    if not data:
        return None
    if data[0] == 0x1B:
        return next_sequence(data)
    if data[:1] in CONTROLS:
        return CONTROLS[data[:1]], data[1:]
    if data[0] < 0x20:
        return "", data[1:]
    size = 1 if data[0] < 0xC0 or data[0] > 0xF7 else 2 if data[0] < 0xE0 else 3 if data[0] < 0xF0 else 4
    if len(data) < size:
        return None
    try:
        letter = data[:size].decode()
    except UnicodeDecodeError:
        return "", data[1:]
    return (letter if letter.isprintable() else ""), data[size:]


def next_sequence(data: bytes) -> tuple[str, bytes] | None:
    """ESC and what belongs to it: CSI parameters and a final byte, SS3 and one, or one byte."""
    if len(data) < 2:
        return None
    if data[1:2] == b"O":
        return (SEQUENCES.get(data[:3], ""), data[3:]) if len(data) > 2 else None
    if data[1:2] != b"[":
        return "", data[2:]
    for place in range(2, len(data)):
        if 0x40 <= data[place] <= 0x7E:
            return SEQUENCES.get(data[: place + 1], ""), data[place + 1 :]
    return None


def die_of(number: int) -> None:
    """End as the signal would have ended us, so that whoever waits for us is told so."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def ask_line(question: str) -> str | None:
    """A line of the terminal at standard input, without blanks around it; None for its end (Ctrl-D).

    Not by input(): a Ctrl-C that comes just before that begins to wait is noticed with the next key only.
    """
    sys.stdout.write(question)
    sys.stdout.flush()
    while not select.select([0], [], [], LOOK_S)[0]:
        pass
    data = os.read(0, MAX_LINE)
    return data.decode("utf-8", "replace").strip() if data else None


# What a terminal can show.


def is_interactive() -> bool:
    """Whether a person sits at both ends."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))


def can_draw(environ: "Mapping[str, str]") -> bool:
    """Whether the cursor can be moved."""
    return environ.get("TERM", "") not in ("", "dumb", "unknown")


def shows_unicode(environ: "Mapping[str, str]", encoding: str) -> bool:
    """Whether more than ASCII can be expected to be seen; Python itself may say UTF-8 in a locale that is not."""
    if encoding.lower().replace("-", "") != "utf8":
        return False
    named = (environ.get("LC_ALL", ""), environ.get("LANG", ""))
    return all("." not in name or "utf" in name.lower() for name in named)


class Style:
    """Colours and signs, as far as this terminal has them."""

    def __init__(self, environ: "Mapping[str, str]", *, encoding: str, terminal: bool) -> None:
        self._colour = terminal and not environ.get("NO_COLOR") and can_draw(environ)
        unicode = shows_unicode(environ, encoding)
        self.pointer, self.caret, self.dot, self.ring = ("❯", "▏", "●", "○") if unicode else (">", "_", "*", "o")
        self.before, self.behind, self.hidden = ("‹", "›", "•") if unicode else ("<", ">", "*")
        self.between, self.arrows, self.sides, self.more = (
            ("·", "↑↓", "←→", "…") if unicode else ("-", "up/down", "left/right", "...")
        )

    def bold(self, text: str) -> str:
        return self._painted(text, "1")

    def faint(self, text: str) -> str:
        return self._painted(text, "2")

    def good(self, text: str) -> str:
        return self._painted(text, "32")

    def accent(self, text: str) -> str:
        return self._painted(text, "36")

    def warn(self, text: str) -> str:
        return self._painted(text, "33")

    def _painted(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour and text else text

    def cut(self, text: str, width: int) -> str:
        """`text` in at most `width` columns."""
        if cells(text) <= width:
            return text
        room = max(0, width - len(self.more))
        while text and cells(text) > room:
            text = text[:-1]
        return (text.rstrip() + self.more)[: max(width, 0)]


def style_of(stdout: "object", environ: "Mapping[str, str]") -> Style:
    """The style for standard output as it is."""
    encoding = getattr(stdout, "encoding", None) or "ascii"
    isatty = getattr(stdout, "isatty", None)
    return Style(environ, encoding=encoding, terminal=bool(isatty is not None and isatty()))
