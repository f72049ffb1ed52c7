"""Reading a command line by the table. `argparse` would cost as much as the rest of a short command together.

Flags may stand anywhere: `--flag VALUE`, `--flag=VALUE`, `--` ends them. A number or a text with blanks may begin with a
dash; everything else that does is a flag.
"""

from mesh_protocol.wire.errors import MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container
    from typing import Final

    from mesh_protocol.wire.codec import JsonValue

OURS: "Final" = ("--json", "--help", "-h", "--version", "--no-start")
"""The flags that every command knows, beside --mesh MESH."""
REQUIRED: "Final" = None
"""The default of a field that must be given."""


class Field:
    """One field of a verb; `flag` is empty where it is positional."""

    __slots__ = ("choices", "default", "flag", "help", "kind", "name")

    def __init__(
        self, name: str, flag: str, kind: str, choices: tuple[str, ...], default: "JsonValue", text: str
    ) -> None:
        self.name = name
        self.flag = flag
        self.kind = kind
        self.choices = choices
        self.default = default
        self.help = text

    @property
    def word(self) -> str:
        """What stands for the value in help."""
        if self.kind in ("int", "float"):
            return "S" if self.name.endswith(("_s", "timeout")) else "N"
        if self.kind == "texts" and not self.flag:
            return f"{self.name.upper()}..."
        return "|".join(self.choices) or (self.flag.lstrip("-") or self.name).upper().replace("-", "_")


