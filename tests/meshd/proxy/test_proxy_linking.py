"""Which request follows which, and what is one conversation."""

import random
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshd.services.proxy.asked import hash_message
from proxy_kit.record import START_MS, Record, assistant, open_record, user

MARK = b"m" * 16


def raw(message: object) -> bytes:
    return msgspec.json.encode(message)


# One message.

SAME = [
    {"role": "user", "content": "hi"},
    {"role": "user", "content": [{"type": "text", "text": "hi"}]},
    {"content": [{"text": "hi", "type": "text", "cache_control": {"type": "ephemeral"}}], "role": "user"},
    {"role": "user", "content": "<system-reminder>\nthe day\n</system-reminder>\nhi"},
    {
        "role": "user",
        "content": [{"type": "text", "text": "<system-reminder>x</system-reminder>"}, {"type": "text", "text": "hi"}],
    },
]


def test_a_message_is_what_it_means() -> None:
    assert len({hash_message(raw(message)) for message in SAME}) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"role": "assistant", "content": "hi"},
        {"role": "user", "content": "hi "[:1]},
        {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "text", "text": "hi"}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "hi"}]},
    ],
)
def test_another_message_is_another(other: object) -> None:
    assert hash_message(raw(other)) != hash_message(raw(SAME[0]))


def test_a_tool_result_is_the_same_as_text_and_as_blocks_and_counts_once() -> None:
    one = {"type": "tool_result", "tool_use_id": "t", "content": "x"}
    other = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "x"}]}
    assert hash_message(raw({"role": "user", "content": [one]})) == hash_message(
        raw({"role": "user", "content": [other, one]})
    )


@pytest.mark.parametrize(
    "message",
    [
        {"role": "system", "content": "x"},
        {"role": "user", "content": "<system-reminder>x</system-reminder>"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "x", "signature": "y"}]},
        {"role": "user", "content": []},
        {"role": "user"},
        [1],
        "x",
        None,
    ],
)
def test_what_has_no_meaning_of_its_own_has_no_hash(message: object) -> None:
    assert hash_message(raw(message)) == b""
    assert hash_message(b"{" * 100_000) == b""


# Requests of one conversation.


def test_a_history_that_goes_on_follows_the_request_before_it() -> None:
    with open_record() as record:
        first = record.add([user("hi")])
        second = record.add([user("hi"), assistant("hello"), user("more")])
        assert second["parent"] == first["row"]
        assert second["conversation"] == first["conversation"] != ""
        assert (first["branch"], second["branch"]) == ("main", "main")
        assert second["linked"] == "content", "without a name in the request it is a guess"


def test_two_that_begin_alike_are_two_conversations() -> None:
    with open_record() as record:
        assert record.add([user("hi")])["conversation"] != record.add([user("hi")])["conversation"]


def test_a_failed_request_that_is_sent_again_stays_where_it_was() -> None:
    with open_record() as record:
        first = record.add([user("hi")], session="s", source="header")
        history = [user("hi"), assistant("hello"), user("more")]
        failed = record.add(history, session="s", source="header", status=529)
        again = record.add(history, session="s", source="header")
        assert (failed["parent"], again["parent"]) == (first["row"], first["row"])
        assert {failed["branch"], again["branch"]} == {"main"}
        assert record.row(int(str(first["row"])))["children"] == 1
        assert again["linked"] == "header"


def test_a_second_answer_to_one_history_is_a_branch() -> None:
    with open_record() as record:
        first = record.add([user("hi")], session="s")
        record.add([user("hi"), assistant("hello"), user("more")], session="s")
        other = record.add([user("hi"), assistant("hello"), user("other")], session="s")
        after = record.add([user("hi"), assistant("hello"), user("other"), assistant("x"), user("y")], session="s")
        assert other["parent"] == first["row"]
        assert str(other["branch"]).startswith("branch_")
        assert (after["parent"], after["branch"]) == (other["row"], other["branch"])


def test_branches_that_begin_in_the_same_second_have_names_of_their_own() -> None:
    with open_record() as record:
        rows = [record.add([user(f"hi {number}")], session="s", started_ms=START_MS) for number in range(5)]
        names = [str(row["branch"]) for row in rows]
        assert names[0] == "main"
        assert names[2:] == [f"{names[1]}_{number}" for number in (2, 3, 4)]


def test_what_goes_on_after_a_compaction_is_a_branch_that_comes_from_the_summary() -> None:
    with open_record() as record:
        first = record.add([user("hi")], session="s")
        summary = record.add([user("hi"), assistant("hello"), user("summarise")], session="s", kind="summary")
        after = record.add([user("This session is being continued")], session="s", continued=True)
        assert summary["parent"] == first["row"]
        assert str(after["branch"]).startswith("compact_")
        assert after["parent"] == summary["row"]


