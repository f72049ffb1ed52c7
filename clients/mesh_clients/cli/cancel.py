"""`mesh outbox cancel`: what could be taken back, and where it was too late."""

from mesh_clients.cli.invocation import Invocation
from mesh_clients.cli.progress import rows_of
from mesh_clients.exits import finish
from mesh_clients.render import say, word
from mesh_protocol.wire.errors import FAILED, OK


def run(called: Invocation) -> int:
    answer = called.call(called.params)
    if not called.as_json:
        for row in rows_of(answer):
            sign = "cancelled" if row.get("cancelled") else word(row, "state").replace("_", " ")
            say(f"{word(row, 'to')} on device {word(row, 'device')}: {sign} ({word(row, 'text')})")
    finish(answer, as_json=called.as_json)
    return OK if answer.get("cancelled") else FAILED