class Verb:
    """One command as the table has it, and what it needs beyond that."""

    __slots__ = ("args", "columns", "fields", "method", "name", "payload", "rows", "summary", "texts")

    def __init__(
        self,
        name: str,
        method: str,
        summary: str,
        args: tuple[str, ...],
        fields: "tuple[tuple[str, str, str, tuple[str, ...], JsonValue, str], ...]",
        payload: str = "",
        texts: str = "",
        rows: str = "",
        columns: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.method = method
        self.summary = summary
        self.args = args
        self.fields = [Field(*field) for field in fields]
        self.payload = payload
        self.texts = texts
        self.rows = rows
        self.columns = columns

    @property
    def positional(self) -> list[Field]:
        """The positional fields in their order."""
        by_name = {field.name: field for field in self.fields}
        return [by_name[name] for name in self.args]

    @property
    def flags(self) -> list[Field]:
        return [field for field in self.fields if field.flag]


class Line:
    """A command line that was read: `params` holds what was given, by field name."""

    __slots__ = ("help", "json", "mesh", "params", "rest", "start", "version", "words")

    def __init__(self) -> None:
        self.params: dict[str, JsonValue] = {}
        self.words: list[str] = []
        self.rest: list[str] = []
        """What stands behind `--` where that is another program's."""
        self.json = False
        self.help = False
        self.version = False
        self.start = True
        self.mesh = ""


def split_verb(arguments: list[str], verbs: "Container[str]" = ()) -> tuple[str, list[str]]:
    """The verb, and everything else; the verb is empty when there is none.

    Some of `verbs` have two words (`outbox cancel`): the second one stands right behind the first.
    """
    place = 0
    while place < len(arguments):
        word = arguments[place]
        if word == "--mesh":
            place += 2
        elif word.startswith("-") and word != "--":
            place += 1
        else:
            break
    if place >= len(arguments) or arguments[place] == "--":
        return "", arguments
    words = 2 if " ".join(arguments[place : place + 2]) in verbs else 1
    return " ".join(arguments[place : place + words]), arguments[:place] + arguments[place + words :]


def split_flags_first(arguments: list[str]) -> tuple[list[str], list[str]] | None:
    """Where a flag that is not ours comes before any word: our flags before it, and all that is another program's.

    `mesh --resume ID` is what `claude --resume ID` is.
    """
    place = 0
    while place < len(arguments):
        name = arguments[place].partition("=")[0]
        if name == "--mesh":
            place += 1 if "=" in arguments[place] else 2
        elif name in OURS:
            place += 1
        elif name.startswith("-") and name not in ("-", "--"):
            return arguments[:place], arguments[place:]
        else:
            return None
    return None


def read_line(verb: Verb, arguments: list[str]) -> Line:
    """Read the arguments of `verb`. Raises `MeshError("bad_request")`, which says what to do."""
    line = Line()
    flags = {field.flag: field for field in verb.flags}
    waiting = list(arguments)
    while waiting:
        word = waiting.pop(0)
        if word == "--":
            line.words += waiting
            break
        if not is_flag(word):
            line.words.append(word)
            continue
        name, equals, value = word.partition("=")
        if take_global(line, name, equals, value, waiting, flags):
            continue
        field = flags.get(name)
        if field is None:
            raise bad(verb, f"there is no flag {name}{near(name, [*flags])}{dash_hint(word)}")
        take_flag(line, field, equals, value, waiting)
    if not line.help and not line.version:
        take_words(line, verb)
        for field in verb.flags:
            if field.default is REQUIRED and field.name not in line.params:
                raise bad(verb, f"{field.flag} {field.word} is needed")
    return line


def is_flag(word: str) -> bool:
    """Whether a word that begins with a dash is a flag: not `-` itself, not a number, not a sentence."""
    if len(word) < 2 or word[0] != "-" or is_number(word):
        return False
    return " " not in word or (word.startswith("--") and "=" in word.partition(" ")[0])


def is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def take_global(line: Line, name: str, equals: str, value: str, waiting: list[str], flags: dict[str, Field]) -> bool:
    """The flags that every command knows. Returns whether it was one."""
    if name in OURS:
        if equals:
            raise MeshError("bad_request", what=f"{name} takes no value")
        setattr(line, {"--no-start": "start", "-h": "help"}.get(name, name[2:]), name != "--no-start")
        return True
    if name == "--mesh" and "--mesh" not in flags:
        line.mesh = value if equals else next_value(name, "MESH", waiting)
        return True
    return False


def take_flag(line: Line, field: Field, equals: str, value: str, waiting: list[str]) -> None:
    if field.kind == "on":
        if equals:
            raise MeshError("bad_request", what=f"{field.flag} takes no value")
        line.params[field.name] = True
        return
    given = convert(field, field.flag, value if equals else next_value(field.flag, field.word, waiting))
    if field.kind == "texts":
        earlier = line.params.get(field.name)
        given = [*(earlier if isinstance(earlier, list) else []), given]
    line.params[field.name] = given


def next_value(flag: str, word: str, waiting: list[str]) -> str:
    if not waiting or is_flag(waiting[0]):
        raise MeshError(
            "bad_request", what=f"{flag} needs a value: {flag} {word} (or {flag}=VALUE if it begins with -)"
        )
    return waiting.pop(0)


def take_words(line: Line, verb: Verb) -> None:
    """Give the positional words to their fields."""
    wanted = verb.positional
    if wanted and wanted[-1].kind == "texts":  # it takes all that is left, with blanks or commas between
        last, place = wanted[-1], len(wanted) - 1
        words = [part for word in line.words[place:] for part in word.split(",") if part]
        del line.words[place:]
        if words:
            line.params[last.name] = [convert(last, last.word, word) for word in words]
            wanted = wanted[:-1]
    if len(line.words) > len(wanted):
        extra = line.words[len(wanted)]
        hint = ": put quotation marks around a text with blanks" if wanted else ""
        raise bad(verb, f"one argument too many, {extra!r}{hint}")
    for field, word in zip(wanted, line.words, strict=False):
        line.params[field.name] = convert(field, field.word, word)
    missing = [field.word for field in wanted[len(line.words) :] if field.default is REQUIRED]
    if missing:
        raise bad(verb, f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")


def convert(field: Field, shown: str, text: str) -> "JsonValue":
    """A word as the field's kind. Raises `MeshError`."""
    if field.choices and text not in field.choices:
        raise MeshError("bad_request", what=f"{shown} is one of {', '.join(field.choices)}, not {text!r}")
    if field.kind == "int":
        digits = text[1:] if text[:1] in "+-" else text
        if not (digits.isascii() and digits.isdecimal() and len(digits) < 16):
            raise MeshError("bad_request", what=f"{shown} is a whole number, not {text!r}")
        return int(text)
    if field.kind == "float":
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if number - number != 0:  # not a number, or infinite
            raise MeshError("bad_request", what=f"{shown} is a number, not {text!r}")
        return number
    try:
        text.encode()
    except UnicodeEncodeError:
        raise MeshError("bad_request", what=f"{shown} is not UTF-8") from None
    if field.kind == "targets" and "," in text:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def bad(verb: Verb, what: str) -> MeshError:
    return MeshError("bad_request", what=f"{what}; see mesh {verb.name} --help")


def dash_hint(word: str) -> str:
    return "" if word.startswith("--") else ", and -- goes before a text that begins with -"


def near(word: str, known: list[str]) -> str:
    """A hint at what was meant, or nothing."""
    from difflib import get_close_matches

    found = get_close_matches(word, known, 1, 0.6)
    return f" (did you mean {found[0]}?)" if found else ""
