"""`mesh invite`: the link alone on its line, so that it can be copied, and what to know about it beside it."""

from mesh_clients.cli.invocation import Invocation
from mesh_clients.exits import finish
from mesh_clients.render import say, show_time, word


def run(called: Invocation) -> int:
    answer = called.call(called.params)
    if not called.as_json:
        expires = answer.get("expires_ms")
        say(word(answer, "url"))
        until = show_time(expires, seconds=False) if isinstance(expires, int) else "?"
        say(f"Lets one machine join {word(answer, 'mesh')}, once, until {until}.")
        say("Whoever has it can join: send it privately. There: mesh join - (and paste it)")
    return finish(answer, as_json=called.as_json)
