"""`mesh proxy allow|account`: what is shown once, and a secret that stands in no arguments."""

from mesh_clients.cli.invocation import Invocation
from mesh_clients.cli.secrets import read_secret
from mesh_clients.exits import finish
from mesh_clients.render import print_fields, say, word
from mesh_protocol.wire.errors import MeshError


def run(called: Invocation) -> int:
    if called.verb.name == "proxy account":
        if called.call({}, method="proxy.status").get("state") == "off":  # then nothing need be typed
            raise MeshError("service_off", service="proxy")
        what = "refresh token" if called.params.get("kind") == "login" else "API key"
        called.params["secret"] = read_secret(what)
    answer = called.call(called.params)
    if not called.as_json:
        if called.verb.name == "proxy allow":
            say(f"The base URL of {word(answer, 'name')}, shown this once: {word(answer, 'url')}")
            say(f"The client sets ANTHROPIC_BASE_URL to it; mesh proxy revoke {word(answer, 'name')} takes it away.")
        else:
            print_fields(answer)
    return finish(answer, as_json=called.as_json)
