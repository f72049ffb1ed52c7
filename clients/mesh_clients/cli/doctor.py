"""`mesh doctor`: every finding with what mends it. Says something also when no daemon can be had."""

import sys

from mesh_clients.cli.invocation import Invocation
from mesh_clients.exits import finish
from mesh_clients.render import emphasise, say, word
from mesh_protocol.wire.errors import FAILED, OK, MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue

SIGNS = {"ok": "ok  ", "warn": "warn", "bad": "BAD "}


def run(called: Invocation) -> int:
    try:
        answer = called.call(called.params)
    except MeshError as error:
        if error.code != "no_daemon":
            raise
        check: JsonValue = {"name": "daemon", "ok": "bad", "text": error.message, "fix": "mesh up"}
        answer = {"checks": [check]}
    checks = answer.get("checks")
    rows = [row for row in checks if isinstance(row, dict)] if isinstance(checks, list) else []
    if not called.as_json:
        for row in rows:
            print_check(row)
    finish(answer, as_json=called.as_json)
    return FAILED if any(row.get("ok") == "bad" for row in rows) else OK


def print_check(row: "dict[str, JsonValue]") -> None:
    verdict = word(row, "ok")
    name, text, fix = (word(row, key) for key in ("name", "text", "fix"))
    line = f"{SIGNS.get(verdict, verdict)}  {name}: {text}"
    say(line if verdict == "ok" else emphasise(line, sys.stdout))
    if fix and verdict != "ok":
        say(f"      mend: {fix}")
