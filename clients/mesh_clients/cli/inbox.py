"""`mesh inbox`: prints, flushes, and only then tells the daemon that the messages were read."""

import sys
import time

from mesh_clients.cli.invocation import Invocation
from mesh_clients.exits import finish, print_json
from mesh_clients.render import block, clean_line, emphasise, say, show_time, standing, word
from mesh_protocol.wire.errors import OK, MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue

FOLLOW_SECONDS = 300.0
"""One wait of --follow; then it asks again."""
RETRY_SECONDS = 0.5
GONE = ("no_daemon", "shutting_down")


def run(called: Invocation) -> int:
    params = called.params
    if params.pop("follow", False):
        return follow(called)
    answer = called.call(params, wait=called.number("wait_s"))
    rows = rows_of(answer)
    if not called.as_json:
        print_batch(rows, as_json=False)
        if not rows:
            say("no messages" if params.get("all") else "no unread messages")
        elif answer.get("more"):
            say("More wait: mesh inbox again.")
        held_up = answer.get("held_up")
        names = [clean_line(name) for name in held_up if isinstance(name, str)] if isinstance(held_up, list) else []
        if names:
            say(
                f"Messages of {', '.join(names)} came and wait: they name a membership that is not shown here (mesh doctor)."
            )
    finish(answer, as_json=called.as_json)
    acknowledge(called, rows)
    return OK


def follow(called: Invocation) -> int:
    """Until Ctrl-C, through restarts of the daemon. What is lost between print and acknowledgement is printed again."""
    params = {**called.params, "wait_s": FOLLOW_SECONDS}
    called.connect()  # one that cannot be had at all is an error
    called.line.start = False
    waiting = False
    while True:
        try:
            rows = rows_of(called.call(params, wait=FOLLOW_SECONDS))
            waiting = False
            params.pop("all", None)  # once is enough
            print_batch(rows, as_json=called.as_json)
            acknowledge(called, rows)
        except MeshError as error:
            if error.code not in GONE:
                raise
            if not waiting:
                sys.stderr.write("mesh inbox: the daemon stopped; waiting for it (Ctrl-C ends this)\n")
            waiting = True
            called.disconnect()
            time.sleep(RETRY_SECONDS)


def print_batch(rows: "list[dict[str, JsonValue]]", *, as_json: bool) -> None:
    for row in rows:
        if as_json:
            print_json(row)
        else:
            print_message(row)
    sys.stdout.flush()


def acknowledge(called: Invocation, rows: "list[dict[str, JsonValue]]") -> None:
    unread: list[JsonValue] = [row["id"] for row in rows if row.get("unread")]
    if unread:
        called.call({"ids": unread}, method="inbox.ack")


def rows_of(answer: "dict[str, JsonValue]") -> "list[dict[str, JsonValue]]":
    rows = answer.get("messages")
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def print_message(row: "dict[str, JsonValue]") -> None:
    """A head line with the verified sender, then the text, indented so that no text can pass for a head line."""
    sender, mesh, origin = (word(row, name) for name in ("sender", "mesh", "origin"))
    created = row.get("created_ms")
    at = show_time(created) if isinstance(created, int) else ""
    about = [f"{sender}{standing(row)} ({origin}, {mesh})", at, word(row, "id")[:8]]
    if row.get("thread") not in (None, "", row.get("id")):
        about.append(f"thread {word(row, 'thread')[:8]}")
    if row.get("mentions_you"):
        about.append("mentions you")
    say(emphasise("  ".join(about), sys.stdout))
    for line in block(row, "message").split("\n"):
        say(f"    {line}")
    files = row.get("attachments")
    for file in files if isinstance(files, list) else []:
        if isinstance(file, dict):
            say(f"    + {word(file, 'name')} ({file.get('size')!r} bytes, announced)")
    if row.get("truncated"):
        say(f"    … this is only its beginning: mesh message {word(row, 'id')[:8]}")
    say("")
