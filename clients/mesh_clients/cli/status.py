"""`mesh status`: the daemon, its meshes, and what stops them."""

from mesh_clients.cli.invocation import Invocation
from mesh_clients.exits import finish
from mesh_clients.render import print_rows, say, show_span, word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue

COLUMNS = ("mesh", "me", "state", "link", "members", "online", "waiting_out")


def run(called: Invocation) -> int:
    answer = called.call(called.params)
    if not called.as_json:
        print_status(answer)
    return finish(answer, as_json=called.as_json)


def print_status(answer: "dict[str, JsonValue]") -> None:
    def field(name: str) -> str:
        return word(answer, name)

    up = answer.get("up_s")
    say(f"meshd {field('version')}, pid {field('pid')}, up {show_span(up) if isinstance(up, int) else '?'}")
    say(f"home      {field('home')}")
    say(f"device    {field('device')}")
    say(f"keys      {field('keys')}")
    say(f"sessions  {field('sessions')}")
    say(f"unread    {field('unread')}{' (mesh inbox)' if answer.get('unread') else ''}")
    locked = answer.get("state") == "locked"
    if locked:
        say("The keys are locked: nothing is sent or shown until mesh unlock.")
    meshes = answer.get("meshes")
    rows = [row for row in meshes if isinstance(row, dict)] if isinstance(meshes, list) else []
    if locked and not rows:
        return  # its meshes are not known yet
    say("")
    if not rows:
        say("No mesh yet: mesh new NAME, or mesh join URL")
        return
    print_rows(rows, COLUMNS)
    for row in rows:
        for name, said in (("trouble", "{}"), ("waiting_for", "waiting for {}")):
            text = word(row, name)
            if text:
                say(f"{word(row, 'mesh')}: {said.format(text)}")
        if word(row, "recovery_key") == "not backed up":
            say(f"{word(row, 'mesh')}: its recovery key has not been backed up: mesh backup FILE --recovery")
