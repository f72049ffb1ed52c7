"""What was said, as `mesh conversation ID --bodies` shows it to a person."""

import json

import pytest

from mesh_clients.cli.bodies import MAX_LINE, MAX_LINES, answer_texts, newest_texts, print_bodies


def request(*messages: dict[str, object]) -> str:
    return json.dumps({"model": "m", "messages": [*messages]})


def test_of_a_request_the_users_last_message_is_shown() -> None:
    system = {"role": "system", "content": "an environment"}
    first, last = ({"role": "user", "content": text} for text in ("first", "last"))
    assert newest_texts(request(first, {"role": "assistant", "content": "x"}, last, system)) == ["last"]


def test_tools_are_shown_with_what_they_were_given_and_gave() -> None:
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "42"}]}
    assert newest_texts(request({"role": "user", "content": [result]})) == ["[result] 42"]
    use = {"type": "tool_use", "name": "Bash", "input": {"command": "ls"}}
    assert answer_texts(json.dumps({"content": [use]})) == ['[Bash] {"command": "ls"}']


def test_a_streamed_answer_is_put_together() -> None:
    events = (
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "good "}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "morning"}},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "name": "Bash"}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"a":1}'}},
    )
    stream = "".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in events)
    assert answer_texts(stream) == ["good morning", '[Bash] {"a":1}']


@pytest.mark.parametrize(
    "text", ["", "no JSON", "[" * 5_000, "null", '{"messages": 5}', '{"messages": [5, null]}', "data: {"]
)
def test_what_is_not_understood_is_shown_as_it_is(text: str) -> None:
    assert newest_texts(text) == [text]
    assert answer_texts(text) == [text]


def test_a_person_sees_no_reminders_no_control_characters_and_no_endless_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = "<system-reminder>\nnot theirs\n</system-reminder>\nred \x1b[31m\n" + "x" * (MAX_LINE + 1) + "\ny" * 100
    print_bodies({"request": request({"role": "user", "content": said}), "answer": ""})
    out = capsys.readouterr().out
    assert "not theirs" not in out
    assert "\x1b" not in out
    assert f"{102 - MAX_LINES} more lines" in out
    assert max(map(len, out.splitlines())) < MAX_LINE + 20
