"""`mesh guard on`: the passphrase is typed twice, and stands in no argument."""

from mesh_clients.cli.invocation import Invocation
from mesh_clients.cli.secrets import Passphrases
from mesh_clients.exits import finish
from mesh_clients.render import print_fields

SHORTEST = 8


def run(called: Invocation) -> int:
    params = called.params
    source = Passphrases(params.pop("passphrase_fd", None))
    called.call({}, method="guard.status")  # without a daemon nothing need be typed
    passphrase = source.ask(f"new passphrase for mesh guard, at least {SHORTEST} characters", twice=True)
    answer = called.call({**params, "passphrase": passphrase})
    if not called.as_json:
        print_fields(answer)
    return finish(answer, as_json=called.as_json)
