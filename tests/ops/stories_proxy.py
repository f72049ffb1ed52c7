"""Switching the API proxy, and asking what was spent."""

import json
import socket
from dataclasses import replace
from pathlib import Path

from exercised import refuses, works

from mesh_protocol.io.sqlite import InlineWorker
from meshd.services.proxy.asked import Kind
from meshd.services.proxy.entries import Entry
from meshd.services.proxy.exchanges import Copy, Exchange, Room
from meshd.services.proxy.heads import Head
from meshd.services.proxy.store import add_entries
from meshd.services.proxy.usage import Tokens
from world.machine import Machine
from world.world import World

DAY = "2026-11-20"
DOUBLE = '[[price]]\nmodel = "claude-opus-5-5"\nfrom = "2026-01-01"\ninput = 8\noutput = 40\n'


async def machine(world: World) -> Machine:
    """A machine whose proxy has a disk of its own."""
    ann = world.machines.get("ann") or await world.machine("ann")
    ann.app.node.seams = replace(ann.app.node.seams, worker=lambda name: InlineWorker())
    return ann


async def switched_on(world: World) -> Machine:
    ann = await machine(world)
    await ann.call("proxy.on")
    return ann


def entry(session: str, chain: bytes, *, model: str = "claude-opus-5-5", tools: tuple[str, ...] = ()) -> Entry:
    """A request that used a thousand tokens of input and a hundred of output."""
    return Entry(
        started_ms=1_763_600_000_000,
        day=DAY,
        account="key-00000000",
        client="claude-cli",
        session=session,
        agent="",
        parent_agent="",
        source="header",
        model=model,
        kind=Kind.TURN.value,
        tokens=Tokens(input=1_000, output=100),
        cost=6_000_000,
        stop_reason="end_turn",
        tools=list(tools),
        status=200,
        outcome="complete",
        partial=False,
        unaccounted="",
        error="",
        first_byte_ms=10.0,
        first_token_ms=20.0,
        total_ms=30.0,
        request_id="req_1",
        message_id="msg_1",
        chain=[chain],
        system=b"",
        continued=False,
        prompt=b"",
        started=[],
        windows=[],
    )


async def with_requests(world: World) -> Machine:
    """Two conversations, whose ids begin alike."""
    ann = await switched_on(world)
    entries = [(1, entry("talk-one", b"a")), (2, entry("talk-two", b"b", tools=("Bash", "Bash", "Read")))]
    await ann.app.proxy.service().db.write(lambda tx: add_entries(tx, entries))
    return ann


@works("proxy.on")
async def the_proxy_listens_where_it_says(world: World) -> None:
    ann = await machine(world)
    answer = await ann.call("proxy.on", upstream="https://gateway.example/api")
    assert answer["state"] == "on"
    assert answer["upstream"] == "https://gateway.example/api"
    assert answer["url"].startswith(f"http://127.0.0.1:{answer['port']}/px/")
    assert any("Remote Control" in note for note in answer["notes"])
    with socket.create_connection(("127.0.0.1", answer["port"]), timeout=60):
        pass
    assert (await ann.call("proxy.on"))["url"] == answer["url"]
    assert (await ann.call("proxy.on", new_token=True))["url"] != answer["url"]


@refuses("proxy.on", "port_taken")
async def a_port_that_is_another_programs(world: World) -> str:
    ann = await machine(world)
    with socket.create_server(("127.0.0.1", 0)) as other:
        return await ann.refusal("proxy.on", port=other.getsockname()[1])


@works("proxy.off")
async def the_proxy_goes_off_and_stays_so(world: World) -> None:
    ann = await machine(world)
    assert (await ann.call("proxy.off"))["state"] == "off"
    port = (await ann.call("proxy.on"))["port"]
    assert (await ann.call("proxy.off"))["state"] == "off"
    await world.settle()
    with socket.create_server(("127.0.0.1", port)):
        assert (await ann.call("proxy.status"))["state"] == "off"


