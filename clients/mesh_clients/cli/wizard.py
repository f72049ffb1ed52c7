"""What `mesh launch` asks: one screen, everything with a sensible value already, Return starts."""

import os
import sys
from typing import NamedTuple

from mesh_clients.cli.answers import Answers, split_groups
from mesh_clients.cli.form import CANCEL, SUBMIT, Form, Row
from mesh_clients.render import clean_line, word
from mesh_clients.terminal import Terminal, ask_line, can_draw, style_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mesh_protocol.wire.codec import JsonValue

    Rows = Sequence[dict[str, JsonValue]]

NEW, JOIN, NONE = "new", "join", "none"
STARTS = (
    (NEW, "make one on this machine"),
    (JOIN, "join one by an invite link"),
    (NONE, "none for now"),
)
MODES = (
    ("push", "pushed: shown as they come"),
    ("inbox", "inbox: when its agent asks"),
    ("off", "off: they wait"),
)
MODE_HELP = {
    "push": "A message wakes it when it is idle, and reaches it between two steps when it works",
    "inbox": "It is not woken; it sees them when its agent calls check_messages",
    "off": "Nothing is shown until mesh mode push; senders are told that it waits",
}
MAX_NAME = 32
MAX_LINK = 2048


class Wanted(NamedTuple):
    """What was answered, and what has to be done about a mesh first: `start` is NEW, JOIN, NONE or empty."""

    answers: Answers
    start: str = ""
    mesh_name: str = ""
    link: str = ""


NOT_SET_UP = "mesh install was not run: this session has no hooks and no status line"


def build_form(
    flags: Answers, known: Answers, meshes: "Rows", templates: "Rows", folder: str, *, set_up: bool = True
) -> Form:
    """The rows for what was not given by `flags`, filled with what is known."""
    rows: list[Row] = [] if flags.mesh else mesh_rows(meshes, known)
    if not flags.name:
        usual = plain_name(os.path.basename(folder)) or "session"
        rows.append(Row("name", "Name", known.name or usual, limit=MAX_NAME, help=name_help(meshes), check=check_name))
    if not flags.template:
        rows.append(template_row(known, templates))
    if not flags.role:
        rows.append(Row("role", "Role", known.role, usual="none", help="Such as lead, reviewer, tester; peers see it"))
    if not (flags.groups or flags.template):
        said = "Sessions that are written to at once as @NAME; several with commas between; empty: the template's"
        rows.append(Row("groups", "Groups", known.groups, usual="none", limit=500, help=said))
    if not flags.mode:
        mode = known.mode if known.mode in dict(MODES) else MODES[0][0]
        rows.append(Row("mode", "Messages", mode, options=MODES, help=lambda value: MODE_HELP[value]))
    title, at = "Start Claude Code in the mesh", "name" if meshes else ""
    return Form(title, short_path(folder), rows, at=at, note="" if set_up else NOT_SET_UP)


def mesh_rows(meshes: "Rows", known: Answers) -> list[Row]:
    """Which mesh, where that is a question: there is none yet, or there are several."""
    if not meshes:
        said = {NEW: "For the sessions here; other machines can join one made with --broker", JOIN: "", NONE: ""}
        return [
            Row("start", "Mesh", NEW, options=STARTS, help=lambda value: said[value]),
            Row(
                "mesh_name",
                "Its name",
                "team",
                limit=48,
                check=lambda value: "" if value else "A mesh needs a name",
                shown_if=lambda form: form.chosen("start") == NEW,
            ),
            Row(
                "link",
                "Link",
                limit=MAX_LINK,
                hidden=True,
                help="Paste what mesh invite printed; it is a secret and is not shown",
                check=lambda value: "" if value.startswith("mesh://") else "The link begins with mesh://",
                shown_if=lambda form: form.chosen("start") == JOIN,
            ),
        ]
    if len(meshes) == 1:
        return []
    slugs = [word(row, "mesh") for row in meshes]
    usual = next((word(row, "mesh") for row in meshes if row.get("default")), slugs[0])
    value = known.mesh if known.mesh in slugs else usual
    return [Row("mesh", "Mesh", value, options=[(slug, slug) for slug in slugs], help="Whom it can write to")]


