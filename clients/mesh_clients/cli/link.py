"""`mesh device link` and `mesh device join`: a link, four words on both screens, and a yes on the machine that is in the mesh.

With --json each step is a document on a line of its own. Ctrl-C on either side ends it on both.
"""

import os
import sys

from mesh_clients.cli.invocation import Invocation
from mesh_clients.cli.secrets import read_secret
from mesh_clients.exits import finish, print_json
from mesh_clients.render import emphasise, say, show_time, word
from mesh_clients.terminal import ask_line, is_interactive
from mesh_protocol.io.blocking import ConnectionLost
from mesh_protocol.wire.errors import MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue

    Row = dict[str, JsonValue]

WAIT_S = 20.0
"""How long one question waits: the daemon gives up an attempt that nobody asks about."""
CONFIRM_S = 60.0
MAX_LINE = 1024


def run(called: Invocation) -> int:
    if called.verb.name == "device join":
        url = called.params.get("url")
        called.params["url"] = read_secret("the link") if url == "-" else url
    started = called.call(called.params)
    attempt = word(started, "id")
    try:
        ended = _host(called, attempt, started) if called.verb.name == "device link" else _guest(called, attempt)
    except KeyboardInterrupt:
        _give_up(attempt)
        raise
    return finish(ended, as_json=called.as_json)


def _host(called: Invocation, attempt: str, offer: "Row") -> "Row":
    if called.as_json:
        _print_step(offer)
    else:
        _show_offer(offer)
    step = _wait(called, attempt, "waiting")
    words = _words(step)
    if called.as_json:
        _print_step(step)
    else:
        say(f"A machine answers. It shows four words; so does this one:   {emphasise(words, sys.stdout)}")
    same = _are_same(called, words)
    sys.stdout.flush()
    ended = called.call({"id": attempt, "same": same, "wait_s": CONFIRM_S}, method="link.confirm", wait=2 * CONFIRM_S)
    while word(ended, "state") != "done":
        ended = _wait(called, attempt, word(ended, "state"))
    if not called.as_json:
        device = word(ended, "device")[:8]
        say(f"Linked: {device} is yours in {word(ended, 'mesh')} now. If it is lost: mesh device revoke {device}")
    return ended


def _show_offer(offer: "Row") -> None:
    from mesh_clients.qr import print_code

    expires = offer.get("expires_ms")
    say(word(offer, "url"))
    print_code(offer)
    until = show_time(expires, seconds=False) if isinstance(expires, int) else "?"
    say(f"On your other machine: mesh device join - (and paste the link), until {until}. Show it to nobody else.")
    say("Waiting; Ctrl-C gives up.")
    sys.stdout.flush()


def _are_same(called: Invocation, words: str) -> bool:
    """Asked of a person; without one the words of the new machine come on standard input, so nobody says yes unseen."""
    if is_interactive() and not called.as_json:
        answer = ask_line("Does your other machine show the same four words? [y/N] ")
        return (answer or "").lower() in ("y", "yes")
    if not called.as_json:
        say("Nobody can be asked here: give the four words that your other machine shows on standard input.")
        sys.stdout.flush()
    given = sys.stdin.readline(MAX_LINE) if sys.stdin is not None else ""
    return given.lower().split() == words.split()


def _guest(called: Invocation, attempt: str) -> "Row":
    step = _wait(called, attempt, "waiting")
    if step.get("words"):
        if called.as_json:
            _print_step(step)
        else:
            say(f"Four words:   {emphasise(_words(step), sys.stdout)}")
            say("Waiting for the yes on your other machine, if it shows the same; Ctrl-C gives up.")
            sys.stdout.flush()
    while word(step, "state") != "done":
        step = _wait(called, attempt, word(step, "state"))
    if not called.as_json:
        mesh = word(step, "mesh")
        say(f"This machine is yours in {mesh} now. Who is there: mesh peers --mesh {mesh}")
    return step


def _wait(called: Invocation, attempt: str, seen: str) -> "Row":
    """The attempt's next state. Raises `MeshError` when it has failed."""
    while True:
        params: Row = {"id": attempt, "seen": seen, "wait_s": WAIT_S}
        step = called.call(params, method="link.wait", wait=WAIT_S)
        if word(step, "state") != seen:
            return step


def _words(step: "Row") -> str:
    words = step.get("words")
    return " ".join(str(each) for each in words) if isinstance(words, list) else ""


def _print_step(step: "Row") -> None:
    print_json(step)
    sys.stdout.flush()


def _give_up(attempt: str) -> None:
    """On a connection of its own: the other one waits for an answer."""
    from mesh_clients.discover import connect

    try:
        client = connect(os.environ, may_start=False)
        try:
            client.call("link.end", {"id": attempt}, b"", timeout=WAIT_S)
        finally:
            client.close()
    except (MeshError, OSError, ConnectionLost):
        return  # it is given up by itself when nobody asks about it
