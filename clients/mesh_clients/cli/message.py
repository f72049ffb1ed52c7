"""`mesh message ID`: each recipient, each state with its local time."""

from mesh_clients.cli.invocation import Invocation
from mesh_clients.cli.progress import print_recipient, rows_of
from mesh_clients.exits import finish
from mesh_clients.render import block, say, show_value, standing, word


def run(called: Invocation) -> int:
    answer = called.call(called.params)
    if not called.as_json:
        sender, mesh = word(answer, "sender"), word(answer, "mesh")
        say(f"Message {word(answer, 'id')} from {sender}{standing(answer)} in {mesh}")
        say(f"    written       {show_value('created_ms', answer.get('created_ms'))}")
        say(f"    expires       {show_value('expires_ms', answer.get('expires_ms'))}")
        say(f"    priority      {word(answer, 'priority')}")
        if answer.get("reply_to"):
            say(f"    answers       {word(answer, 'reply_to')}")
        text = block(answer, "message")
        for line in text.split("\n") if text else []:
            say(f"    | {line}")
        for row in rows_of(answer):
            print_recipient(row)
    return finish(answer, as_json=called.as_json)
