"""A form of a few rows on one screen: what is typed changes it, and it says what it looks like. Without any I/O."""

from mesh_clients.render import cells

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mesh_clients.terminal import Style

LABEL = 10
"""Columns of a row's name."""
SUBMIT = "submit"
CANCEL = "cancel"


class Row:
    """One question. With `options` (value, as it is shown) one of these is chosen, else a text is typed."""

    __slots__ = ("check", "help", "hidden", "label", "limit", "name", "options", "shown_if", "usual", "value")

    def __init__(
        self,
        name: str,
        label: str,
        value: str = "",
        *,
        options: "Sequence[tuple[str, str]]" = (),
        usual: str = "",
        help: "str | Callable[[str], str]" = "",  # noqa: A002
        limit: int = 64,
        hidden: bool = False,
        check: "Callable[[str], str]" = lambda value: "",
        shown_if: "Callable[[Form], bool]" = lambda form: True,
    ) -> None:
        self.name = name
        self.label = label
        self.value = value
        self.options = list(options)
        self.usual = usual
        """What stands for an empty text."""
        self.help = help
        self.limit = limit
        self.hidden = hidden
        self.check = check
        """Says what is wrong with a text; nothing for a good one."""
        self.shown_if = shown_if

    def say(self) -> str:
        """The help for what is chosen now."""
        return self.help if isinstance(self.help, str) else self.help(self.value)


class Form:
    """Rows, and the one that is being changed."""

    def __init__(self, title: str, place: str, rows: "Sequence[Row]", *, at: str = "", note: str = "") -> None:
        self.title = title
        self.note = note
        """What is worth knowing beside it, where there is room."""
        self.place = place
        self.rows = list(rows)
        self.trouble = ""
        names = [row.name for row in self.visible()]
        self._at = names.index(at) if at in names else 0

    def visible(self) -> list[Row]:
        return [row for row in self.rows if row.shown_if(self)]

    def value(self, name: str) -> str:
        """What was given for a row; empty where it does not apply."""
        return next((row.value.strip() for row in self.visible() if row.name == name), "")

    def chosen(self, name: str) -> str:
        """What stands in a row, whether it applies or not."""
        return next((row.value for row in self.rows if row.name == name), "")

    # What is typed.

    def press(self, key: str) -> str:
        """Take a key. Returns `SUBMIT` when everything is given, `CANCEL`, or nothing."""
        self.trouble = ""
        rows = self.visible()
        row = rows[self._at]
        if key == "cancel":
            return CANCEL
        if key == "enter":
            return self._submit(rows)
        if key in ("up", "down"):
            self._at = (self._at + (1 if key == "down" else -1)) % len(rows)
        elif row.options:
            choose(row, key)
        else:
            change_text(row, key)
        self._at = min(self._at, len(self.visible()) - 1)
        return ""

    def _submit(self, rows: list[Row]) -> str:
        for place, row in enumerate(rows):
            trouble = row.check(row.value.strip())
            if trouble:
                self._at, self.trouble = place, trouble
                return ""
        return SUBMIT

    # What is seen.

    def lines(self, columns: int, rows: int, style: "Style") -> tuple[list[str], list[int]]:
        """The lines, each below `columns` wide, and how wide each is. Where there is little room, help is left out."""
        width = columns - 1
        visible = self.visible()
        body = [self._row(row, place == self._at, width, style) for place, row in enumerate(visible)]
        head = [self._head(width, style), ("", 0)]
        said = self.trouble or visible[self._at].say()
        shown = style.cut(said, width - 1)
        tail = [
            ("", 0),
            (" " + (style.warn(shown) if self.trouble else style.faint(shown)), 1 + cells(shown)),
            self._keys(width, style),
        ]
        if self.note:
            note = style.cut(self.note, width - 1)
            tail += [("", 0), (" " + style.warn(note), 1 + cells(note))]
        room = rows - 1
        if len(head) + len(body) + len(tail) > room:
            head, tail = head[:1], tail[1:2]
        if len(head) + len(body) + len(tail) > room:
            start = max(0, min(self._at, len(body) - max(1, room - 1)))
            head, body = [], body[start : start + max(1, room - 1)]
        found = [*head, *body, *tail]
        return [line for line, _ in found], [size for _, size in found]

    def _head(self, width: int, style: "Style") -> tuple[str, int]:
        title = style.cut(self.title, width - 1)
        gap = width - cells(title) - cells(self.place) - 2
        if gap < 2:
            return " " + style.bold(title), 1 + cells(title)
        return f" {style.bold(title)}{' ' * gap}{style.faint(self.place)}", width - 1

    def _row(self, row: Row, here: bool, width: int, style: "Style") -> tuple[str, int]:
        sign = f"{style.pointer} " if here else "  "
        label = row.label.ljust(LABEL)
        room = width - 1 - len(sign) - LABEL - 1
        text, faint = shown_value(row, here, style)
        if not row.options and here:
            while cells(text) > room - 1:
                text = text[1:]  # the end is what is being typed
            text += style.caret
        text = style.cut(text, room)
        painted = style.faint(text) if faint else style.accent(text) if here else text
        mark = style.accent(sign) if here else sign
        return f" {mark}{style.bold(label) if here else label} {painted}", 2 + len(sign) + LABEL + cells(text)

    def _keys(self, width: int, style: "Style") -> tuple[str, int]:
        between = f" {style.between} "
        words = [f"{style.arrows} move", f"{style.sides} or 1-9 choose", "Enter start", "Ctrl-C cancel"]
        while cells(between.join(words)) > width - 1 and len(words) > 2:
            words.pop(0)
        text = style.cut(between.join(words), width - 1)
        return " " + style.faint(text), 1 + cells(text)


def shown_value(row: Row, here: bool, style: "Style") -> tuple[str, bool]:
    """A row's value as it is shown, and whether only in its place stands what is usual."""
    if row.options:
        shown = next((shown for value, shown in row.options if value == row.value), row.options[0][1])
        return (f"{style.before} {shown} {style.behind}" if here else shown), False
    if row.hidden:
        return style.hidden * min(len(row.value), 24), False
    if row.value or here:
        return row.value, False
    return row.usual, True


def choose(row: Row, key: str) -> None:
    """Another option: by arrow, by blank, or by its number."""
    values = [value for value, _ in row.options]
    place = values.index(row.value) if row.value in values else 0
    if key in ("right", " "):
        place = (place + 1) % len(values)
    elif key == "left":
        place = (place - 1) % len(values)
    elif key.isdecimal() and key.isascii() and 1 <= int(key) <= len(values):
        place = int(key) - 1
    row.value = values[place]


def change_text(row: Row, key: str) -> None:
    if key == "erase":
        row.value = row.value[:-1]
    elif key == "clear":
        row.value = ""
    elif len(key) == 1 and len(row.value) < row.limit:
        row.value += key