def test_counting_and_side_questions_leave_the_conversation_as_it_was() -> None:
    with open_record() as record:
        first = record.add([user("hi")], session="s")
        counted = record.add([user("hi"), assistant("hello"), user("more")], session="s", kind="count")
        second = record.add([user("hi"), assistant("hello"), user("more")], session="s")
        assert (counted["conversation"], counted["parent"]) == ("s", first["row"])
        assert (second["branch"], second["parent"]) == ("main", first["row"])


def test_agents_of_a_session_have_histories_of_their_own() -> None:
    with open_record() as record:
        record.add([user("hi")], session="s")
        task = record.add([user("look")], session="s", agent="a-1")
        assert (task["conversation"], task["branch"], task["parent"]) == ("s", "main", None)


def test_a_sub_task_that_names_nothing_is_known_by_its_prompt_for_thirty_seconds() -> None:
    with open_record() as record:
        first = record.add([user("hi")], started=[MARK])
        task = record.add([user("look")], prompt=MARK, started_ms=START_MS + 30_000)
        assert (task["conversation"], task["source"]) == (first["conversation"], "content")
        assert str(task["agent"]).startswith("task-")
        later = record.add([user("look"), assistant("x"), user("y")], prompt=MARK, started_ms=START_MS + 400_000)
        assert (later["parent"], later["agent"]) == (task["row"], task["agent"])
        late = record.add([user("look")], prompt=MARK, started_ms=START_MS + 500_000)
        assert late["conversation"] != first["conversation"]


# Any interleaving of many conversations.


@dataclass
class Told:
    """One turn of the model: its history, the row it should follow, and whether anything follows it yet."""

    history: list[dict[str, object]]
    row: int
    branch: str
    children: int = 0


@dataclass
class Talk:
    """One conversation of the model."""

    name: str
    session: str
    turns: list[Told] = field(default_factory=list)
    conversation: str = ""


def dressed(message: dict[str, object], dice: random.Random) -> dict[str, object]:
    """The same message in another form."""
    content = message["content"]
    text = content if isinstance(content, str) else content[0]["text"]  # type: ignore[index]
    blocks: list[dict[str, object]] = [{"type": "text", "text": text}]
    if dice.random() < 0.3:
        blocks[0]["cache_control"] = {"type": "ephemeral"}
    if dice.random() < 0.3:
        blocks.insert(0, {"type": "text", "text": "<system-reminder>it is late</system-reminder>"})
    return {"role": message["role"], "content": text if dice.random() < 0.3 else blocks}


def step(record: Record, talk: Talk, number: int, dice: random.Random) -> None:
    """One more request of a conversation, and what the model says of it."""
    parent = dice.choice(talk.turns) if talk.turns and dice.random() < 0.25 else (talk.turns or [None])[-1]
    if parent is None:
        history = [user(f"{talk.name} begins")]
    else:
        history = [*parent.history, assistant(f"answer {number}"), user(f"{talk.name} asks {number}")]
    sent = [dressed(message, dice) for message in history]
    for _ in range(dice.randrange(3) if dice.random() < 0.2 else 0):
        record.add(sent, session=talk.session, status=529)
    row = record.add(sent, session=talk.session)
    assert row["parent"] == (parent.row if parent else None)
    talk.conversation = talk.conversation or str(row["conversation"])
    assert row["conversation"] == talk.conversation
    if parent is None:
        assert row["branch"] == "main"
    else:
        assert (row["branch"] == parent.branch) is (parent.children == 0)
        parent.children += 1
    talk.turns.append(Told(history, int(str(row["row"])), str(row["branch"])))


@given(st.integers(0, 2**32))
@settings(max_examples=12, deadline=None)
def test_any_interleaving_of_a_hundred_conversations_links_as_the_model_does(seed: int) -> None:
    dice = random.Random(seed)
    talks = [Talk(f"talk {number}", f"session-{number}" if number % 2 else "") for number in range(100)]
    with open_record() as record:
        for number in range(400):
            step(record, dice.choice(talks), number, dice)
        begun = [talk for talk in talks if talk.turns]
        assert len({talk.conversation for talk in begun}) == len(begun)
        counted = record.tx.execute("SELECT count(*), sum(requests) FROM conversation").fetchone()
        requests = record.tx.execute("SELECT count(*) FROM request").get
        assert counted == (len(begun), requests)
        for table in ("total", "day_total", "client_total"):
            assert record.tx.execute(f"SELECT sum(requests) FROM {table}").get == requests


@pytest.mark.parametrize("known", [1, 3, 5, 60, 68, 69, 130, 197])
def test_however_far_back_a_known_history_ends_it_is_found(known: int) -> None:
    """They are looked for many at once."""
    history = [each for number in range(100) for each in (user(f"q{number}"), assistant(f"a{number}"))]
    with open_record() as record:
        record.add(history[:1], session="s", source="header")
        first = record.add(history[:known], session="s", source="header")
        row = record.add(history[:199], session="s", source="header")
        assert row["parent"] == first["row"]
