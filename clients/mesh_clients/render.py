"""Plain text for people: aligned columns, local times, and nothing from a peer that could move the cursor or lie about itself."""

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    from mesh_protocol.wire.codec import JsonValue

GAP = "  "
_KEPT = "\n\t"
_JOINERS = "\u200c\u200d"
_DROPPED = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in _KEPT}
_CATEGORIES = ("Cc", "Cf", "Cs")


def clean_text(text: str) -> str:
    """A text of several lines without control, bidirectional and invisible characters. Line feeds and tabs stay."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").translate(_DROPPED)
    if text.isascii():
        return text
    import unicodedata

    text = text.replace("\u2028", "\n").replace("\u2029", "\n")
    return "".join(
        char for char in text if char in _KEPT or char in _JOINERS or unicodedata.category(char) not in _CATEGORIES
    )


def clean_line(text: str) -> str:
    """The same on one line."""
    return " ".join(clean_text(text).split())


def word(row: "dict[str, JsonValue]", name: str) -> str:
    """A text or number of an answer, on one line; empty when it is missing."""
    value = row.get(name)
    return "" if value is None or isinstance(value, bytes) else clean_line(str(value))


def block(row: "dict[str, JsonValue]", name: str) -> str:
    """A text of an answer with its lines."""
    value = row.get(name)
    return clean_text(value) if isinstance(value, str) else ""


def standing(row: "dict[str, JsonValue]") -> str:
    """What stands behind a sender's name: whether the person has compared his keys, and they are still the same."""
    return {"verified": " (verified)", "changed": " (keys changed)"}.get(word(row, "verified"), "")


def show_value(name: str, value: "JsonValue") -> str:
    """A value as a person reads it; `name` tells times (``*_ms``) from numbers."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_ms") and isinstance(value, int):
        return show_time(value)
    if isinstance(value, list):
        return ", ".join(show_value("", item) for item in value)
    return clean_line("" if value is None else str(value))


def show_time(epoch_ms: int, *, seconds: bool = True) -> str:
    """Local time; empty for 0, which means never."""
    if not epoch_ms:
        return ""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M", time.localtime(epoch_ms / 1000))
    except (OverflowError, ValueError, OSError):
        return f"{epoch_ms} ms"


def show_span(seconds: int) -> str:
    """A length of time in its largest unit."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def columns(rows: "Sequence[Sequence[str]]", heads: "Sequence[str]", width: int) -> list[str]:
    """Aligned lines under `heads`; the last column is cut at `width` (0: never)."""
    table = [list(heads), *([*row] for row in rows)]
    widths = [max(cells(row[place]) for row in table) for place in range(len(heads))]
    lines = []
    for row in table:
        line = GAP.join(text + " " * (size - cells(text)) for text, size in zip(row, widths, strict=True)).rstrip()
        lines.append(cut(line, width) if width else line)
    return lines


def cells(text: str) -> int:
    """Columns of a terminal that `text` takes."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        0 if unicodedata.combining(char) or char in _JOINERS else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )


def cut(text: str, width: int) -> str:
    """`text` in at most `width` columns, with an ellipsis where it was longer."""
    if cells(text) <= width:
        return text
    while text and cells(text) > width - 1:
        text = text[:-1]
    return text + "…"


def fold(head: str, text: str, width: int) -> list[str]:
    """`text` beside `head`, in lines of at most `width` columns (0: one line) that are broken between words; all but the
    first begin with blanks. A word that is wider than its place stays whole, and so does a text without a place."""
    room = width - cells(head)
    if room <= 0 or cells(text) <= room:
        return [(head + text).rstrip()]
    lines = [""]
    for each in text.split():
        if lines[-1] and cells(lines[-1]) + 1 + cells(each) > room:
            lines.append(each)
        else:
            lines[-1] = f"{lines[-1]} {each}".lstrip()
    blank = " " * cells(head)
    return [head + lines[0], *(blank + line for line in lines[1:])]


def terminal_width(stream: "TextIO") -> int:
    """Columns of the terminal behind `stream`, 0 where there is none."""
    try:
        return os.get_terminal_size(stream.fileno()).columns if stream.isatty() else 0
    except (OSError, ValueError):
        return 0


def emphasise(text: str, stream: "TextIO") -> str:
    """Bold on a terminal, unless NO_COLOR is set (no-color.org) or the terminal is dumb."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty():
        return text
    return f"\x1b[1m{text}\x1b[0m"


def print_rows(rows: "Sequence[dict[str, JsonValue]]", names: "Sequence[str]") -> None:
    """A table of `rows` by the keys `names`."""
    shown = [[show_value(name, row.get(name)) for name in names] for row in rows]
    heads = [name.removesuffix("_ms").replace("_", " ").upper() for name in names]
    lines = columns(shown, heads, terminal_width(sys.stdout))
    say(emphasise(lines[0], sys.stdout))
    for line in lines[1:]:
        say(line)


def print_fields(answer: "dict[str, JsonValue]") -> None:
    """A line for each field that says something."""
    size = max((len(name) for name in answer), default=0)
    for name, value in answer.items():
        if value not in ("", None, []):
            say(f"{name.removesuffix('_ms').ljust(size)}  {show_value(name, value)}")


def say(line: str) -> None:
    """One line on standard output. What the terminal's encoding lacks is shown as a question mark."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(line.encode(encoding, "replace").decode(encoding) + "\n")
