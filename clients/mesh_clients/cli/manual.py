"""`mesh help man`: the manual page mesh(1), from the table of commands and the topics. roff, as groff_man(7) has it."""

from mesh_clients.build import BUILD
from mesh_clients.cli import own
from mesh_clients.cli.help import EVERYWHERE, describe, flag_of, usage_of
from mesh_clients.cli.topics import TOPICS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from mesh_clients.cli.grammar import Verb

ABOUT = "end-to-end encrypted messages between people and coding sessions"
INTRODUCTION = (
    "mesh talks to the daemon of this machine, meshd, and starts it where none runs. A mesh is a few machines that"
    " exchange messages through a broker which can read none of them. First: mesh new NAME, then mesh invite; elsewhere:"
    " mesh join URL."
)


def write_manual() -> str:
    """The whole page."""
    return "\n".join([*_head(), *_commands(), *_topics(), *_tail()]) + "\n"


def _head() -> "Iterator[str]":
    yield f'.TH MESH 1 "" "meshd {escape(BUILD)}" "User Commands"'
    yield ".SH NAME"
    yield f"mesh \\- {escape(ABOUT)}"
    yield ".SH SYNOPSIS"
    yield ".B mesh"
    yield "COMMAND [ARGUMENTS] [FLAGS]"
    yield ".SH DESCRIPTION"
    yield escape(INTRODUCTION)
    yield ".SH OPTIONS"
    yield "Every command takes these; flags may stand anywhere, and \\-\\- ends them."
    for flag, text in EVERYWHERE:
        yield from _pair(flag, text)


def _commands() -> "Iterator[str]":
    from mesh_clients.cli.main import find_verb

    yield ".SH COMMANDS"
    for title, names in own.ORDER:
        yield f".SS {escape(title)}"
        for name in names:
            yield from _command(find_verb(name))


def _command(verb: "Verb") -> "Iterator[str]":
    words = [field.word if field.default is None else f"[{field.word}]" for field in verb.positional]
    words += [usage_of(field) for field in verb.flags]
    yield ".TP"
    yield f"\\fBmesh {escape(verb.name)}\\fR {escape(' '.join(words))}".rstrip()
    yield escape(verb.summary)
    pairs = [(field.word, describe(verb, field)) for field in verb.positional]
    pairs += [(flag_of(field), describe(verb, field)) for field in verb.flags]
    if pairs:
        yield ".RS"
        for left, text in pairs:
            yield from _pair(left, text)
        yield ".RE"


def _topics() -> "Iterator[str]":
    for name, (about, said, pairs) in TOPICS.items():
        yield f".SH {escape(name).upper()}: {escape(about)}"
        yield escape(said)
        for left, text in pairs:
            yield from _pair(left, text)


def _tail() -> "Iterator[str]":
    yield ".SH SEE ALSO"
    yield escape("mesh help COMMAND, mesh help TOPIC, mesh doctor")


def _pair(left: str, text: str) -> "Iterator[str]":
    yield ".TP"
    yield f"\\fB{escape(left)}\\fR"
    yield escape(text) or "\\&"


def escape(text: str) -> str:
    """A text as roff prints it: nothing in it is a command, and a dash is a dash that can be copied."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga").replace("'", "\\(aq")
    return f"\\&{text}" if text.startswith(".") else text
