"""`mesh invite`: the link alone on its line, so that it can be copied, and what to know about it beside it."""

from mesh_clients.cli.invocation import Invocation
from mesh_clients.exits import finish
from mesh_clients.render import say, show_time, word


def run(called: Invocation) -> int:
    answer = called.call(called.params)
    if not called.as_json:
        expires, uses = answer.get("expires_ms"), answer.get("uses")
        say(word(answer, "url"))
        if answer.get("qr"):
            from mesh_clients.qr import print_code

            print_code(answer)
        until = show_time(expires, seconds=False) if isinstance(expires, int) else "?"
        many = f"{uses} machines join" if isinstance(uses, int) and uses > 1 else "one machine join"
        once = "" if isinstance(uses, int) and uses > 1 else ", once"
        say(f"Lets {many} {word(answer, 'mesh')}{once}, until {until}.")
        if answer.get("approve"):
            say("Each of them waits for your yes: mesh invites shows who, mesh invite approve NAME lets one in.")
        say("Whoever has it can join: send it privately. There: mesh join - (and paste it)")
    return finish(answer, as_json=called.as_json)
