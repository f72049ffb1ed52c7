"""Claude Code's private formats, against lines captured from version 2.1.329."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.claude.formats import (
    MAX_LINE_BYTES,
    MAX_REGISTRY_BYTES,
    HookContextSeen,
    PushPath,
    PushSeen,
    Support,
    ToolResultSeen,
    TurnSeen,
    inbox_line,
    is_claude_program,
    is_inbox_path,
    is_session_id,
    parse_line,
    parse_session,
)
from meshd.claude.marks import Mark, PushId, new_mark, new_push_id

CAPTURED = Path(__file__).parent / "captured"
PUSH_1 = "11111111-1111-4111-9111-111111111111"
PUSH_2 = "22222222-2222-4222-a222-222222222222"
PUSH_3 = "33333333-3333-4333-b333-333333333333"
PUSH_6 = "66666666-6666-4666-a666-666666666666"


def captured(name: str) -> list[bytes]:
    return (CAPTURED / name).read_bytes().splitlines()


def proofs(name: str) -> list[object]:
    return [item for line in captured(name) for item in parse_line(line)]


def entry() -> dict[str, object]:
    found: dict[str, object] = json.loads((CAPTURED / "session.json").read_bytes())
    return found


def test_a_registry_entry_of_the_real_binary_is_read() -> None:
    session = parse_session((CAPTURED / "session.json").read_bytes(), 4711)
    assert session is not None
    assert (session.pid, session.proc_start, session.version) == (4711, "198224", "2.1.329")
    assert session.socket_path == "/home/ann/tmp/cc-socks/4711.sock"
    assert (session.cwd, session.kind, session.entrypoint) == ("/home/ann/proj", "interactive", "sdk-cli")
    assert session.is_idle
    assert session.status_at_ms == 1795230126503
    assert session.support is Support.TRIED
    assert is_session_id(session.session_id)


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("pid", 4712),
        ("pid", True),
        ("pid", "4711"),
        ("sessionId", "../../etc/passwd"),
        ("sessionId", None),
        ("procStart", 198224),
        ("procStart", "1\n2"),
    ],
)
def test_an_entry_that_does_not_say_who_it_is_is_refused(change: str, value: object) -> None:
    assert parse_session(json.dumps({**entry(), change: value}).encode(), 4711) is None


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b"null", b"\xff\xfe", b"[" * 60000, b" " * (MAX_REGISTRY_BYTES + 1)]
)
def test_bytes_that_are_no_entry_are_refused(data: bytes) -> None:
    assert parse_session(data, 4711) is None


def test_an_entry_may_lack_what_is_not_needed_and_hold_what_is_not_known() -> None:
    bare = {key: entry()[key] for key in ("pid", "sessionId", "procStart")}
    session = parse_session(json.dumps({**bare, "new": {"deep": [1]}, "status": 7}).encode(), 4711)
    assert session is not None
    assert (session.socket_path, session.status, session.support) == (None, None, Support.UNKNOWN)
    assert not session.is_idle


def test_another_version_with_the_same_peer_protocol_is_told_from_an_unknown_one() -> None:
    same = parse_session(json.dumps({**entry(), "version": "9.0.0"}).encode(), 4711)
    other = parse_session(json.dumps({**entry(), "version": "9.0.0", "peerProtocol": 2}).encode(), 4711)
    assert same is not None
    assert other is not None
    assert (same.support, other.support) == (Support.SAME_PROTOCOL, Support.UNKNOWN)


@pytest.mark.parametrize(
    ("path", "fits"),
    [
        ("/tmp/cc-socks/7.sock", True),
        ("/home/ann/t/cc-socks/7.sock", True),
        ("/tmp/cc-socks-1000/7.sock", True),
        ("/tmp/cc-socks-1001/7.sock", False),
        ("/home/ann/cc-socks-1000/7.sock", False),
        ("/tmp/cc-socks/8.sock", False),
        ("/tmp/cc-socks/07.sock", False),
        ("/tmp/xcc-socks/7.sock", False),
        ("/tmp/cc-socks/../cc-socks/7.sock", False),
        ("cc-socks/7.sock", False),
        ("/run/user/1000/bus", False),
        ("/tmp/\0/cc-socks/7.sock", False),
    ],
)
def test_an_inbox_path_is_one_that_claude_would_use(path: str, fits: bool) -> None:
    assert is_inbox_path(path, 7, 1000) is fits


@pytest.mark.parametrize(
    ("exe", "fits"),
    [
        ("/usr/local/bin/claude", True),
        ("/home/ann/.local/share/claude/versions/2.1.329", True),
        ("/home/ann/.local/share/claude/versions/2.1.328 (deleted)", True),
        ("/nix/store/x-claude-code/bin/.claude-wrapped", True),
        ("/usr/bin/python3.11", False),
        ("/usr/bin/claude-not", False),
        ("/home/ann/claude/versions/old/run", False),
    ],
)
def test_a_program_is_claude_by_its_path(exe: str, fits: bool) -> None:
    assert is_claude_program(exe) is fits


def test_the_inbox_line_claims_no_right_and_offers_no_address_in_the_tag() -> None:
    line = inbox_line(PushId(PUSH_1), "alice/web", "first\nsecond")
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    value = json.loads(line)
    assert (value["msgV"], value["msg_id"], value["type"], value["priority"]) == (1, PUSH_1, "user", "next")
    assert value["from"] == "mesh:alice/web"
    assert value["message"] == {
        "role": "user",
        "content": '<cross-session-message from-name="alice/web" from-mode="prompting">\n'
        "first\nsecond\n</cross-session-message>",
    }


def test_a_headless_conversation_proves_an_idle_push_and_two_in_the_middle_of_a_turn() -> None:
    idle = PushSeen(PushPath.IDLE, (PUSH_1,), (new_mark(lambda n: b"\x11" * n),))
    second = PushSeen(PushPath.MID_TURN, (PUSH_2,), (new_mark(lambda n: b"\x22" * n),))
    third = PushSeen(PushPath.MID_TURN, (PUSH_3,), (new_mark(lambda n: b"\x33" * n),))
    found = proofs("headless.jsonl")
    assert [item for item in found if isinstance(item, PushSeen)] == [idle, second, third]
    assert found.index(TurnSeen()) == 1
    assert [item for item in found if isinstance(item, ToolResultSeen)] == [ToolResultSeen("toolu_3", whole=False)]


def test_an_interactive_conversation_proves_a_push_hook_context_and_tool_results() -> None:
    found = proofs("interactive.jsonl")
    mark = new_mark(lambda n: b"\x66" * n)
    assert [item for item in found if isinstance(item, PushSeen)] == [PushSeen(PushPath.IDLE, (PUSH_6,), (mark,))]
    hook = HookContextSeen((new_mark(lambda n: b"\x44" * n), new_mark(lambda n: b"\x55" * n)))
    assert [item for item in found if isinstance(item, HookContextSeen)] == [hook] * 4


def test_a_result_that_was_put_in_a_file_or_failed_was_not_read_whole() -> None:
    results = [item for item in proofs("interactive.jsonl") if isinstance(item, ToolResultSeen)]
    assert results == [
        ToolResultSeen("toolu_3", whole=True),
        ToolResultSeen("toolu_8", whole=False),  # replaced by the name of a file
        ToolResultSeen("toolu_14", whole=False),  # no such tool
    ]


def test_the_queue_and_what_a_hook_printed_prove_nothing() -> None:
    kinds = {"queue-operation", "system", "mode", "cost-state", "file-history-snapshot"}
    lines = [line for name in ("headless.jsonl", "interactive.jsonl") for line in captured(name)]
    silent = [line for line in lines if json.loads(line)["type"] in kinds]
    assert any(PUSH_2[:8].encode() in line for line in silent)  # the whole text is there
    assert [parse_line(line) for line in silent] == [()] * len(silent)
    printed = {"type": "attachment", "attachment": {"type": "hook_success", "stdout": f"[mesh m {'4' * 16}]"}}
    assert parse_line(json.dumps(printed).encode()) == ()


def test_waiting_pushes_of_one_sender_that_were_merged_are_each_found_by_their_marks() -> None:
    """A headless session joins them into one entry and keeps the push id of the first alone."""
    marks = (Mark("1" * 16), Mark("2" * 16), Mark("3" * 16))
    seen = PushSeen(PushPath.IDLE, (PUSH_1,), marks)
    assert proofs("merged.jsonl") == [seen]
    assert seen.proves(PushId(PUSH_2), marks[1])
    assert seen.proves(PushId(PUSH_1), Mark("f" * 16))
    assert not seen.proves(PushId(PUSH_2), Mark("f" * 16))


def test_members_of_a_merged_push_each_count() -> None:
    parts = [{"body": f"[mesh m {digit * 16}]", "msg_id": digit} for digit in "ab"]
    origin = {"kind": "peer", "msg_id": "first", "body": "joined", "members": [*parts, 3, None]}
    seen = parse_line(json.dumps({"type": "user", "origin": origin}).encode())
    assert seen == (PushSeen(PushPath.IDLE, ("first", "a", "b"), (Mark("a" * 16), Mark("b" * 16))),)


@pytest.mark.parametrize(
    "value",
    [
        {"type": "user", "message": {"content": f"[mesh m {'4' * 16}]"}},
        {"type": "user", "origin": {"kind": "human", "msg_id": PUSH_1, "body": f"[mesh m {'4' * 16}]"}},
        {"type": "user", "origin": {"kind": "peer", "body": f"said before\n[mesh m {'4' * 16}]"}},
        {"type": "attachment", "attachment": {"type": "queued_command", "prompt": f"[mesh m {'4' * 16}]"}},
        {"type": "attachment", "attachment": {"type": "hook_additional_context", "content": {"a": 1}}},
        {"type": "attachment", "attachment": None},
        {"type": "api-request", "querySource": "generate_session_title"},
        {"type": "assistant", "isSidechain": True},
        {"type": "user", "isSidechain": True, "origin": {"kind": "peer", "msg_id": PUSH_1}},
        {"type": "user", "message": {"content": [{"type": "tool_result", "tool_use_id": 3}, "x", None]}},
        ["user"],
        "user",
        None,
    ],
)
def test_a_mark_elsewhere_than_in_its_field_proves_nothing(value: object) -> None:
    assert parse_line(json.dumps(value).encode()) == ()


def test_a_line_above_the_limit_is_not_decoded() -> None:
    line = json.dumps({"type": "assistant", "pad": "x" * MAX_LINE_BYTES}).encode()
    assert parse_line(line) == ()


@given(st.binary(max_size=300))
def test_random_bytes_prove_nothing_and_raise_nothing(data: bytes) -> None:
    assert parse_line(data) == ()
    assert parse_session(data, 1) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from(["user", "attachment", "assistant", "api-request"]),
    st.dictionaries(st.sampled_from(["origin", "message", "attachment", "querySource", "isSidechain"]), json_values),
)
def test_any_shape_of_a_known_kind_is_survived(kind: str, rest: dict[str, object]) -> None:
    parse_line(json.dumps({"type": kind, **rest}).encode())


def test_a_push_id_is_a_random_uuid() -> None:
    assert new_push_id(lambda n: bytes(range(n))) == "00010203-0405-4607-8809-0a0b0c0d0e0f"
