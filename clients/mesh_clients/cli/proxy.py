"""`mesh proxy on|off|status|env|forget`."""

import os
import re

from mesh_clients.cli.invocation import Invocation
from mesh_clients.exits import finish
from mesh_clients.render import print_fields, say, show_value, word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue

PLAIN = re.compile(r"[A-Za-z0-9_./:-]+\Z", re.ASCII)
"""What a shell takes as it is: nothing else is printed as a command."""


def run(called: Invocation) -> int:
    answer = called.call(called.params)
    if not called.as_json:
        PRINTERS[called.verb.name](answer)
        if called.verb.name == "proxy on" and not called.params.get("via"):
            warn_of_network_proxy()
    return finish(answer, as_json=called.as_json)


def session_variables(called: Invocation) -> dict[str, str]:
    """What a session is given so that it uses the proxy. Raises `MeshError` where that is off."""
    variables = called.call({}, method="proxy.env").get("variables")
    rows = [each for each in variables if isinstance(each, dict)] if isinstance(variables, list) else []
    return {word(each, "name"): word(each, "value") for each in rows}


def print_on(answer: "dict[str, JsonValue]") -> None:
    say(f"The proxy is on: requests go to {word(answer, 'upstream')}, and what they use is recorded here.")
    say('For a session of Claude Code:  mesh launch --proxy, or eval "$(mesh proxy env)" before claude')
    say(f"Its address is a secret of this user's: {word(answer, 'url')}")
    print_notes(answer)


def print_notes(answer: "dict[str, JsonValue]") -> None:
    notes = answer.get("notes")
    for note in notes if isinstance(notes, list) else []:
        say(f"- {show_value('', note)}")


def warn_of_network_proxy() -> None:
    """The daemon does not look at the environment, which is not its own."""
    found = next((name for name in ("HTTPS_PROXY", "https_proxy") if os.environ.get(name)), "")
    if found:
        say(
            f"- {found} is set here, and the daemon does not look at it: if the API is reached through that proxy alone,"
        )
        say("  mesh proxy on --via URL")


def print_off(answer: "dict[str, JsonValue]") -> None:
    left = (
        f" Requests that are still being answered: {word(answer, 'connections')}." if answer.get("connections") else ""
    )
    say(f"The proxy is off.{left}")
    print_notes(answer)


def print_forget(answer: "dict[str, JsonValue]") -> None:
    say(f"Deleted: what {word(answer, 'bodies')} requests and their answers said")
    if answer.get("requests"):
        say(f"and {word(answer, 'requests')} single requests of the record; the sums by day stay")


def print_env(answer: "dict[str, JsonValue]") -> None:
    variables = answer.get("variables")
    for each in variables if isinstance(variables, list) else []:
        if isinstance(each, dict):
            name, value = word(each, "name"), word(each, "value")
            if PLAIN.match(value) and name.isidentifier():
                say(f"export {name}={value}")


PRINTERS = {
    "proxy on": print_on,
    "proxy off": print_off,
    "proxy env": print_env,
    "proxy forget": print_forget,
    "proxy status": print_fields,
}