@works("proxy.status")
async def the_proxy_says_how_it_is(world: World) -> None:
    ann = await machine(world)
    assert (await ann.call("proxy.status"))["state"] == "off"
    await ann.call("proxy.on")
    status = await ann.call("proxy.status")
    assert (status["state"], status["requests"], status["lost"]) == ("on", 0, 0)
    assert {"gzip", "deflate"} <= {*status["codings"]}


@works("proxy.env")
async def what_to_set_is_the_base_url_alone(world: World) -> None:
    ann = await machine(world)
    url = (await ann.call("proxy.on"))["url"]
    assert (await ann.call("proxy.env"))["variables"] == [{"name": "ANTHROPIC_BASE_URL", "value": url}]


@refuses("proxy.env", "service_off")
async def what_to_set_for_a_proxy_that_is_off(world: World) -> str:
    ann = await switched_on(world)
    await ann.call("proxy.off")
    return await ann.refusal("proxy.env")


def talk(body: bytes) -> Exchange:
    """A request with a number of its own, as it passed."""
    head = Head(b"POST", b"/v1/messages", b"1.1", (), chunked=False, last=False)
    room = Room()
    made = Exchange(7, head, b"/v1/messages", Copy(room, wanted=True), 0.0, 1_763_600_000_000)
    made.answer = Copy(room, wanted=True)
    made.asked.feed(body)
    made.answer.feed(b"\xff" * 10)
    return made


async def with_bodies(world: World, body: bytes = b"a question") -> Machine:
    """A recorded request whose bodies are stored."""
    ann = await machine(world)
    assert any("encrypted" in note for note in (await ann.call("proxy.on", store="bodies", keep_days=3))["notes"])
    service = ann.app.proxy.service()
    await service.db.write(lambda tx: add_entries(tx, [(7, entry("talk-one", b"a"))]))
    assert service.bodies is not None
    service.bodies.take(talk(body))
    await service.bodies.drained()
    return ann


@works("usage.body")
async def what_was_said_is_read_piece_by_piece(world: World) -> None:
    body = ("é" * 200_000 + "x").encode()
    ann = await with_bodies(world, body)
    (turn,) = (await ann.call("usage.conversation", id="talk-one"))["turns"]
    assert turn["stored_bytes"] == len(body) + 10
    pieces, offset = [], 0
    while True:
        answer = await ann.call("usage.body", row=turn["row"], part="request", offset=offset)
        pieces.append(answer["text"])
        if not (offset := answer["next_offset"]):
            break
    assert len(pieces) == 2
    assert "".join(pieces).encode() == body
    assert (await ann.call("usage.body", row=turn["row"], part="answer"))["text"] == "\N{REPLACEMENT CHARACTER}" * 10


@refuses("usage.body", "not_found")
async def what_was_said_where_it_is_not_stored(world: World) -> str:
    ann = await with_requests(world)
    return await ann.refusal("usage.body", row=1, part="request")


@works("proxy.forget")
async def what_is_stored_is_deleted_and_the_sums_stay(world: World) -> None:
    ann = await machine(world)
    assert await ann.call("proxy.forget") == {"bodies": 0, "requests": 0}
    ann = await with_bodies(world)
    status = await ann.call("proxy.status")
    assert (status["store"], status["stored_requests"], status["keep_days"]) == ("bodies", 1, 3)
    assert any("mesh proxy forget" in note for note in (await ann.call("proxy.off"))["notes"])
    assert await ann.call("proxy.forget", older=36_500) == {"bodies": 0, "requests": 0}
    assert await ann.call("proxy.forget") == {"bodies": 1, "requests": 0}
    assert (await ann.call("proxy.status"))["stored_requests"] == 0
    assert (await ann.call("usage.conversation", id="talk-one"))["requests"] == 1
    assert await ann.call("proxy.forget", requests=True) == {"bodies": 0, "requests": 1}
    assert await ann.refusal("usage.conversation", id="talk-one") == "not_found"
    assert (await ann.call("usage.show"))["requests"] == 1


