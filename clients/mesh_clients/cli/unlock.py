"""`mesh unlock`: opens keys that were locked when the daemon started. A passphrase never stands in the arguments."""

from mesh_clients.cli.invocation import Invocation
from mesh_clients.cli.secrets import Passphrases
from mesh_clients.exits import finish
from mesh_clients.render import say, word
from mesh_protocol.wire.errors import MeshError


def run(called: Invocation) -> int:
    passphrases = Passphrases(called.params.pop("passphrase_fd", None))
    try:
        answer = called.call(called.params)  # a login keyring that was unlocked meanwhile needs nothing more
    except MeshError as error:
        if error.code != "keys_unavailable":
            raise
        answer = called.call({**called.params, "passphrase": passphrases.ask("passphrase of the keys")})
    if not called.as_json:
        say(word(answer, "keys"))
    return finish(answer, as_json=called.as_json)
