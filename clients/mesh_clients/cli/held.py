"""`mesh held`: the messages that wait for a word of the person, and the requests that one of his budgets holds."""

from mesh_clients.cli.budget import say_held
from mesh_clients.cli.derived import NOTHING, print_list
from mesh_clients.cli.invocation import Invocation
from mesh_clients.cli.pages import rows_of
from mesh_clients.exits import finish


def run(called: Invocation) -> int:
    answer = called.call(called.params)
    if not called.as_json:
        budgets = rows_of(answer, "budgets")
        for row in budgets:
            say_held(row)
        if answer.get("held") or not budgets:
            print_list(answer.get("held"), NOTHING["trust.held"], called.verb.columns)
    return finish(answer, as_json=called.as_json)