@works("usage.show")
async def what_was_spent_is_told_by_what_is_asked_for(world: World) -> None:
    ann = await machine(world)
    assert (await ann.call("usage.show"))["requests"] == 0
    ann = await with_requests(world)
    answer = await ann.call("usage.show")
    assert (answer["requests"], answer["input_tokens"], answer["output_tokens"]) == (2, 2_000, 200)
    assert answer["cost_usd"] == 0.012
    assert [row["key"] for row in answer["rows"]] == [DAY]
    by_tool = (await ann.call("usage.show", by="tool"))["rows"]
    assert {row["key"]: row["requests"] for row in by_tool} == {"Bash": 1, "Read": 1}
    by_client = (await ann.call("usage.show", by="client"))["rows"]
    assert [(row["key"], row["requests"], row["cost_usd"]) for row in by_client] == [("claude-cli", 2, 0.012)]
    assert (await ann.call("usage.show", by="session", limit=1))["more"] == 1
    assert (await ann.call("usage.show", since="2026-11-21"))["requests"] == 0
    assert await ann.refusal("usage.show", since="2026-13-41") == "bad_request"


@works("usage.conversations")
async def conversations_are_listed(world: World) -> None:
    ann = await machine(world)
    assert (await ann.call("usage.conversations"))["conversations"] == []
    ann = await with_requests(world)
    answer = await ann.call("usage.conversations", limit=1)
    assert (len(answer["conversations"]), answer["more"]) == (1, True)


@works("usage.conversation")
async def a_conversation_is_found_by_the_beginning_of_its_id(world: World) -> None:
    ann = await with_requests(world)
    answer = await ann.call("usage.conversation", id="talk-t")
    assert (answer["id"], answer["requests"], answer["cost_usd"]) == ("talk-two", 1, 0.006)
    assert [(row["branch"], row["requests"]) for row in answer["threads"]] == [("main", 1)]
    assert [row["tools"] for row in answer["turns"]] == [["Bash", "Bash", "Read"]]


@refuses("usage.conversation", "not_found")
async def a_conversation_that_is_not_there(world: World) -> str:
    return await (await machine(world)).refusal("usage.conversation", id="none")


@refuses("usage.conversation", "ambiguous_id")
async def the_beginning_of_two_conversations(world: World) -> str:
    return await (await with_requests(world)).refusal("usage.conversation", id="talk")


LINE = {
    "type": "assistant",
    "sessionId": "talk-three",
    "timestamp": "2023-01-02T10:00:00.000Z",
    "requestId": "req_2",
    "message": {"id": "msg_2", "model": "claude-opus-5-5", "usage": {"input_tokens": 1_000, "output_tokens": 100}},
}


def write_transcript(ann: Machine) -> Path:
    """A folder of Claude Code's with one answer in it."""
    config = ann.folder / "claude"
    (config / "projects" / "p").mkdir(parents=True)
    (config / "projects" / "p" / "talk-three.jsonl").write_text(json.dumps(LINE) + "\n")
    return config


@works("usage.import")
async def what_transcripts_tell_is_counted_once(world: World) -> None:
    ann = await machine(world)
    config = write_transcript(ann)
    answer = await ann.call("usage.import", config=str(config), follow=True)
    assert (answer["files"], answer["messages"], answer["added"], answer["following"]) == (1, 1, 1, True)
    assert (await ann.call("usage.import", config=str(config)))["messages"] == 0
    told = await ann.call("usage.show")
    assert (told["requests"], told["input_tokens"], told["unpriced"]) == (1, 1_000, 1)
    assert (await ann.call("usage.import", stop=True))["following"] is False


@refuses("usage.import", "not_found")
async def transcripts_that_are_not_there(world: World) -> str:
    return await (await machine(world)).refusal("usage.import", config="/nowhere")


