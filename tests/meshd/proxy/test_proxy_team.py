"""A team on one host: clients with tokens of their own, and accounts whose credential takes the place of theirs."""

import gc
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import trio

from mesh_protocol.wire.errors import MeshError
from meshd.seams import Seams
from meshd.services.proxy.team.accounts import AGAIN_MS, EARLY_MS, KEY, LOGIN, MAX_ACCOUNTS, Account
from meshd.services.proxy.team.clients import MAX_CLIENTS
from proxy_kit.stage import SEAMS, SECONDS, Hearing, Stage, answering, open_stage, until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
OWN = "x-api-key: the-clients-own\r\nauthorization: Bearer the-clients-own\r\n"
WORK = Account("work", KEY, "", "", "", 1)


def login_at(url: str) -> Account:
    return Account("team", LOGIN, "", url, "the-client", 1)


@asynccontextmanager
async def opened(folder: Path, heard: list[bytes] | None = None, seams: Seams = SEAMS) -> AsyncIterator[Stage]:
    async with open_stage(folder, answering(OK, heard), seams=seams) as stage:
        yield stage


def with_token(stage: Stage, token: str, *, host: str = "", more: str = OWN) -> bytes:
    named = host or stage.host
    head = f"POST /px/{token}/v1/messages HTTP/1.1\r\nHost: {named}\r\n{more}content-length: 2\r\n\r\n"
    return head.encode() + b"{}"


async def ask(stage: Stage, token: str, **named: str) -> bytes:
    """The status line of the answer."""
    client = await stage.client()
    await client.send(with_token(stage, token, **named))
    first = await client.until(b"ok") if not client.closed else b""
    return first.partition(b"\r\n")[0]


async def refused(stage: Stage, token: str, **named: str) -> bytes:
    client = await stage.client()
    await client.send(with_token(stage, token, **named))
    return await client.rest()


def credentials(heard: list[bytes]) -> list[bytes]:
    """What the upstream heard last of whose a request was."""
    head = heard[-1].partition(b"\r\n\r\n")[0]
    lines = [line.strip() for line in head.split(b"\r\n")]
    return [line for line in lines if line.lower().startswith((b"x-api-key", b"authorization", b"anthropic-beta"))]


