"""The accounts of sessions that did not use the proxy, from Claude Code's transcripts."""

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh_protocol.io.sqlite import InlineWorker
from meshd.services.proxy import transcripts
from meshd.services.proxy.imports import compare_days
from meshd.services.proxy.prices import Prices
from meshd.services.proxy.store import add_entries
from meshd.services.proxy.transcripts import read_transcripts
from proxy_kit.record import PLAIN, START_MS
from proxy_kit.stage import SEAMS, open_service, until

NOW = 1_800_000_000_000
PRICES = Prices()


def line(message_id: str, block: object = None, *, second: int = 0, output: int = 5, **more: object) -> str:
    """One line of a transcript, as Claude Code 2.1.329 writes it."""
    usage = {
        "input_tokens": 10,
        "cache_creation_input_tokens": 3,
        "cache_read_input_tokens": 4,
        "output_tokens": output,
        "cache_creation": {"ephemeral_1h_input_tokens": 1, "ephemeral_5m_input_tokens": 2},
    }
    message = {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-5-5",
        "stop_reason": "end_turn",
        "content": [block or {"type": "text", "text": "hello"}],
        "usage": usage,
    }
    told = {
        "type": "assistant",
        "sessionId": "session-1",
        "requestId": f"req_{message_id}",
        "timestamp": f"2025-11-20T10:00:{second:02d}.250Z",
        "version": "2.1.329",
        "message": message,
        **more,
    }
    return json.dumps(told) + "\n"


def write(config: Path, text: str, name: str = "session-1") -> Path:
    path = config / "projects" / "-home-x" / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(text)
    return path


def read(config: Path, places: dict[str, int] | None = None, now: int = NOW):
    return [*read_transcripts(config, places or {}, PRICES, now)]


def test_the_lines_of_one_message_are_one(tmp_path: Path) -> None:
    tool = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {}}
    write(tmp_path, line("a") + line("a", tool, second=1) + '{"type":"user"}\n' + line("b", second=2))
    (piece,) = read(tmp_path)
    first, second = piece.entries
    assert (first.message_id, first.tools, first.request_id) == ("a", ["Bash"], "req_a")
    assert (first.tokens.input, first.tokens.cache_write_5m, first.tokens.cache_write_1h) == (10, 2, 1)
    assert (first.session, first.source, first.client) == ("session-1", "transcript", "claude-cli/2.1.329")
    assert first.cost == PRICES.cost("claude-opus-5-5", "2025-11-20", first.tokens, "") is None, "its price is of 2026"
    assert second.started_ms == 1_763_632_802_250
    assert read(tmp_path, {piece.path: piece.read}) == []


def test_sub_agents_have_transcripts_of_their_own(tmp_path: Path) -> None:
    write(tmp_path, line("a"))
    write(tmp_path, line("b", agentId="a1"), "session-1/subagents/agent-a1")
    assert [entry.agent for piece in read(tmp_path) for entry in piece.entries] == ["a1", ""]


def test_what_is_not_whole_yet_is_left_for_the_next_time(tmp_path: Path) -> None:
    path = write(tmp_path, line("a") + line("b", second=30)[:-20])
    (piece,) = read(tmp_path)
    assert [entry.message_id for entry in piece.entries] == ["a"]
    with path.open("a") as file:
        file.write(line("b", second=30)[-20:])
    young = 1_763_632_830_250 + 5_000
    assert read(tmp_path, {piece.path: piece.read}, young) == []
    (rest,) = read(tmp_path, {piece.path: piece.read}, young + 10_000)
    assert [entry.message_id for entry in rest.entries] == ["b"]


def test_a_message_of_which_one_line_is_young_is_left_whole_for_the_next_time(tmp_path: Path) -> None:
    """Claude Code writes all lines of a message at its end, each with the time at which its block ended."""
    tool = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {}}
    path = write(tmp_path, line("z") + line("a", second=1) + line("a", tool, second=9))
    young = 1_763_632_809_250 + 5_000
    (piece,) = read(tmp_path, now=young)
    assert [entry.message_id for entry in piece.entries] == ["z"]
    assert piece.read == len(line("z"))
    (rest,) = read(tmp_path, {piece.path: piece.read}, young + 6_000)
    assert [(entry.message_id, entry.tools) for entry in rest.entries] == [("a", ["Bash"])]
    assert rest.read == path.stat().st_size