def template_row(known: Answers, templates: "Rows") -> Row:
    about = {word(row, "template"): template_help(row) for row in templates}
    value = known.template if known.template in about else ""
    options = [("", "none"), *((name, name) for name in about)]
    return Row(
        "template",
        "Template",
        value,
        options=options,
        help=lambda value: about.get(value, "A way of working together: groups, and what its agent is told"),
    )


def template_help(row: "dict[str, JsonValue]") -> str:
    groups, roles = row.get("groups"), row.get("roles")
    said = [word(row, "about")]
    if isinstance(groups, list) and groups:
        said.append("groups " + ", ".join(clean_line(str(each)) for each in groups))
    if isinstance(roles, list) and roles:
        said.append("roles " + ", ".join(clean_line(str(each)) for each in roles))
    return "; ".join(said)


def name_help(meshes: "Rows") -> str:
    me = next((word(row, "me") for row in meshes if row.get("default")), "")
    return f"Peers write to {me}/NAME" if me else "What peers call it"


def check_name(name: str) -> str:
    if name and len(name) <= MAX_NAME and all(letter.isalnum() or letter in "-_." for letter in name):
        return ""
    return f"1 to {MAX_NAME} letters, digits, or - _ ."


def plain_name(text: str) -> str:
    """A folder's name as the daemon makes a session's of it."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in text)[:MAX_NAME].strip("-")


def short_path(folder: str) -> str:
    home = os.environ.get("HOME", "")
    inside = home not in ("", "/") and folder.startswith(f"{home}/")
    return clean_line("~" + folder[len(home) :] if inside else folder)


def read_form(form: Form, flags: Answers) -> Wanted:
    """The answers, those of `flags` first."""
    typed = Answers(
        name=form.value("name"),
        role=form.value("role"),
        groups=",".join(split_groups(form.value("groups"))),
        mesh=form.value("mesh"),
        mode=form.value("mode"),
        template=form.value("template"),
    )
    merged = Answers(*(given or answered for given, answered in zip(flags, typed, strict=True)))
    return Wanted(merged, form.value("start"), form.value("mesh_name"), form.value("link"))


def ask(form: Form, environ: "Mapping[str, str]") -> None:
    """Have a person fill it in. Raises KeyboardInterrupt when he does not want to."""
    if not form.rows:
        return
    if not can_draw(environ):
        ask_line_by_line(form)
        return
    style = style_of(sys.stdout, environ)
    sys.stdout.flush()
    with Terminal() as terminal:
        while True:
            terminal.draw(*form.lines(terminal.columns, terminal.rows, style))
            pressed = form.press(terminal.key())
            if pressed == SUBMIT:
                return
            if pressed == CANCEL:
                raise KeyboardInterrupt


def ask_line_by_line(form: Form) -> None:
    """For a terminal whose cursor cannot be moved: a question a line, Return takes what stands in brackets."""
    for row in form.rows:
        while row.shown_if(form):
            typed = question(row)
            if typed and row.options:
                values = [value for value, _ in row.options]
                typed = values[int(typed) - 1] if typed.isdecimal() and 0 < int(typed) <= len(values) else typed
                if typed not in values:
                    print("One of these numbers, please.")
                    continue
            value = typed or row.value
            trouble = row.check(value)
            if not trouble:
                row.value = value
                break
            print(trouble)


def question(row: Row) -> str:
    """One question; the answer without blanks around it, empty for Return. Raises KeyboardInterrupt at the end of input."""
    if row.options:
        for number, (_, shown) in enumerate(row.options, 1):
            print(f"  {number} {shown}")
    usual = next((shown for value, shown in row.options if value == row.value), row.value)
    prompt = f"{row.label} [{'' if row.hidden else usual}]: "
    if row.hidden:
        from getpass import getpass

        try:
            return getpass(prompt).strip()
        except EOFError:
            raise KeyboardInterrupt from None
    answer = ask_line(prompt)
    if answer is None:
        raise KeyboardInterrupt
    return answer