@contextmanager
def token_endpoint(
    answers: list[tuple[int, object]], go: threading.Event | None = None
) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A token endpoint on this machine that gives these answers in turn, but for the first not before `go`; its URL,
    and what it was asked."""
    asked: list[dict[str, str]] = []

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            if go is not None and len(asked) > 1:
                assert go.wait(SECONDS)
            status, answer = answers.pop(0)
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Endpoint) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/oauth/token", asked
        finally:
            server.shutdown()
            thread.join()


def granted(access: str, refresh: str = "", seconds: float = 3600) -> tuple[int, object]:
    return 200, {"access_token": access, "refresh_token": refresh, "expires_in": seconds}


async def test_a_client_with_a_token_of_its_own_is_counted_under_its_name_and_keeps_its_credential(
    tmp_path: Path,
) -> None:
    heard: list[bytes] = []
    async with opened(tmp_path, heard) as stage:
        token = await stage.service.clients.allow("ci", "")
        assert await ask(stage, token) == b"HTTP/1.1 200 OK"
        assert credentials(heard) == [b"x-api-key: the-clients-own", b"authorization: Bearer the-clients-own"]
        (row,) = await stage.recorded(1)
        assert row["client"] == "ci"


async def test_a_client_that_a_budget_holds_is_called_by_its_name(tmp_path: Path) -> None:
    async with opened(tmp_path) as stage:
        budgets = stage.service.budgets
        await budgets.add("day", "", "usd", 0)
        client = await stage.client()
        await client.send(with_token(stage, await stage.service.clients.allow("ci", "")))
        await until(lambda: bool(budgets.asks.open()), "the question")
        assert [(each.client, each.session) for each in budgets.asks.open()] == [("ci", "")]
        assert [each.client for each in budgets.held.values()] == ["ci"]


async def test_a_revoked_token_is_refused_at_its_next_request_also_on_an_open_connection(tmp_path: Path) -> None:
    async with opened(tmp_path) as stage:
        token = await stage.service.clients.allow("ci", "")
        client = await stage.client()
        await client.send(with_token(stage, token))
        await client.until(b"ok")
        assert await stage.service.clients.revoke("ci")
        await client.send(with_token(stage, token))
        assert b"HTTP/1.1 403 " in await client.rest()
        assert not await stage.service.clients.revoke("ci")


async def test_only_a_hash_of_a_token_is_on_the_disk_and_another_takes_its_place(tmp_path: Path) -> None:
    async with opened(tmp_path) as stage:
        first = await stage.service.clients.allow("ci", "")
        second = await stage.service.clients.allow("ci", "")
        assert (await refused(stage, first)).startswith(b"HTTP/1.1 403 ")
        assert await ask(stage, second) == b"HTTP/1.1 200 OK"
    everything = b"".join(each.read_bytes() for each in tmp_path.iterdir() if each.is_file())
    assert first.encode() not in everything
    assert second.encode() not in everything


async def test_clients_outlive_the_daemon_and_are_bounded(tmp_path: Path) -> None:
    async with opened(tmp_path) as stage:
        token = await stage.service.clients.allow("ci", "")
    async with opened(tmp_path) as stage:
        assert await ask(stage, token) == b"HTTP/1.1 200 OK"
        for number in range(MAX_CLIENTS - 1):
            await stage.service.clients.allow(f"c-{number}", "")
        with pytest.raises(MeshError) as error:
            await stage.service.clients.allow("one-more", "")
        assert error.value.code == "too_many"
        await stage.service.clients.allow("ci", "")


async def test_an_accounts_key_takes_the_place_of_whatever_the_client_sends(tmp_path: Path) -> None:
    heard: list[bytes] = []
    async with opened(tmp_path, heard) as stage:
        await stage.service.accounts.add(WORK, "sk-of-work")
        token = await stage.service.clients.allow("ci", "work")
        assert await ask(stage, token) == b"HTTP/1.1 200 OK"
        assert credentials(heard) == [b"x-api-key: sk-of-work"]
        (row,) = await stage.recorded(1)
        assert (row["client"], row["account"]) == ("ci", "work")
    everything = b"".join(each.read_bytes() for each in tmp_path.iterdir() if each.is_file())
    assert b"sk-of-work" not in everything


async def test_a_credential_behind_the_body_ends_here_too(tmp_path: Path) -> None:
    heard: list[bytes] = []

    async def play(stream: trio.SocketStream) -> None:
        heard.append(await Hearing(stream).until(b"0\r\nx-check: 1\r\n\r\n"))
        await stream.send_all(OK)

    async with open_stage(tmp_path, play) as stage:
        await stage.service.accounts.add(WORK, "sk-of-work")
        token = await stage.service.clients.allow("ci", "work")
        client = await stage.client()
        head = f"POST /px/{token}/v1/messages HTTP/1.1\r\nHost: {stage.host}\r\nTransfer-Encoding: chunked\r\n\r\n"
        await client.send(head.encode() + b"2\r\n{}\r\n0\r\nx-check: 1\r\nX-Api-Key: the-clients-own\r\n\r\n")
        await client.until(b"ok")
    assert b"the-clients-own" not in heard[0]


async def test_a_name_of_the_listener_chooses_the_account(tmp_path: Path) -> None:
    heard: list[bytes] = []
    async with opened(tmp_path, heard) as stage:
        token = await stage.service.clients.allow("ci", "")
        port = stage.service.settings.port
        name = f"work.localhost:{port}"
        assert (await refused(stage, token, host=name)).startswith(b"HTTP/1.1 421 "), "no account has it yet"
        await stage.service.accounts.add(WORK._replace(host="work.localhost"), "sk-of-work")
        stage.service.accounts_changed()
        await trio.testing.wait_all_tasks_blocked()
        assert await ask(stage, token, host=name) == b"HTTP/1.1 200 OK"
        assert credentials(heard) == [b"x-api-key: sk-of-work"]
        assert await ask(stage, token) == b"HTTP/1.1 200 OK"
        assert credentials(heard)[0] == b"x-api-key: the-clients-own"
        with pytest.raises(MeshError) as error:
            await stage.service.accounts.add(WORK._replace(name="other", host="work.localhost"), "sk")
        assert error.value.code == "bad_request"


async def test_a_client_whose_account_is_gone_is_told_so_and_its_own_credential_goes_nowhere(tmp_path: Path) -> None:
    heard: list[bytes] = []
    async with opened(tmp_path, heard) as stage:
        await stage.service.accounts.add(WORK, "sk-of-work")
        token = await stage.service.clients.allow("ci", "work")
        assert await stage.service.accounts.remove("work")
        answer = await refused(stage, token)
        assert answer.startswith(b"HTTP/1.1 401 ")
        assert b"authentication_error" in answer
        assert heard == []
        assert not await stage.service.accounts.remove("work")


async def test_a_login_is_renewed_a_minute_before_its_end_once_and_its_new_refresh_token_is_kept(
    tmp_path: Path,
) -> None:
    heard: list[bytes] = []
    late = [0]
    seams = replace(SEAMS, clock=lambda: SEAMS.clock() + late[0])
    with token_endpoint([granted("one", "r-2"), granted("two", "r-3"), granted("three")]) as (url, asked):
        async with opened(tmp_path, heard, seams) as stage:
            await stage.service.accounts.add(login_at(url), "r-1")
            token = await stage.service.clients.allow("ci", "team")
            assert await ask(stage, token) == b"HTTP/1.1 200 OK"
            assert credentials(heard) == [b"authorization: Bearer one", b"anthropic-beta: oauth-2025-04-20"]
            assert len(asked) == 1, "it has an hour"
            late[0] = 3600_000 - EARLY_MS // 2
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(ask, stage, token)
            assert [each["refresh_token"] for each in asked] == ["r-1", "r-2"]
            assert credentials(heard)[0] == b"authorization: Bearer two"
        late[0] += 3600_000
        async with opened(tmp_path, heard, seams) as stage:
            beta = "anthropic-beta: a, oauth-2025-04-20\r\n"
            assert await ask(stage, token, more=beta) == b"HTTP/1.1 200 OK"
            assert credentials(heard) == [b"anthropic-beta: a, oauth-2025-04-20", b"authorization: Bearer three"]
        assert asked[-1] == {"grant_type": "refresh_token", "refresh_token": "r-3", "client_id": "the-client"}


async def test_a_login_that_cannot_be_renewed_serves_to_its_end_and_then_says_so(tmp_path: Path) -> None:
    heard: list[bytes] = []
    late = [0]
    seams = replace(SEAMS, clock=lambda: SEAMS.clock() + late[0])
    with token_endpoint([granted("one"), (500, {}), (500, {})]) as (url, _):
        async with opened(tmp_path, heard, seams) as stage:
            await stage.service.accounts.add(login_at(url), "r-1")
            token = await stage.service.clients.allow("ci", "team")
            late[0] = 3600_000 - EARLY_MS // 2
            assert await ask(stage, token) == b"HTTP/1.1 200 OK"
            late[0] = 3600_000 + 1
            answer = await refused(stage, token)
            assert answer.startswith(b"HTTP/1.1 401 ")
            assert b"mesh proxy account team" in answer


@pytest.mark.parametrize(
    "answer",
    [
        (401, {"error": "invalid_grant"}),
        (200, {}),
        (200, []),
        granted(""),
        granted("a b"),
        granted("a\r\nx: y"),
        granted("a", seconds=0),
        granted("x" * 70_000),
        (302, {}),
    ],
)
async def test_an_endpoint_that_gives_no_usable_token_keeps_nothing(tmp_path: Path, answer: tuple[int, object]) -> None:
    with token_endpoint([answer]) as (url, _):
        async with opened(tmp_path) as stage:
            with pytest.raises(MeshError) as error:
                await stage.service.accounts.add(login_at(url), "r-secret")
            assert error.value.code == "account_failed"
            assert "r-secret" not in error.value.message
            assert stage.service.accounts.all() == []
    gc.collect()  # a socket that was left open is said here


async def test_an_endpoint_that_fails_is_not_asked_by_each_request(tmp_path: Path) -> None:
    late = [0]
    seams = replace(SEAMS, clock=lambda: SEAMS.clock() + late[0])
    with token_endpoint([granted("one"), (500, {}), (500, {}), granted("two")]) as (url, asked):
        async with opened(tmp_path, None, seams) as stage:
            await stage.service.accounts.add(login_at(url), "r-1")
            token = await stage.service.clients.allow("ci", "team")
            late[0] = 3600_000 - EARLY_MS // 2
            for _ in range(3):
                assert await ask(stage, token) == b"HTTP/1.1 200 OK"
            assert len(asked) == 2
            late[0] = 3600_000
            for _ in range(3):
                assert (await refused(stage, token)).startswith(b"HTTP/1.1 401 ")
            assert len(asked) == 3
            late[0] += AGAIN_MS
            assert await ask(stage, token) == b"HTTP/1.1 200 OK"


@asynccontextmanager
async def renewing(folder: Path) -> AsyncIterator[tuple[Stage, Hearing, threading.Event, list[dict[str, str]]]]:
    """The login `team` in the middle of its renewal, which a request waits for; the event lets it go on."""
    late, go = [0], threading.Event()
    seams = replace(SEAMS, clock=lambda: SEAMS.clock() + late[0])
    with token_endpoint([granted("one", "r-2"), granted("two", "r-3"), granted("three", "r-4")], go) as (url, asked):
        async with opened(folder, None, seams) as stage:
            await stage.service.accounts.add(login_at(url), "r-1")
            token = await stage.service.clients.allow("ci", "team")
            late[0] = 3600_000
            client = await stage.client()
            await client.send(with_token(stage, token))
            await until(lambda: len(asked) == 2, "the renewal")
            try:
                yield stage, client, go, asked
            finally:
                go.set()


async def test_a_renewal_that_nobody_waits_for_any_more_keeps_the_new_refresh_token(tmp_path: Path) -> None:
    async with renewing(tmp_path) as (stage, client, go, asked):
        stage.service.accounts_changed()  # which ends connections that have nothing under way
        await trio.testing.wait_all_tasks_blocked()
        go.set()
        await client.rest()
        token = await stage.service.clients.allow("ci", "team")
        assert await ask(stage, token) == b"HTTP/1.1 200 OK"
        assert len(asked) == 2, "the token that came is good for an hour"


async def test_an_account_that_is_dropped_in_the_middle_of_its_renewal_stays_away(tmp_path: Path) -> None:
    async with renewing(tmp_path) as (stage, client, go, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.service.accounts.remove, "team")
            await trio.testing.wait_all_tasks_blocked()
            go.set()
        assert stage.service.accounts.all() == []
        await client.until(b"ok")
        assert (await refused(stage, await stage.service.clients.allow("ci", "team"))).startswith(b"HTTP/1.1 401 ")


async def test_an_endpoint_off_this_machine_must_speak_tls_and_a_secret_must_fit_a_header(tmp_path: Path) -> None:
    async with opened(tmp_path) as stage:
        for account, secret in (
            (Account("team", LOGIN, "", "http://example.com/token", "c", 1), "r-1"),
            (WORK, "two\r\nlines"),
            (WORK, ""),
            (WORK, "k\u00e9y"),
        ):
            with pytest.raises(MeshError) as error:
                await stage.service.accounts.add(account, secret)
            assert error.value.code == "bad_request"
        for number in range(MAX_ACCOUNTS):
            await stage.service.accounts.add(WORK._replace(name=f"a-{number}"), "sk")
        with pytest.raises(MeshError) as error:
            await stage.service.accounts.add(WORK, "sk")
        assert error.value.code == "too_many"