@pytest.mark.parametrize(
    "text",
    [
        "no json\n",
        '["assistant"]\n',
        '{"type":"assistant"}\n',
        '{"type":"assistant","message":"x"}\n',
        '{"type":"assistant","timestamp":"soon","message":{"id":"x","usage":{}}}\n',
        '{"type":"assistant","timestamp":7,"message":{"id":"x","usage":{}}}\n',
        '{"type":"assistant","timestamp":"2025-11-20T10:00:00Z","message":{"id":"","usage":{}}}\n',
        '{"type":"assistant","timestamp":"2025-11-20T10:00:00Z","message":{"id":"x","model":"<synthetic>","usage":{}}}\n',
        '{"assistant":' + "[" * 100_000 + "\n",
        "\x00\n",
    ],
)
def test_a_line_that_is_no_answer_is_passed_over(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    (piece,) = read(tmp_path)
    assert (piece.entries, piece.read) == ([], path.stat().st_size)


def test_links_are_not_followed(tmp_path: Path) -> None:
    elsewhere = write(tmp_path / "other", line("a"))
    folder = tmp_path / "config" / "projects" / "p"
    folder.mkdir(parents=True)
    (folder / "x.jsonl").symlink_to(elsewhere)
    assert read(tmp_path / "config") == []


@given(st.lists(st.integers(0, 6), max_size=30), st.integers(1, 4), st.lists(st.integers(0, 20_000), max_size=4))
@settings(max_examples=60, deadline=None)
def test_however_a_transcript_is_read_each_message_is_found(ids: list[int], batch: int, cuts: list[int]) -> None:
    """Messages of several lines, batches of any size, a file that grows between two readings."""
    import tempfile

    order = [f"m{number}" for number in dict.fromkeys(ids)]
    text = "".join(line(name, second=place) * (1 + place % 3) for place, name in enumerate(order)).encode()
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(transcripts, "BATCH", batch)
        config = Path(name)
        path = write(config, "")
        places: dict[str, int] = {}
        found: list[str] = []
        for end in [*sorted({cut % (len(text) + 1) for cut in cuts}), len(text)]:
            path.write_bytes(text[:end])
            for piece in read(config, places):
                places[piece.path] = piece.read
                found += [entry.message_id for entry in piece.entries]
        assert [*dict.fromkeys(found)] == order
        assert places.get(str(path), 0) == len(text)


LATER_MS = START_MS + 7 * 86_400_000
"""A week after what the transcripts tell: none of it is old enough to be forgotten."""


async def test_a_message_that_went_through_the_proxy_is_not_counted_again(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    config = tmp_path / "claude"
    write(config, line("a") + line("b", second=1, output=7))
    async with open_service(tmp_path, replace(SEAMS, clock=lambda: LATER_MS)) as service:
        through = msgspec.structs.replace(PLAIN, message_id="a", day="2025-11-20")
        await service.db.write(lambda tx: add_entries(tx, [(1, through)]))
        _, taken = await service.follower.read(config)
        assert (taken.messages, taken.added) == (2, 1)
        (day,) = compare_days(service.db.reader, "")
        assert (day.both, day.only_proxy, day.only_transcripts) == (1, 0, 1)
        assert (day.proxy_tokens, day.transcript_tokens, day.difference) == (15, 22, -7)
        assert service.db.reader.execute("SELECT count(*), sum(output) FROM request").fetchall() == [(2, 12)]


async def run_inline(work):
    await trio.lowlevel.checkpoint()
    return work()


INLINE = replace(SEAMS, clock=lambda: LATER_MS, threads=run_inline, worker=lambda name: InlineWorker())
"""For virtual time: no thread that it would not wait for."""


async def test_transcripts_are_followed_also_by_the_next_daemon(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    tmp_path.chmod(0o700)
    config = tmp_path / "claude"
    path = write(config, line("a"))
    async with open_service(tmp_path, INLINE) as service:
        await service.follower.follow(str(config))
        assert (await service.follower.read(config))[1].added == 1
    with path.open("a") as file:
        file.write(line("b", second=1))
    async with open_service(tmp_path, INLINE) as service:
        await until(lambda: service.db.reader.execute("SELECT count(*) FROM request").get == 2, "the second message")
        with path.open("a") as file:
            file.write(line("c", second=2))
        await until(lambda: service.db.reader.execute("SELECT count(*) FROM request").get == 3, "the third message")
        await service.follower.follow("")
    async with open_service(tmp_path, INLINE) as service:
        assert service.follower.config == ""