@works("usage.reconcile")
async def the_record_is_held_against_the_transcripts(world: World) -> None:
    ann = await machine(world)
    assert (await ann.call("usage.reconcile"))["days"] == []
    ann = await with_requests(world)
    await ann.call("usage.import", config=str(write_transcript(ann)))
    answer = await ann.call("usage.reconcile", since="2020-01-01")
    days = [(row["day"], row["both"], row["only_proxy"], row["only_transcripts"]) for row in answer["days"]]
    assert days == [(DAY, 0, 2, 0), ("2023-01-02", 0, 0, 1)]


@works("usage.reprice")
async def what_was_spent_is_priced_anew(world: World) -> None:
    ann = await machine(world)
    assert (await ann.call("usage.reprice"))["requests"] == 0
    ann = await with_requests(world)
    assert (await ann.call("usage.reprice"))["changed"] == 0
    (ann.paths.data / "prices.toml").write_text(DOUBLE)
    answer = await ann.call("usage.reprice")
    assert answer == {"requests": 2, "changed": 2, "before_usd": 0.012, "after_usd": 0.024}
    assert (await ann.call("usage.show"))["cost_usd"] == 0.024
    assert {row["cost_usd"] for row in (await ann.call("usage.show", by="tool"))["rows"]} == {0.012}
    for by in ("day", "session", "client"):
        assert sum(row["cost_usd"] for row in (await ann.call("usage.show", by=by))["rows"]) == 0.024, by


@refuses("usage.reprice", "bad_settings")
async def prices_that_cannot_be_read(world: World) -> str:
    ann = await with_requests(world)
    (ann.paths.data / "prices.toml").write_text("[[price]]\nmodel = 5\n")
    return await ann.refusal("usage.reprice")


async def spent_up(world: World) -> Machine:
    """A machine with a budget of a dollar a session."""
    ann = await with_requests(world)
    await ann.call("budget.set", amount=1.0, per="session")
    return ann


@works("budget.list")
async def budgets_are_listed(world: World) -> None:
    ann = await machine(world)
    assert await ann.call("budget.list") == {"budgets": [], "held": []}
    ann = await spent_up(world)
    (row,) = (await ann.call("budget.list"))["budgets"]
    assert (row["id"], row["per"], row["amount"], row["unit"]) == (1, "session", 1.0, "usd")


@works("budget.set")
async def a_budget_is_kept(world: World) -> None:
    ann = await machine(world)
    made = await ann.call("budget.set", amount=1_000, unit="tokens", per="session", only="talk-one")
    assert (made["amount"], made["only"]) == (1_000, "talk-one")
    assert await ann.refusal("budget.set", amount=1, only="2026-11-21") == "bad_request"


@refuses("budget.set", "too_many")
async def more_budgets_than_are_kept(world: World) -> str:
    ann = await machine(world)
    for _ in range(100):
        await ann.call("budget.set", amount=1)
    return await ann.refusal("budget.set", amount=1)


@works("budget.remove")
async def a_budget_goes(world: World) -> None:
    ann = await spent_up(world)
    await ann.call("budget.remove", id=1)
    assert (await ann.call("budget.list"))["budgets"] == []


@refuses("budget.remove", "not_found")
async def a_budget_that_is_not_there_is_removed(world: World) -> str:
    return await (await machine(world)).refusal("budget.remove", id=7)


@works("budget.allow")
async def more_is_allowed(world: World) -> None:
    ann = await machine(world)
    await ann.call("budget.set", amount=2)
    answer = await ann.call("budget.allow", id=1)
    assert (answer["more"], answer["unit"], len(answer["to"])) == (2.0, "usd", 1)
    await ann.call("budget.set", amount=0)
    assert await ann.refusal("budget.allow", id=2) == "bad_request", "its amount once again would be nothing"
    assert (await ann.call("budget.allow", id=2, more=1))["more"] == 1.0


@refuses("budget.allow", "not_found")
async def more_of_a_budget_that_is_not_there(world: World) -> str:
    return await (await machine(world)).refusal("budget.allow", id=7)
