"""`mesh new`: the broker's URL may carry the broker's admission token, so it is also read from standard input."""

from mesh_clients.cli.invocation import Invocation
from mesh_clients.cli.secrets import login_name, read_secret
from mesh_clients.exits import finish
from mesh_clients.render import say, word

LOCAL = "local:"


def run(called: Invocation) -> int:
    params = called.params
    if params.get("broker") == "-":
        params["broker"] = read_secret("the broker's URL")
    params.setdefault("me", login_name())
    answer = called.call(params)
    if not called.as_json:
        mesh, me, broker = (word(answer, name) for name in ("mesh", "me", "broker"))
        say(f"Made the mesh {mesh}; you are {me} in it.")
        if broker == LOCAL:
            say("Only this machine can reach it: its agent sessions can now message each other.")
            say("For other machines make one at a broker: mesh new NAME --broker URL")
        else:
            say(f"Its broker is {broker}. To let a machine join: mesh invite --mesh {mesh}")
    return finish(answer, as_json=called.as_json)
