"""`mesh completion SHELL`: the script that a shell loads, and, with `--line`, what could stand at the end of that line.

The words come from the table of commands; names of peers, sessions, groups and meshes from the daemon if one runs. A name
goes onto the command line as it is, so one that means anything to a shell is not offered.
"""

import sys

from mesh_clients import thin
from mesh_clients.cli import own
from mesh_clients.cli.grammar import Field, Verb, split_verb
from mesh_clients.cli.invocation import Invocation
from mesh_clients.cli.table import VERBS
from mesh_protocol.io.blocking import ConnectionLost
from mesh_protocol.wire.errors import OK, MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SECONDS = 0.08
"""How long the daemon may take to name what it knows; the whole of a completion is to take 150 ms."""
EVERYWHERE = ("--json", "--no-start", "--help")
SOURCES = {
    "to": ("peers", "to"),
    "session": ("sessions", "session"),
    "mesh": ("list", "mesh"),
    "group": ("group list", "group"),
    "groups": ("group list", "group"),
    "template": ("templates", "template"),
}
"""Of what is looked for: the command that lists it, and the column it is in."""
PLAIN = "-_./~@"
"""What a name may hold beside letters and digits to be offered."""
BASH = """\
# mesh completion bash: in ~/.bashrc, source <(mesh completion bash)
_mesh() {
    local IFS=$'\\n'
    COMPREPLY=($("$1" completion bash --line="${COMP_LINE:0:COMP_POINT}" 2>/dev/null))
}
complete -F _mesh mesh
"""
ZSH = """\
# mesh completion zsh: in ~/.zshrc after compinit, source <(mesh completion zsh)
_mesh() {
    local -a found
    found=("${(@f)$(mesh completion zsh --line="${(j: :)words[1,CURRENT-1]} $PREFIX" 2>/dev/null)}")
    [[ -n "$found" ]] && _describe mesh found
}
compdef _mesh mesh
"""
FISH = """\
# mesh completion fish: mesh completion fish > ~/.config/fish/completions/mesh.fish
complete -c mesh -f -a '(mesh completion fish --line=(commandline -cp | string collect) 2>/dev/null)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def run(called: Invocation) -> int:
    shell = str(called.params["shell"])
    line = called.params.get("line")
    if not isinstance(line, str):
        sys.stdout.write(SCRIPTS[shell])
        sys.stdout.flush()
        return OK
    called.line.start = False
    for word, about in complete(line, called):
        sys.stdout.write(shown(shell, word, about, line) + "\n")
    sys.stdout.flush()
    return OK


def shown(shell: str, word: str, about: str, line: str) -> str:
    """A word as its shell takes it: with its explanation, or for bash what follows the last of its COMP_WORDBREAKS.

    `@` is one of these, and yet belongs to the word that it begins (readline's rl_special_prefixes).
    """
    if shell == "bash":
        last = line.rpartition(" ")[2]
        return word[max(last.rfind("=") + 1, last.rfind(":") + 1, last.rfind("@"), 0) :]
    if shell == "zsh":
        return word.replace(":", "\\:") + (f":{about}" if about else "")
    return f"{word}\t{about}"


def complete(line: str, called: Invocation) -> "Iterator[tuple[str, str]]":
    """The words that could end `line`, whose first word is the program's, each with what it is."""
    words = split_line(line)[1:]
    if not words:
        return
    *given, last = words
    name, rest = split_verb(given, (*VERBS, *own.VERBS))
    found: Iterable[tuple[str, str]]
    if not name:
        found = [(flag, "") for flag in EVERYWHERE] if last.startswith("-") else first_words()
    else:
        found = [*second_words(name, rest), *verb_words(name, rest, last, called)]
    yield from ((word, about) for word, about in found if word.startswith(last) and word != last)


def split_line(line: str) -> list[str]:
    """The line's words; the last is what is being typed, empty behind a blank."""
    import shlex

    try:
        words = shlex.split(line)
    except ValueError:  # a quote that is still open
        words = line.split()
    return [*words, ""] if line.endswith((" ", "\t")) else words


def first_words() -> list[tuple[str, str]]:
    found = {name: entry[1] for table in (VERBS, own.VERBS) for name, entry in table.items()}
    return [(name, about) for name, about in found.items() if " " not in name] + [
        (name, "") for name in sorted({each.partition(" ")[0] for each in found if " " in each}) if name not in found
    ]


def topics() -> list[tuple[str, str]]:
    from mesh_clients.cli.help import MANUAL
    from mesh_clients.cli.topics import TOPICS

    return [*((name, topic[0]) for name, topic in TOPICS.items()), (MANUAL, "the manual page")]


def second_words(name: str, rest: list[str]) -> list[tuple[str, str]]:
    """What may follow as the second word of a command of two."""
    if rest:
        return []
    return [(verb.partition(" ")[2], VERBS[verb][1]) for verb in VERBS if verb.startswith(f"{name} ")]


def verb_words(name: str, rest: list[str], last: str, called: Invocation) -> "Iterator[tuple[str, str]]":
    """Flags, values of flags, and positional words of a command."""
    from mesh_clients.cli.main import find_verb

    try:
        verb = find_verb(name)
    except MeshError:
        return
    flags = {field.flag: field for field in verb.flags}
    before, equals, _ = last.partition("=")
    if equals and before in flags:
        yield from ((f"{before}={word}", about) for word, about in values(verb, flags[before], last, called))
    elif rest and rest[-1] in flags and flags[rest[-1]].kind != "on":
        yield from values(verb, flags[rest[-1]], last, called)
    elif last.startswith("-"):
        yield from ((flag, field.help) for flag, field in flags.items())
        yield from ((flag, "") for flag in EVERYWHERE)
    else:
        place = count_words(rest, flags)
        for field in verb.positional[place : place + 1]:
            yield from values(verb, field, last, called)


def count_words(rest: list[str], flags: dict[str, Field]) -> int:
    """How many positional words there are already."""
    count = 0
    waits = False
    for word in rest:
        if waits:
            waits = False
        elif word.startswith("-") and len(word) > 1:
            waits = word in flags and flags[word].kind != "on"
        else:
            count += 1
    return count


def values(verb: Verb, field: Field, last: str, called: Invocation) -> list[tuple[str, str]]:
    """What a field can be, as far as anybody here knows."""
    if field.choices:
        return [(choice, "") for choice in field.choices]
    if verb.name == "help":
        return [*first_words(), *topics()] if field.name == "verb" else []
    key = "group" if verb.name.startswith("group ") and field.name == "name" else field.name
    if field.kind != "targets":
        return [(name, "") for name in live_names(key, called)] if key in SOURCES else []
    start = last.rfind(",") + 1
    group = last[start : start + 1] == "@"
    names = live_names("group" if group else "to", called)
    return [(last[:start] + ("@" if group else "") + name, "") for name in names]


def live_names(key: str, called: Invocation) -> list[str]:
    """The names behind a key of `SOURCES`, from the daemon that runs; nothing where there is none, or it is slow."""
    verb, column = SOURCES[key]
    entry = VERBS[verb]
    try:
        answer, _ = called.connect().call(entry[0], {}, timeout=SECONDS)
    except (MeshError, ConnectionLost, TimeoutError, OSError, thin.NoDaemon):
        return []
    listed = answer.get(entry[6]) if isinstance(answer, dict) else None
    rows = listed if isinstance(listed, list) else []
    names = {row[column]: None for row in rows if isinstance(row, dict) and isinstance(row.get(column), str)}
    return [name for name in map(str, names) if is_plain(name)]


def is_plain(name: str) -> bool:
    """Whether a shell takes the name for nothing else, and a terminal too."""
    return bool(name) and name[0] not in "-~" and all(letter.isalnum() or letter in PLAIN for letter in name)
