"""`mesh launch`: Claude Code in this folder, known to the mesh by the name, the groups and the mode that it is to have.

This process tells the daemon what it is about to become and then becomes it (exec): pid and start time stay, so the daemon
knows the session when it registers, and nothing of ours stands between Claude Code and its terminal.
"""

import os
import signal
import sys

from mesh_clients import claude_program, discover
from mesh_clients.cli import wizard
from mesh_clients.cli.answers import Answers, read_answers, split_groups, write_answers
from mesh_clients.cli.invocation import Invocation
from mesh_clients.cli.proxy import session_variables
from mesh_clients.cli.secrets import login_name, read_secret
from mesh_clients.install.present import is_set_up, lend_server
from mesh_clients.render import clean_line, word
from mesh_clients.terminal import is_interactive
from mesh_protocol.wire.errors import MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

    from mesh_protocol.wire.codec import JsonValue

JOIN_S = 10.0
KNOWN_ALREADY = ("-c", "--continue", "-r", "--resume", "--fork-session", "--from-pr", "--teleport")
"""Claude Code's own flags for a session that was there before: it has its name and its groups."""
NOBODY_THERE = ("-p", "--print", "-h", "--help", "-v", "--version")
"""Those with which it talks to nobody."""
OWN_SERVERS = ("--mcp-config", "--strict-mcp-config", "--bare")
SESSION_VARIABLES = (
    "CLAUDECODE",
    "CLAUDE_CODE_CHILD_SESSION",
    "CLAUDE_CODE_ENTRYPOINT",
    "CLAUDE_CODE_EXECPATH",
    "CLAUDE_CODE_MESSAGING_SOCKET",
    "CLAUDE_CODE_MESSAGING_TOKEN",
    "CLAUDE_CODE_SESSION_ATTENDED",
    "CLAUDE_CODE_SESSION_ID",
    "CLAUDE_ENV_FILE",
    "CLAUDE_PID",
    "CLAUDE_PROJECT_DIR",
    "MESH_SESSION_FILE",
)
"""What another session put into this environment: the new one is not that one, and must not be taken for it."""


def run(called: Invocation) -> int:
    folder = os.getcwd()
    given = called.line.rest
    program = claude_program.find_claude(os.environ, folder)
    flags = read_flags(called.params)
    if called.params.get("join"):
        flags = flags._replace(mesh=join(called, str(called.params["join"])))
    answers = flags if has_any(given, KNOWN_ALREADY) else settle(called, flags, folder, given)
    ready = prepare(called, answers)
    meshes = list_meshes(called)
    proxied = session_variables(called) if called.params.get("proxy") else {}
    called.disconnect()
    # Where Claude Code was not set up for us the session would never be known.
    more = [] if has_any(given, OWN_SERVERS) or is_set_up(os.environ) else [lend_server(os.environ)]
    tell(ready, folder, meshes, lent=bool(more), before=has_any(given, KNOWN_ALREADY))
    become(program, [*more, *given], session_environment(os.environ, answers.mesh) | proxied)


def settle(called: Invocation, flags: Answers, folder: str, given: list[str]) -> Answers:
    """The answers for a new session: by flag, as remembered of this folder, or asked for; and remember them."""
    data = os.fsdecode(discover.data_directory(os.environ))
    meshes = list_meshes(called)
    known = read_answers(data, folder)
    if known is not None and known.mesh not in ("", *(word(row, "mesh") for row in meshes)):
        known = known._replace(mesh="")  # one that it has left
    asked = (known is None or bool(called.params.get("ask"))) and may_ask(called, given)
    if asked:
        answers = begin_mesh(called, ask(called, flags, known or Answers(), meshes, folder))
    else:
        answers = Answers(*(typed or before for typed, before in zip(flags, known or Answers(), strict=True)))
    if asked or any(flags):
        write_answers(data, folder, answers)
    return answers


def list_meshes(called: Invocation) -> "list[dict[str, JsonValue]]":
    return rows_of(called.call({}, method="mesh.list"), "meshes")


def read_flags(params: "Mapping[str, JsonValue]") -> Answers:
    """What the command line says. Raises `MeshError`."""
    if params.get("join") and params.get("mesh"):
        raise MeshError("bad_request", what="--join says which mesh: leave out --mesh")
    flags = Answers(**{name: str(params.get(name) or "") for name in Answers._fields})
    return flags._replace(groups=",".join(split_groups(flags.groups)))


def may_ask(called: Invocation, given: list[str]) -> bool:
    """Whether there is somebody to be asked, and something to ask him."""
    if called.params.get("yes") or called.params.get("also_yes") or called.as_json:
        return False
    return not has_any(given, NOBODY_THERE) and is_interactive()


def has_any(given: list[str], flags: tuple[str, ...]) -> bool:
    """Whether Claude Code is given one of its flags."""
    return any(each.partition("=")[0] in flags for each in given)


