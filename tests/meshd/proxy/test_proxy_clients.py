"""Sums by client: those with a name of their own, and what the others say they are."""

from pathlib import Path

import apsw

from meshd.services.proxy.reports import sum_all, sum_by
from meshd.services.proxy.schema import MIGRATIONS
from proxy_kit.record import open_record
from proxy_kit.stage import answering, open_stage

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_versions_of_a_program_are_one_client_and_a_named_one_is_its_name() -> None:
    with open_record() as record:
        for client, cost in (("claude-cli/2.1.0 (x)", 1), ("claude-cli/2.2.0", 2), ("ci", 4), ("", None)):
            record.add([], client=client, cost=cost)
        groups = sum_by(record.tx, "client", "")
        assert [(group.key, group.requests, group.unpriced) for group in groups] == [
            ("ci", 1, 0),
            ("claude-cli", 2, 0),
            ("", 1, 1),
        ]
        assert sum(group.input_tokens for group in groups) == sum_all(record.tx, "").input_tokens


async def test_a_request_with_a_clients_token_is_in_that_clients_sums(tmp_path: Path) -> None:
    async with open_stage(tmp_path, answering(OK)) as stage:
        token = await stage.service.clients.allow("ci", "")
        for path, agent in ((f"/px/{token}", "claude-cli/2.1"), (stage.path, "curl/8")):
            client = await stage.client()
            head = f"POST {path}/v1/messages HTTP/1.1\r\nHost: {stage.host}\r\nUser-Agent: {agent}\r\n"
            await client.send(head.encode() + b"content-length: 2\r\n\r\n{}")
            await client.until(b"ok")
        await stage.recorded(2)
        assert {group.key for group in sum_by(stage.service.db.reader, "client", "")} == {"ci", "curl"}


def test_a_record_from_before_has_its_clients_in_the_sums() -> None:
    told = {
        "day": "2026-11-20",
        "client": "claude-cli/2.1.0",
        "input": 7,
        "cost": 9,
        "status": 200,
        "outcome": "complete",
    }
    others = [
        {**told, "client": "claude-cli", "cost": None, "partial": 1, "outcome": "client_left"},
        {**told, "status": 529, "unaccounted": "broken", "error": "overloaded_error"},
    ]
    db = apsw.Connection(":memory:")
    _run(db, *MIGRATIONS[:3])
    types = {row[1]: row[2] for row in db.execute("PRAGMA table_info(request)") if row[1] != "row"}
    plain: dict[str, object] = {name: {"TEXT": "", "BLOB": b""}.get(kind, 0) for name, kind in types.items()}
    for row in (told, *others):
        values = {**plain, **row}
        db.execute(
            f"INSERT INTO request({', '.join(values)}) VALUES({','.join('?' * len(values))})", [*values.values()]
        )  # type: ignore[arg-type]
    _run(db, *MIGRATIONS[3:])
    (group,) = sum_by(db, "client", "")
    assert (group.key, group.requests, group.input_tokens, group.cost_usd) == ("claude-cli", 3, 21, 18e-9)
    assert (group.unpriced, group.partial, group.unaccounted, group.failed) == (1, 1, 1, 2)
    db.close()


def _run(db: apsw.Connection, *scripts: str) -> None:
    for script in scripts:
        for _ in db.execute(script):
            pass
