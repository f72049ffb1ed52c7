"""`mesh usage`, `import` and `reconcile`: what was spent, as a table with a chart that fits 80 columns; `--csv` for a
spreadsheet."""

import os
import sys

from mesh_clients.cli.derived import print_list
from mesh_clients.cli.invocation import Invocation
from mesh_clients.cli.pages import fetch_rows, rows_of, want_all
from mesh_clients.exits import finish
from mesh_clients.render import columns, cut, emphasise, say, show_time, terminal_width, word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from mesh_protocol.wire.codec import JsonValue

HEADS = ("REQUESTS", "INPUT", "CACHED", "WRITTEN", "OUTPUT", "COST")
COUNTS = ("requests", "input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
CSV = (
    "key",
    "requests",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "thinking_tokens",
    "cost_usd",
    "unpriced",
    "partial",
    "unaccounted",
    "failed",
)
KEY_WIDTH = 16
BAR = 8
IMPORT_S = 600.0
"""How long reading all transcripts for the first time may take."""
WARN = 0.8
"""Share of a window beyond which it is said in words."""


def run(called: Invocation) -> int:
    if called.verb.name == "usage import":
        return take_in(called)
    as_csv = bool(called.params.pop("csv", False))
    name, names = ("days", called.verb.columns) if called.verb.name == "usage reconcile" else ("rows", CSV)
    if as_csv:
        want_all(called)
    answer = fetch_rows(called, name)
    if called.as_json:
        return finish(answer, as_json=True)
    rows = rows_of(answer, name)
    if as_csv:
        print_csv(rows, names)
    elif name == "days":
        print_list(answer[name], "days that either knows: mesh usage import reads the transcripts", names)
    else:
        print_usage(answer, rows)
    return finish(answer, as_json=False)


def take_in(called: Invocation) -> int:
    """`mesh usage import`: the folder is the one that this person's Claude Code uses."""
    folder = os.environ.get("CLAUDE_CONFIG_DIR") or os.path.join(os.path.expanduser("~"), ".claude")
    answer = called.call({"config": os.path.abspath(folder), **called.params}, wait=IMPORT_S)
    if called.as_json:
        return finish(answer, as_json=True)
    if called.params.get("stop"):
        say("The transcripts are followed no longer; what they told stays counted.")
    else:
        read = "message" if answer.get("messages") == 1 else "messages"
        say(f"{word(answer, 'messages')} {read} read, {word(answer, 'added')} of them not counted before")
        if answer.get("following"):
            say("The transcripts are followed from now on; mesh usage import --stop ends that.")
    return finish(answer, as_json=False)


def print_csv(rows: "Sequence[dict[str, JsonValue]]", names: "Sequence[str]") -> None:
    """RFC 4180. A text that a spreadsheet would take for a formula gets an apostrophe before it."""
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\r\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([csv_value(row, name) for name in names])


def csv_value(row: "dict[str, JsonValue]", name: str) -> str:
    value = row.get(name)
    if isinstance(value, list):
        value = " ".join(map(str, value))
    text = word({name: value}, name)
    return f"'{text}" if isinstance(value, str) and text[:1] in ("=", "+", "-", "@") else text


def print_usage(answer: "dict[str, JsonValue]", rows: "list[dict[str, JsonValue]]") -> None:
    if not answer.get("requests"):
        if since := word(answer, "since"):
            say(f"nothing was recorded since {since}")
        else:
            say("nothing was recorded yet: mesh proxy on, then start Claude Code with mesh launch --proxy")
    else:
        weigh = weight if answer.get("cost_usd") else tokens
        top = max((weigh(row) for row in rows), default=0.0)
        table = [[show_key(row), *figures(row), bar(weigh(row), top)] for row in rows]
        table.append(["total", *figures(answer), ""])
        lines = align(table, [word(answer, "by").upper(), *HEADS, ""])
        say(emphasise(lines[0], sys.stdout))
        for line in lines[1:-1]:
            say(line)
        say(emphasise(lines[-1], sys.stdout))
        print_remarks(answer)
    print_windows(rows_of(answer, "windows"))
    if trouble := word(answer, "trouble"):
        say(emphasise(trouble, sys.stdout))


def print_remarks(answer: "dict[str, JsonValue]") -> None:
    for name, text in (
        ("more", "more in the total alone (--limit shows them)"),
        ("unpriced", "without a price here, not in the cost"),
        ("partial", "broke off; what the API had reported until then is counted"),
        ("unaccounted", "whose use could not be read"),
        ("failed", "failed"),
    ):
        if answer.get(name):
            what = "groups" if name == "more" else "requests"
            say(f"{word(answer, name)} {what if answer.get(name) != 1 else what[:-1]} {text}")


def print_windows(rows: "list[dict[str, JsonValue]]") -> None:
    """How much of each limit is used. With several accounts it says whose."""
    accounts = list(dict.fromkeys(word(row, "account") for row in rows))
    for account in accounts:
        if len(accounts) > 1:
            say(f"account {account or '(none)'}")
        for row in rows:
            if word(row, "account") == account:
                print_window(row, "  " if len(accounts) > 1 else "")


def print_window(row: "dict[str, JsonValue]", indent: str = "") -> None:
    used = row.get("used")
    share = float(used) if isinstance(used, int | float) else 0.0
    until = row.get("until_ms")
    when = f", anew {show_time(until, seconds=False)}" if isinstance(until, int) and until else ""
    priced = dollars(row.get("cost_usd")) if row.get("cost_usd") else f"{short(row.get('tokens'))} tokens"
    spent = f", {priced} here" if row.get("requests") else ""
    line = f"{indent}window {word(row, 'window')}: {share:.0%} used{spent}{when}"
    if share >= WARN:
        say(emphasise(f"{line}: {'it is used up' if share >= 1 else 'it runs out soon'}", sys.stdout))
    else:
        say(line)


def align(table: "list[list[str]]", heads: "list[str]") -> list[str]:
    """Numbers to the right, the first and the last column to the left."""
    widths = [max(len(row[place]) for row in [heads, *table]) for place in range(len(heads))]
    padded = [
        [row[0], *(text.rjust(size) for text, size in zip(row[1:-1], widths[1:-1], strict=True)), row[-1]]
        for row in [heads, *table]
    ]
    return columns(padded[1:], padded[0], terminal_width(sys.stdout))


def show_key(row: "dict[str, JsonValue]") -> str:
    return cut(word(row, "key") or "(none)", KEY_WIDTH)


def figures(row: "dict[str, JsonValue]") -> list[str]:
    """The counts of a row, short, and its cost."""
    return [*(short(row.get(name)) for name in COUNTS), cost(row)]


def short(value: "JsonValue") -> str:
    """A count in at most six characters."""
    number = float(value) if isinstance(value, int | float) else 0.0
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            scale = 1e3 if unit == "k" else size
            return f"{number / scale:.4g}{unit}" if number / scale < 1e4 else f"{number / scale:.0f}{unit}"
    return f"{number:.0f}"


def dollars(value: "JsonValue") -> str:
    number = float(value) if isinstance(value, int | float) else 0.0
    return f"${number:.2f}" if number >= 0.01 or not number else f"${number:.4f}"


def cost(row: "dict[str, JsonValue]") -> str:
    """Its cost; no number where nothing of it has a price."""
    return "?" if row.get("unpriced") and not row.get("cost_usd") else dollars(row.get("cost_usd"))


def tokens(row: "dict[str, JsonValue]") -> float:
    """What the chart shows where nothing has a price."""
    counts = [row.get(name) for name in COUNTS[1:]]
    return float(sum(count for count in counts if isinstance(count, int | float)))


def weight(row: "dict[str, JsonValue]") -> float:
    """What the chart shows otherwise."""
    spent = row.get("cost_usd")
    return float(spent) if isinstance(spent, int | float) else 0.0


def bar(value: float, top: float) -> str:
    return "#" * round(BAR * value / top) if top > 0 else ""
