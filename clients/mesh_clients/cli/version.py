"""`mesh version`."""

from mesh_clients.build import BUILD
from mesh_clients.cli.invocation import Invocation
from mesh_clients.exits import finish
from mesh_clients.render import say


def run(called: Invocation) -> int:
    if not called.as_json:
        say(f"mesh {BUILD}")
    return finish({"version": BUILD}, as_json=called.as_json)
