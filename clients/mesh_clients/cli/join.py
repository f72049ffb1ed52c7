"""`mesh join`: the link is a secret, so it is also read from standard input or asked for."""

from mesh_clients.cli.invocation import Invocation
from mesh_clients.cli.secrets import login_name, read_secret
from mesh_clients.exits import finish
from mesh_clients.render import say, word


def run(called: Invocation) -> int:
    params = called.params
    if params.get("url") == "-":
        params["url"] = read_secret("the invite link")
    params.setdefault("me", login_name())
    wait = called.number("wait_s", 10.0)
    answer = called.call(params, wait=wait)
    if not called.as_json:
        mesh, me = word(answer, "mesh"), word(answer, "me")
        if answer.get("state") == "pending":
            waiting = word(answer, "waiting_for") or "somebody who may let you in"
            say(f"Asked to join {mesh} as {me}; waiting for {waiting}.")
            say("This goes on by itself. mesh status shows when it is done.")
        else:
            say(f"Joined {mesh}; you are {me} in it. Who is there: mesh peers --mesh {mesh}")
    return finish(answer, as_json=called.as_json)
