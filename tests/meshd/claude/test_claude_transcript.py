"""Following a transcript: bounded, in pieces, over absence, rotation and truncation."""

import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.claude.formats import MAX_LINE_BYTES, PushPath, PushSeen, ToolResultSeen
from meshd.claude.transcript import MAX_AWAITING_TURN, SEARCH_AFTER_QUIET_READS, Feed, Follower, TurnStarted

HEADLESS = (Path(__file__).parent / "captured" / "headless.jsonl").read_bytes()
SESSION = "11111111-2222-4333-8444-555555555555"
ASSISTANT = b'{"type":"assistant"}\n'


def push(digit: str) -> bytes:
    return b'{"type":"user","origin":{"kind":"peer","msg_id":"%s"}}\n' % digit.encode()


def seen(digit: str) -> PushSeen:
    return PushSeen(PushPath.IDLE, (digit,), ())


def start(folder: Path, *, from_end: bool = False) -> Follower:
    return Follower(folder, SESSION, os.getuid(), from_end=from_end)


def transcript(folder: Path, project: str = "-home-ann") -> Path:
    path = folder / "projects" / project / f"{SESSION}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_a_real_conversation_gives_each_push_and_its_turn_in_order() -> None:
    found = Feed().feed(HEADLESS)
    pushes = [item for item in found if isinstance(item, PushSeen)]
    turns = [item for item in found if isinstance(item, TurnStarted)]
    assert [item.path for item in pushes] == [PushPath.IDLE, PushPath.MID_TURN, PushPath.MID_TURN]
    assert found[:2] == [pushes[0], TurnStarted((pushes[0],))]
    assert turns[1:] == [TurnStarted((ToolResultSeen("toolu_3", whole=False), *pushes[1:]))]


@given(st.lists(st.integers(min_value=0, max_value=len(HEADLESS)), max_size=6))
def test_however_the_bytes_arrive_the_observations_are_the_same(cuts: list[int]) -> None:
    feed = Feed()
    edges = [0, *sorted(cuts), len(HEADLESS)]
    pieces = [HEADLESS[a:b] for a, b in pairwise(edges)]
    assert [item for piece in pieces for item in feed.feed(piece)] == Feed().feed(HEADLESS)


def test_a_turn_is_started_once_for_what_stood_before_it() -> None:
    feed = Feed()
    assert feed.feed(ASSISTANT) == []
    assert feed.feed(push("1") + push("2") + ASSISTANT + ASSISTANT) == [
        seen("1"),
        seen("2"),
        TurnStarted((seen("1"), seen("2"))),
    ]


def test_a_line_above_the_limit_is_dropped_and_the_next_one_read() -> None:
    feed = Feed()
    for _ in range(5):
        assert feed.feed(b"x" * (MAX_LINE_BYTES // 2)) == []
    assert feed.feed(b"x\n" + push("1")) == [seen("1")]
    assert feed.dropped_lines == 1


def test_a_line_of_exactly_the_limit_is_read() -> None:
    line = push("1")[:-1].ljust(MAX_LINE_BYTES)
    feed = Feed()
    assert feed.feed(line + b"\n") == [seen("1")]
    assert feed.feed(line + b" \n") == []
    assert feed.dropped_lines == 1


def test_evidence_that_waits_for_a_turn_is_bounded() -> None:
    feed = Feed()
    feed.feed(push("1") * (MAX_AWAITING_TURN + 50))
    (turn,) = feed.feed(ASSISTANT)
    assert isinstance(turn, TurnStarted)
    assert len(turn.after) == MAX_AWAITING_TURN


def test_a_transcript_that_is_not_there_yet_is_found_later(tmp_path: Path) -> None:
    follower = start(tmp_path)
    assert follower.read() == ([], False)
    append(transcript(tmp_path), push("1"))
    assert follower.read() == ([seen("1")], False)
    assert follower.read() == ([], False)


def test_a_half_written_line_waits_for_its_end(tmp_path: Path) -> None:
    follower, path = start(tmp_path), transcript(tmp_path)
    append(path, push("1")[:20])
    assert follower.read() == ([], False)
    append(path, push("1")[20:])
    assert follower.read() == ([seen("1")], False)


def test_what_stood_there_before_is_passed_over_if_asked(tmp_path: Path) -> None:
    path = transcript(tmp_path)
    append(path, push("1"))
    follower = start(tmp_path, from_end=True)
    append(path, push("2"))
    assert follower.read() == ([seen("2")], False)


def test_a_replaced_or_shortened_file_is_read_from_its_start(tmp_path: Path) -> None:
    follower, path = start(tmp_path), transcript(tmp_path)
    append(path, push("1") + push("1")[:10])
    assert follower.read() == ([seen("1")], False)
    path.rename(path.with_suffix(".old"))
    assert follower.read() == ([], False)
    append(path, push("2"))
    assert follower.read() == ([seen("2")], False)
    path.write_bytes(b"\n")
    append(path, push("3")[:-10])
    assert follower.read() == ([], False)
    append(path, push("3")[-10:])
    assert follower.read() == ([seen("3")], False)


def test_a_longer_file_in_the_place_of_the_old_one_is_another_file(tmp_path: Path) -> None:
    follower, path = start(tmp_path), transcript(tmp_path)
    append(path, push("1")[:10])
    assert follower.read() == ([], False)
    path.rename(path.with_suffix(".old"))
    append(path, b"\n" + push("2"))
    assert follower.read() == ([seen("2")], False)


def test_a_transcript_that_moves_to_another_project_is_found_after_some_quiet_reads(tmp_path: Path) -> None:
    follower = start(tmp_path)
    append(transcript(tmp_path), push("1"))
    assert follower.read() == ([seen("1")], False)
    append(transcript(tmp_path, "-home-ann-tree"), push("2"))
    found = [item for _ in range(SEARCH_AFTER_QUIET_READS + 1) for item in follower.read()[0]]
    assert found == [seen("2")]


def test_one_call_reads_no_more_than_its_limit(tmp_path: Path) -> None:
    follower, path = start(tmp_path), transcript(tmp_path)
    append(path, push("1") * 3)
    size = len(push("1"))
    assert follower.read(size + 5) == ([seen("1")], True)
    assert follower.read(size) == ([seen("1")], True)
    assert follower.read() == ([seen("1")], False)


def test_links_and_other_users_files_are_not_followed(tmp_path: Path) -> None:
    path = transcript(tmp_path)
    append(path.with_name("other.jsonl"), push("1"))
    path.symlink_to(path.with_name("other.jsonl"))
    assert start(tmp_path).read() == ([], False)
    path.unlink()
    append(path, push("1"))
    assert Follower(tmp_path, SESSION, os.getuid() + 1, from_end=False).read() == ([], False)


@pytest.mark.parametrize("bad", ["", "../x", "*", SESSION.upper() + "A", SESSION + "/.."])
def test_a_session_id_that_is_none_names_no_file(bad: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a session id"):
        Follower(tmp_path, bad, 0, from_end=False)
