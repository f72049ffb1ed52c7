"""What commands there are, what each takes, and a few topics beyond them. Needs no daemon."""

import sys

from mesh_clients.cli import own
from mesh_clients.cli.grammar import REQUIRED, Field, Verb
from mesh_clients.cli.invocation import Invocation
from mesh_clients.cli.table import VERBS
from mesh_clients.cli.topics import TOPICS
from mesh_clients.render import emphasise, fold, say, terminal_width
from mesh_protocol.wire.errors import OK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

EVERYWHERE = (
    ("--json", "print one JSON document"),
    ("--no-start", "do not start a daemon that is missing"),
    ("--help", "this"),
)


MANUAL = "man"
LEFT = 24
WIDE = 50
"""Columns from which on the right side is broken between words."""


def run(called: Invocation) -> int:
    words = [str(called.params[field]) for field in called.verb.args if field in called.params]
    if not words:
        return print_overview()
    if words == [MANUAL]:
        from mesh_clients.cli.manual import write_manual

        sys.stdout.write(write_manual())
        sys.stdout.flush()
        return OK
    if len(words) == 1 and words[0] in TOPICS:
        return print_topic(words[0])
    from mesh_clients.cli.main import find_verb, longer_verbs

    name = " ".join(words)
    if name not in VERBS and longer_verbs(name):
        print_pairs((f"mesh {each}", VERBS[each][1]) for each in longer_verbs(name))
        return OK
    return print_verb(find_verb(name))


def print_topic(name: str) -> int:
    about, said, pairs = TOPICS[name]
    say(emphasise(f"{name}: {about}", sys.stdout))
    say("")
    for line in fold("", said, terminal_width(sys.stdout)):
        say(line)
    say("")
    print_pairs(pairs)
    return OK


def print_overview() -> int:
    say("usage: mesh COMMAND …")
    for title, names in own.ORDER:
        say("")
        say(f"{title}:")
        print_pairs((name, (VERBS[name] if name in VERBS else own.VERBS[name])[1]) for name in names)
    say("")
    say("mesh COMMAND --help tells more. First: mesh new NAME, then mesh invite; elsewhere: mesh join URL")
    say(f"mesh help TOPIC: {', '.join(TOPICS)}; mesh help man: the manual page, for man -l -")
    return OK


def print_verb(verb: Verb) -> int:
    words = [field.word if field.default is REQUIRED else f"[{field.word}]" for field in verb.positional]
    words += [usage_of(field) for field in verb.flags]
    width = terminal_width(sys.stdout)
    for line in fold("usage: ", " ".join(["mesh", verb.name, *words]), width):
        say(line)
    say("")
    for line in fold("", verb.summary, width):
        say(line)
    say("")
    print_pairs((field.word, describe(verb, field)) for field in verb.positional)
    print_pairs((flag_of(field), describe(verb, field)) for field in verb.flags)
    print_pairs(EVERYWHERE)
    print_longer(verb)
    return OK


def print_longer(verb: Verb) -> None:
    """The commands of two words that begin with this one."""
    longer = [(f"mesh {name}", VERBS[name][1]) for name in VERBS if name.startswith(f"{verb.name} ")]
    if longer:
        say("")
        print_pairs(longer)


def usage_of(field: Field) -> str:
    return flag_of(field) if field.default is REQUIRED else f"[{flag_of(field)}]"


def flag_of(field: Field) -> str:
    return field.flag if field.kind == "on" else f"{field.flag} {field.word}"


def describe(verb: Verb, field: Field) -> str:
    said = own.HELP.get((verb.name, field.name), field.help)
    if field.default not in (REQUIRED, "", False, 0, []):
        said += f" (default: {field.default!s})"
    return said.strip()


def print_pairs(pairs: "Iterable[tuple[str, str]]") -> None:
    width = terminal_width(sys.stdout)
    for left, right in pairs:
        if len(left) > LEFT:
            say(f"  {left}")
            left = ""
        for line in fold(f"  {left:<{LEFT}}  ", right, width if width >= WIDE else 0):
            say(line)