def ask(
    called: Invocation, flags: Answers, known: Answers, meshes: "list[dict[str, JsonValue]]", folder: str
) -> wizard.Wanted:
    templates = rows_of(called.call({}, method="launch.templates"), "templates")
    called.disconnect()  # a person may think for longer than a connection should be kept
    form = wizard.build_form(flags, known, meshes, templates, folder, set_up=is_set_up(os.environ))
    wizard.ask(form, os.environ)
    return wizard.read_form(form, flags)


def begin_mesh(called: Invocation, wanted: wizard.Wanted) -> Answers:
    """Make or join the mesh that was asked for. Raises `MeshError`."""
    answers = wanted.answers
    if wanted.start == wizard.NEW:
        params: dict[str, JsonValue] = {"name": wanted.mesh_name, "me": login_name()}
        return answers._replace(mesh=word(called.call(params, method="mesh.new"), "mesh"))
    if wanted.start == wizard.JOIN:
        return answers._replace(mesh=join(called, wanted.link))
    return answers


def join(called: Invocation, link: str) -> str:
    """Join by a link, `-` reads it. The mesh's name here. Raises `MeshError`."""
    if link == "-":
        link = read_secret("the invite link") if is_interactive() else read_line(0)
    params: dict[str, JsonValue] = {"url": link, "me": login_name(), "wait_s": JOIN_S}
    answer = called.call(params, method="mesh.join", wait=JOIN_S)
    if answer.get("state") == "pending":
        sys.stderr.write(
            f"mesh: nobody who may let you into {word(answer, 'mesh')} is there yet; this goes on by itself\n"
        )
    return word(answer, "mesh")


def read_line(descriptor: int) -> str:
    """One line, byte by byte: what follows it belongs to Claude Code. Raises `MeshError`."""
    line = b""
    while len(line) < wizard.MAX_LINK:
        byte = os.read(descriptor, 1)
        if byte in (b"", b"\n"):
            break
        line += byte
    text = line.decode("utf-8", "replace").strip()
    if not text:
        raise MeshError("bad_request", what="standard input holds no invite link")
    return text


def prepare(called: Invocation, answers: Answers) -> "dict[str, JsonValue]":
    """Announce to the daemon what this process becomes. Raises `MeshError`."""
    params: dict[str, JsonValue] = {
        name: value for name, value in answers._asdict().items() if value and name != "groups"
    }
    if answers.groups:
        params["groups"] = [*split_groups(answers.groups)]
    return called.call(params, method="launch.prepare")


def tell(
    ready: "dict[str, JsonValue]", folder: str, meshes: "list[dict[str, JsonValue]]", *, lent: bool, before: bool
) -> None:
    """One line on how the session will be known, for a person."""
    if sys.stderr is None:
        return
    if ready.get("announced") is False:
        sys.stderr.write(
            "mesh: this system does not tell the daemon of processes: name, groups and mode have no effect\n"
        )
        return
    if not sys.stderr.isatty():
        return
    mesh = word(ready, "mesh")
    if not mesh:
        sys.stderr.write("mesh: no mesh yet, it is known to this machine alone: mesh new NAME, or mesh join URL\n")
        return
    me = next((word(row, "me") for row in meshes if word(row, "mesh") == mesh), "")
    name = word(ready, "name") or ("" if before else wizard.plain_name(os.path.basename(folder)) or "session")
    said = [f"{me}/{name}" if me else name] if name else []
    said.append(f"in {mesh}" if name else f"in {mesh}, named as before")
    role, groups, mode = word(ready, "role"), ready.get("groups"), word(ready, "mode")
    if role:
        said.append(f"role {role}")
    if isinstance(groups, list) and groups:
        said.append("groups " + ", ".join(clean_line(str(each)).partition(" ")[0] for each in groups))
    if mode in ("inbox", "off"):
        said.append(f"messages: {mode}")
    sys.stderr.write(f"mesh: {', '.join(said)}\n")
    if lent:
        sys.stderr.write("mesh: Claude Code is not set up for it (mesh install); it has the mesh for this session\n")


def session_environment(environ: "Mapping[str, str]", mesh: str) -> dict[str, str]:
    """This environment without what names another session, and with the mesh that was chosen."""
    found = {name: value for name, value in environ.items() if name not in SESSION_VARIABLES}
    return found | ({"MESH": mesh} if mesh else {})


def become(program: str, arguments: list[str], environ: dict[str, str]) -> "NoReturn":
    """Turn into Claude Code. Raises `MeshError` where the system does not let us."""
    sys.stdout.flush()
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and that would be inherited
        signal.signal(ignored, signal.SIG_DFL)
    try:
        os.execve(program, [claude_program.NAME, *arguments], environ)  # noqa: S606 a list of arguments, without a shell
    except OSError as error:
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        raise MeshError("no_claude", why=f"{program} does not start: {error.strerror}") from None


def rows_of(answer: "dict[str, JsonValue]", name: str) -> "list[dict[str, JsonValue]]":
    rows = answer.get(name)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
