"""What commands there are, and what each takes. Needs no daemon."""

from mesh_clients.cli import own
from mesh_clients.cli.grammar import REQUIRED, Field, Verb
from mesh_clients.cli.invocation import Invocation
from mesh_clients.cli.table import VERBS
from mesh_clients.render import say
from mesh_protocol.wire.errors import OK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

EVERYWHERE = (
    ("--json", "print one JSON document"),
    ("--no-start", "do not start a daemon that is missing"),
    ("--help", "this"),
)


def run(called: Invocation) -> int:
    words = [str(called.params[field]) for field in called.verb.args if field in called.params]
    if words:
        from mesh_clients.cli.main import find_verb

        return print_verb(find_verb(" ".join(words)))
    return print_overview()


def print_overview() -> int:
    say("usage: mesh COMMAND …")
    for title, names in own.ORDER:
        say("")
        say(f"{title}:")
        print_pairs((name, (VERBS[name] if name in VERBS else own.VERBS[name])[1]) for name in names)
    say("")
    say("mesh COMMAND --help tells more. First: mesh new NAME, then mesh invite; elsewhere: mesh join URL")
    return OK


def print_verb(verb: Verb) -> int:
    words = [field.word if field.default is REQUIRED else f"[{field.word}]" for field in verb.positional]
    words += [usage_of(field) for field in verb.flags]
    say(" ".join(["usage: mesh", verb.name, *words]))
    say("")
    say(verb.summary)
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
    for left, right in pairs:
        say(f"  {left:<24}  {right}".rstrip() if len(left) <= 24 else f"  {left}\n{'':28}{right}".rstrip())
