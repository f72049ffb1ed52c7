"""The relay's decisions, without processes: nothing is lost and nothing is answered twice."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh_clients.mcp.exchange import (
    CALL_PATIENCE,
    DESPAIR,
    MAX_LINE,
    MAX_PENDING,
    MAX_PENDING_BYTES,
    MAX_TRIES,
    PATIENCE,
    Exchange,
)
from mesh_clients.mcp.fallback import REVISIONS
from meshd.claude import channel
from meshd.mcp import server

INITIALIZE = b'{"method":"initialize","params":{"protocolVersion":"2025-11-25"},"jsonrpc":"2.0","id":0}'
INITIALIZED = b'{"method":"notifications/initialized","jsonrpc":"2.0"}'


def call(number: int, name: str = "send_message") -> bytes:
    return b'{"method":"tools/call","params":{"name":"%b"},"jsonrpc":"2.0","id":%d}' % (name.encode(), number)


def answer(number: int) -> bytes:
    return b'{"jsonrpc":"2.0","id":%d,"result":{}}' % number


def taken(lines: list[bytes]) -> list[bytes]:
    out = [*lines]
    lines.clear()
    return out


def greeted() -> Exchange:
    """A session under way, all its lines taken."""
    exchange = Exchange()
    exchange.opened()
    exchange.from_client(INITIALIZE, 0)
    exchange.from_daemon(answer(0))
    exchange.from_client(INITIALIZED, 0)
    taken(exchange.to_daemon)
    taken(exchange.to_client)
    return exchange


def test_lines_go_both_ways_as_they_are() -> None:
    exchange = greeted()
    exchange.from_client(call(1), 1)
    assert taken(exchange.to_daemon) == [call(1)]
    exchange.from_daemon(b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}')
    exchange.from_daemon(answer(1))
    assert len(taken(exchange.to_client)) == 2
    assert not exchange.pending


def test_the_probe_is_refused_at_once_with_its_own_id_and_without_a_daemon() -> None:
    exchange = Exchange()
    exchange.from_client(b'{"jsonrpc":"2.0","id":"server-discover-probe-1","method":"server/discover","params":{}}', 0)
    told = json.loads(exchange.to_client[0])
    assert (told["id"], told["error"]["code"]) == ("server-discover-probe-1", -32601)
    assert not exchange.pending


def test_after_a_restart_the_new_daemon_is_greeted_and_gets_what_is_not_answered_in_order() -> None:
    exchange = greeted()
    for number in (1, 2, 3):
        exchange.from_client(call(number), 1)
    exchange.from_daemon(answer(2))
    assert taken(exchange.to_client) == [answer(2)]
    exchange.lost(2)
    exchange.opened()
    assert taken(exchange.to_daemon) == [INITIALIZE, INITIALIZED, call(1), call(3)]
    exchange.from_daemon(answer(0))
    assert exchange.to_client == []
    exchange.from_daemon(answer(1))
    exchange.from_daemon(answer(3))
    assert taken(exchange.to_client) == [answer(1), answer(3)]


def test_an_initialize_that_was_not_answered_is_repeated_once_and_its_answer_passed_on() -> None:
    exchange = Exchange()
    exchange.from_client(INITIALIZE, 0)
    exchange.opened()
    assert taken(exchange.to_daemon) == [INITIALIZE]
    exchange.lost(1)
    exchange.opened()
    assert taken(exchange.to_daemon) == [INITIALIZE]
    exchange.from_daemon(answer(0))
    assert taken(exchange.to_client) == [answer(0)]


def test_a_second_answer_to_the_same_request_is_dropped() -> None:
    exchange = greeted()
    exchange.from_client(call(1), 1)
    exchange.from_daemon(answer(1))
    exchange.from_daemon(answer(1))
    assert taken(exchange.to_client) == [answer(1)]


def test_a_cancelled_call_is_neither_repeated_nor_answered_later() -> None:
    exchange = greeted()
    exchange.from_client(call(1), 1)
    cancel = b'{"method":"notifications/cancelled","params":{"requestId":1},"jsonrpc":"2.0"}'
    exchange.from_client(cancel, 1)
    assert taken(exchange.to_daemon) == [call(1), cancel]
    exchange.from_daemon(answer(1))
    exchange.lost(2)
    exchange.opened()
    assert exchange.to_client == []
    assert taken(exchange.to_daemon) == [INITIALIZE, INITIALIZED]


def test_a_request_over_which_every_daemon_dies_is_refused_in_the_end() -> None:
    exchange = greeted()
    exchange.from_client(call(1), 1)
    for _ in range(MAX_TRIES):
        assert exchange.to_client == []
        exchange.lost(2)
        exchange.opened()
    told = json.loads(exchange.to_client[0])
    assert (told["id"], told["error"]["code"]) == (1, -32603)
    assert call(1) not in exchange.to_daemon[-1:]


def test_without_a_daemon_initialize_and_tools_list_are_answered_after_three_seconds() -> None:
    exchange = Exchange()
    exchange.from_client(INITIALIZE, 10)
    assert exchange.deadline() == 10 + PATIENCE
    exchange.expire(10 + PATIENCE - 0.01, "why", "1.2.3")
    assert exchange.to_client == []
    exchange.expire(10 + PATIENCE, "why", "1.2.3")
    told = json.loads(taken(exchange.to_client)[0])["result"]
    assert told["protocolVersion"] == "2025-11-25"
    assert told["serverInfo"]["version"] == "1.2.3"
    exchange.from_client(b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}', 14)
    exchange.expire(14, "why", "1.2.3")
    (tool,) = json.loads(taken(exchange.to_client)[0])["result"]["tools"]
    assert tool["name"] == "mesh_help"


@pytest.mark.parametrize("asked", [*REVISIONS, "2099-01-01", None])
def test_the_relay_and_the_daemon_agree_on_the_revision(asked: str | None) -> None:
    assert REVISIONS == server.REVISIONS
    exchange = Exchange()
    line = json.dumps({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": asked}})
    exchange.from_client(line.encode(), 0)
    exchange.expire(PATIENCE, "why", "1")
    told = json.loads(exchange.to_client[0])["result"]
    assert told["protocolVersion"] == (asked if asked in REVISIONS else REVISIONS[0])
    assert told["capabilities"] == {
        "tools": {"listChanged": True},
        "prompts": {"listChanged": True},
        "experimental": {channel.CAPABILITY: {}},
    }


def asked_without_daemon(line: bytes) -> dict:
    exchange = Exchange()
    exchange.from_client(line, 0)
    exchange.expire(PATIENCE, "it was not started", "1")
    return json.loads(exchange.to_client[0])


def test_the_help_says_why_and_what_mends_it() -> None:
    text = asked_without_daemon(call(5, "mesh_help"))["result"]["content"][0]["text"]
    assert "it was not started" in text
    assert "mesh up" in text


def test_another_tool_without_daemon_says_truly_that_nothing_was_done() -> None:
    told = asked_without_daemon(call(5))["result"]
    assert told["isError"] is True
    assert told["content"][0]["text"].startswith("Nothing was done")


def test_an_unknown_request_without_daemon_is_minus_32601_and_a_ping_is_answered() -> None:
    assert asked_without_daemon(b'{"jsonrpc":"2.0","id":"x","method":"resources/list"}')["error"]["code"] == -32601
    assert asked_without_daemon(b'{"jsonrpc":"2.0","id":"x","method":"prompts/list"}')["result"] == {"prompts": []}
    assert asked_without_daemon(b'{"jsonrpc":"2.0","id":"x","method":"ping"}')["result"] == {}
    assert asked_without_daemon(b'{"jsonrpc":"2.0","id":9,"method":"ping","params":[1,}')["error"]["code"] == -32700


def test_a_call_that_a_daemon_had_waits_longer_and_then_says_that_its_outcome_is_unknown() -> None:
    exchange = greeted()
    exchange.from_client(call(1), 1)
    exchange.lost(5)
    exchange.expire(5 + PATIENCE, "it stopped", "1")
    assert exchange.to_client == []
    exchange.expire(5 + CALL_PATIENCE, "it stopped", "1")
    told = json.loads(exchange.to_client[0])["result"]
    assert told["isError"] is True
    assert "not known" in told["content"][0]["text"]


def test_once_given_up_others_are_answered_at_once_for_a_while_and_then_wait_again() -> None:
    exchange = greeted()
    exchange.lost(0)
    exchange.from_client(call(1), 0)
    exchange.expire(PATIENCE, "why", "1")
    exchange.from_client(call(2), PATIENCE + 1)
    exchange.expire(PATIENCE + 1, "why", "1")
    assert len(taken(exchange.to_client)) == 2
    later = PATIENCE + DESPAIR
    exchange.from_client(call(3), later)
    exchange.expire(later, "why", "1")
    assert exchange.to_client == []
    assert exchange.deadline() == later + PATIENCE


def test_when_the_daemon_is_back_the_client_is_told_to_list_the_tools_again() -> None:
    exchange = Exchange()
    exchange.from_client(INITIALIZE, 0)
    exchange.expire(PATIENCE, "why", "1")
    exchange.from_client(INITIALIZED, 4)
    taken(exchange.to_client)
    exchange.opened()
    assert taken(exchange.to_daemon) == [INITIALIZE, INITIALIZED]
    assert [json.loads(line)["method"] for line in taken(exchange.to_client)] == [
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
    ]
    exchange.from_daemon(answer(0))
    assert exchange.to_client == []


def test_a_line_over_the_limit_is_refused_with_its_id_which_may_stand_at_its_end() -> None:
    exchange = greeted()
    text = b"x" * MAX_LINE
    exchange.from_client(b'{"method":"tools/call","params":{"t":"%b"},"jsonrpc":"2.0","id":77}' % text, 0)
    told = json.loads(exchange.to_client[0])
    assert (told["id"], told["error"]["code"]) == (77, -32600)
    assert not exchange.pending
    assert exchange.to_daemon == []


def test_what_may_wait_is_bounded_in_number_and_in_bytes() -> None:
    exchange = Exchange()
    for number in range(MAX_PENDING + 1):
        exchange.from_client(call(number), 0)
    assert json.loads(exchange.to_client[0])["error"]["code"] == -32000
    assert len(exchange.pending) == MAX_PENDING
    exchange = Exchange()
    big = b" " * (MAX_LINE - 200)
    for number in range(MAX_PENDING_BYTES // MAX_LINE + 2):
        exchange.from_client(call(number) + big, 0)
    assert json.loads(exchange.to_client[-1])["error"]["code"] == -32000


def test_an_id_in_use_or_one_that_cannot_be_matched_is_refused() -> None:
    exchange = greeted()
    exchange.from_client(call(1), 0)
    exchange.from_client(call(1), 0)
    assert json.loads(exchange.to_client[0])["id"] == 1
    exchange.from_client(b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', 0)
    assert json.loads(exchange.to_client[1]) == {
        "jsonrpc": "2.0",
        "id": None,
        "error": {"code": -32600, "message": "the id must be an integer or a string without escapes"},
    }
    assert taken(exchange.to_daemon) == [call(1)]


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from(["ask", "die", "back", "reply", "reply", "wait"]), max_size=40))
def test_whatever_happens_every_request_gets_exactly_one_answer(events: list[str]) -> None:
    exchange = greeted()
    now, number, serving = 0.0, 0, True
    at_daemon: list[int] = []
    answered: list[int] = []

    def settle() -> None:
        for line in taken(exchange.to_daemon):
            message = json.loads(line)
            if message.get("method") == "tools/call":
                at_daemon.append(message["id"])
        for line in taken(exchange.to_client):
            message = json.loads(line)
            if "id" in message:
                answered.append(message["id"])

    for event in [*events, "back", *["reply"] * 40]:
        now += 1
        if event == "ask":
            number += 1
            exchange.from_client(call(number), now)
        elif event == "die" and serving:
            serving = False
            at_daemon.clear()
            exchange.lost(now)
        elif event == "back" and not serving:
            serving = True
            exchange.opened()
            exchange.from_daemon(answer(0))
        elif event == "reply" and serving and at_daemon:
            exchange.from_daemon(answer(at_daemon.pop(0)))
        elif event == "wait":
            now += 20
        exchange.expire(now, "why", "1")
        settle()
    assert sorted(answered) == list(range(1, number + 1))
    assert not exchange.pending
