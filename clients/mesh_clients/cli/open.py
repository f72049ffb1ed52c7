"""`mesh open`: says what a link asks for, and does it only after a person at a terminal said so."""

from mesh_clients.cli.grammar import Line
from mesh_clients.cli.invocation import Invocation
from mesh_clients.cli.links import DeviceLink, InviteLink, PeerLink, parse_link
from mesh_clients.cli.secrets import login_name, read_secret
from mesh_clients.render import clean_line, clean_text, say
from mesh_clients.terminal import ask_line, is_interactive
from mesh_protocol.wire.errors import MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue


_UNASKED = {InviteLink: "mesh join -", DeviceLink: "mesh device join -"}


def run(called: Invocation) -> int:
    given = str(called.params["link"])
    found = parse_link(read_secret("the link") if given == "-" else given.strip())
    if called.as_json or not is_interactive():
        instead = f"mesh send {found.to} TEXT" if isinstance(found, PeerLink) else _UNASKED[type(found)]
        raise MeshError("bad_request", what=f"nobody can be asked whether to open it: {instead} does it unasked")
    if isinstance(found, DeviceLink):
        return open_device(called, found)
    return open_invite(called, found) if isinstance(found, InviteLink) else open_address(called, found)


def open_invite(called: Invocation, found: InviteLink) -> int:
    me = login_name()
    say("An invite: this machine becomes a member of a mesh, and its members can write to you.")
    say(f"Its broker: {found.broker}")
    confirm(f"Join as {clean_line(me)}?")
    return hand_on(called, "join", {"url": found.url, "me": me})


def open_device(called: Invocation, found: DeviceLink) -> int:
    say("Another machine of yours offers to link this one: it becomes yours in its mesh, under your name there.")
    say(f"Its broker: {found.broker}")
    confirm("Link this machine?")
    return hand_on(called, "device join", {"url": found.url})


def open_address(called: Invocation, found: PeerLink) -> int:
    say(f"A message to {clean_line(found.to)}{f' in {found.mesh}' if found.mesh else ''}.")
    params: dict[str, JsonValue] = {"to": found.to, **({"mesh": found.mesh} if found.mesh else {})}
    if found.text:
        say("The link says what to write:")
        for line in clean_text(found.text).split("\n"):
            say(f"  {line}")
        confirm("Send it?")
        return hand_on(called, "send", params | {"message": found.text})
    text = ask("What to write (nothing: do not send): ")
    if not text:
        raise MeshError("bad_request", what="nothing was written; nothing was sent")
    return hand_on(called, "send", params | {"message": text})


def hand_on(called: Invocation, verb: str, params: "dict[str, JsonValue]") -> int:
    """Run the command that does it."""
    from mesh_clients.cli.main import find_verb, handler

    line = Line()
    line.params, line.start = params, called.line.start
    with Invocation(find_verb(verb), line) as other:
        return handler(verb)(other)


def confirm(question: str) -> None:
    """Raises `MeshError` unless the answer is yes."""
    if ask(f"{question} [y/N] ").lower() not in ("y", "yes"):
        raise MeshError("bad_request", what="not confirmed; nothing was done")


def ask(question: str) -> str:
    answer = ask_line(question)
    if answer is None:
        say("")
    return answer or ""
