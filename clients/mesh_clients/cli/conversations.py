"""`mesh conversations` and `mesh conversation ID`: what was spent on what, as a tree with branches and sub-tasks."""

import sys

from mesh_clients.cli.invocation import Invocation
from mesh_clients.cli.pages import fetch_conversation, fetch_rows, rows_of, want_all
from mesh_clients.cli.usage import align, cost, print_csv, short
from mesh_clients.exits import finish
from mesh_clients.render import cut, emphasise, say, show_span, show_time, word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue

LIST_CSV = (
    "id",
    "session",
    "account",
    "first_ms",
    "last_ms",
    "requests",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cost_usd",
)
TURN_CSV = (
    "row",
    "started_ms",
    "agent",
    "branch",
    "parent",
    "kind",
    "model",
    "status",
    "outcome",
    "stop_reason",
    "tools",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "thinking_tokens",
    "cost_usd",
    "unpriced",
    "partial",
    "unaccounted",
    "error",
    "first_byte",
    "first_token",
    "total",
    "request_id",
)
ID_WIDTH = 13
NAME_WIDTH = 36
"""What the counts beside it leave of 80 columns."""
MAX_DEPTH = 8


def run(called: Invocation) -> int:
    as_csv, bodies = (bool(called.params.pop(name, False)) for name in ("csv", "bodies"))
    one = called.verb.name == "conversation"
    if as_csv:
        want_all(called)
    answer = fetch_conversation(called) if one else fetch_rows(called, "conversations")
    if bodies and not as_csv:
        from mesh_clients.cli.bodies import fetch_bodies

        fetch_bodies(called, rows_of(answer, "turns"))
    if called.as_json:
        return finish(answer, as_json=True)
    if as_csv:
        print_csv(rows_of(answer, "turns" if one else "conversations"), TURN_CSV if one else LIST_CSV)
    elif one:
        print_conversation(answer)
    else:
        print_list(rows_of(answer, "conversations"), more=bool(answer.get("more")))
    return finish(answer, as_json=False)


def print_list(rows: "list[dict[str, JsonValue]]", *, more: bool) -> None:
    if not rows:
        say("no conversations")
        return
    table = [
        [word(row, "id")[:ID_WIDTH], show_time(number(row, "last_ms"), seconds=False), *figures(row), took(row), ""]
        for row in rows
    ]
    lines = align(table, ["ID", "LAST", "REQUESTS", "INPUT", "OUTPUT", "COST", "TIME", ""])
    say(emphasise(lines[0], sys.stdout))
    for line in lines[1:]:
        say(line)
    if more:
        say("There are older ones: --limit N shows them.")


def print_conversation(answer: "dict[str, JsonValue]") -> None:
    say(emphasise(f"conversation {word(answer, 'id')}", sys.stdout))
    say(f"{show_time(number(answer, 'first_ms'))}, {took(answer)}, account {word(answer, 'account') or 'unknown'}")
    say("")
    threads = rows_of(answer, "threads")
    table = [[tree_name(row, threads), *figures(row), took(row), ""] for row in in_order(threads)]
    table.append(["total", *figures(answer), took(answer), ""])
    for line in align(table, ["AGENT AND BRANCH", "REQUESTS", "INPUT", "OUTPUT", "COST", "TIME", ""]):
        say(line)
    if any(row.get("unpriced") for row in threads):
        say(f"{sum(number(row, 'unpriced') for row in threads)} of models without a price here, not in the cost")
    say("")
    if answer.get("more"):
        say("… earlier requests are left out: --limit N shows more")
    for row in rows_of(answer, "turns"):
        print_turn(row)


def in_order(threads: "list[dict[str, JsonValue]]") -> "list[dict[str, JsonValue]]":
    """Each agent below the one that started it, and each branch below the one that it leaves."""
    ordered: list[dict[str, JsonValue]] = []
    known = {word(row, "agent") for row in threads}
    named = {(word(row, "agent"), word(row, "branch")) for row in threads}

    def add_branches(agent: str, origin: str) -> None:
        for row in threads:
            left = leaves(row) if (agent, leaves(row)) in named else ""
            if word(row, "agent") == agent and left == origin and row not in ordered:
                ordered.append(row)
                add_branches(agent, word(row, "branch") or "(none)")

    def add(agent: str) -> None:
        add_branches(agent, "")
        for row in threads:
            child, parent = word(row, "agent"), word(row, "parent_agent")
            if child and child != agent and row not in ordered and (parent if parent in known else "") == agent:
                add(child)

    add("")
    ordered.extend(row for row in threads if row not in ordered)
    return ordered


def leaves(row: "dict[str, JsonValue]") -> str:
    """The branch that this one leaves; nothing for a beginning."""
    origin = word(row, "origin_branch")
    return "" if origin == word(row, "branch") else origin


def depth(row: "dict[str, JsonValue]", threads: "list[dict[str, JsonValue]]") -> int:
    """How far a row is indented: by the agents above its own, and by the branches that lead to it."""
    parents = {word(each, "agent"): word(each, "parent_agent") for each in threads}
    agent, found = word(row, "agent"), 0
    origins = {word(each, "branch"): leaves(each) for each in threads if word(each, "agent") == agent}
    branch = leaves(row)
    while branch in origins and found < MAX_DEPTH:
        branch, found = origins[branch], found + 1
    above = 0
    while agent and above < MAX_DEPTH:
        agent, above = parents.get(agent, ""), above + 1
    return found + above


def tree_name(row: "dict[str, JsonValue]", threads: "list[dict[str, JsonValue]]") -> str:
    agent, branch = word(row, "agent"), word(row, "branch") or "(beside)"
    name = f"{agent[:12]}/{branch}" if agent else branch
    start = f" from {word(row, 'origin')}" if row.get("origin") else ""
    guess = " (a guess)" if row.get("guessed") else ""
    end = f"{start}{guess}"
    return cut(f"{'  ' * depth(row, threads)}{name}", NAME_WIDTH - len(end)) + end


def print_turn(row: "dict[str, JsonValue]") -> None:
    after = f" after {word(row, 'parent')}" if row.get("parent") else ""
    who = f" {word(row, 'agent')[:12]}" if row.get("agent") else ""
    say(
        f"{word(row, 'row'):>6}{after}{who} {word(row, 'branch')}  {word(row, 'kind')} {word(row, 'model')}"
        f"  in {short(row.get('input_tokens'))}+{short(row.get('cache_read_tokens'))} cached"
        f"  out {short(row.get('output_tokens'))}  {cost(row)}"
    )
    remarks = [word(row, name) for name in ("stop_reason", "error", "unaccounted")]
    if row.get("partial"):
        remarks.append(word(row, "outcome"))
    tools = row.get("tools")
    if isinstance(tools, list) and tools:
        remarks.append("called " + ", ".join(map(str, tools)))
    said = [each for each in remarks if each]
    if said:
        say(f"       {'; '.join(said)}")
    if "request" in row:
        from mesh_clients.cli.bodies import print_bodies

        print_bodies(row)


def figures(row: "dict[str, JsonValue]") -> list[str]:
    whole = sum(number(row, name) for name in ("input_tokens", "cache_read_tokens", "cache_write_tokens"))
    return [short(row.get("requests")), short(whole), short(row.get("output_tokens")), cost(row)]


def took(row: "dict[str, JsonValue]") -> str:
    return show_span(max(0, number(row, "last_ms") - number(row, "first_ms")) // 1000)


def number(row: "dict[str, JsonValue]", name: str) -> int:
    value = row.get(name)
    return int(value) if isinstance(value, int | float) else 0
