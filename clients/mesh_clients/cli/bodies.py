"""What the requests of a conversation and their answers said: fetched piece by piece, and shown as a talk."""

import json
import re

from mesh_clients.cli.invocation import Invocation
from mesh_clients.render import clean_text, say, word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mesh_protocol.wire.codec import JsonValue

REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>\s*", re.DOTALL)
"""What Claude Code puts before a person's words."""
PARTS = ("request", "answer")
MAX_LINES = 40
"""Lines of one text that are shown to a person; --json has all of them."""


MAX_LINE = 2_000
"""Characters of one line, for the same."""


def fetch_bodies(called: Invocation, turns: "Sequence[dict[str, JsonValue]]") -> None:
    """Give each turn its `request` and `answer`, empty where nothing is stored."""
    for turn in turns:
        for part in PARTS:
            turn[part] = _fetch(called, turn.get("row"), part) if turn.get("stored_bytes") else ""


def _fetch(called: Invocation, row: "JsonValue", part: str) -> str:
    pieces = []
    offset: JsonValue = 0
    while True:
        answer = called.call({"row": row, "part": part, "offset": offset}, method="usage.body", texts="text")
        text = answer.get("text")
        pieces.append(text if isinstance(text, str) else "")
        offset = answer.get("next_offset")
        if not offset:
            return "".join(pieces)


def print_bodies(turn: "dict[str, JsonValue]") -> None:
    """The request's newest message, and the answer's texts and tools."""
    request, answer = (str(turn.get(part, "")) for part in PARTS)
    if not request and not answer:
        say("       (what was said is not stored)")
        return
    for mark, texts in ((">", newest_texts(request)), ("<", answer_texts(answer))):
        lines = [line for text in texts for line in clean_text(REMINDER.sub("", text)).splitlines()]
        for line in lines[:MAX_LINES]:
            say(f"       {mark} {line if len(line) <= MAX_LINE else line[:MAX_LINE] + '…'}")
        if len(lines) > MAX_LINES:
            say(f"       {mark} … {len(lines) - MAX_LINES} more lines: --json has them")


def newest_texts(request: str) -> "list[str]":
    """What the user's last message in a request says; the request itself where it is not understood."""
    document = _decode(request)
    messages = document.get("messages") if isinstance(document, dict) else None
    for message in reversed(messages if isinstance(messages, list) else []):
        if (
            isinstance(message, dict) and message.get("role") == "user"
        ):  # Claude Code puts messages of the system behind
            return list(block_texts(message.get("content")))
    return [request]


def answer_texts(answer: str) -> "list[str]":
    """The texts and tools of an answer, streamed or in one piece."""
    document = _decode(answer)
    if isinstance(document, dict):
        return list(block_texts(document.get("content"))) or [answer]
    blocks: dict[object, str] = {}
    for line in answer.splitlines():
        event = _decode(line[5:]) if line.startswith("data:") else None
        if not isinstance(event, dict):
            continue
        index = str(event.get("index"))
        if event.get("type") == "content_block_start" and isinstance(block := event.get("content_block"), dict):
            blocks[index] = f"[{word(block, 'name')}] " if block.get("type") == "tool_use" else ""
        elif event.get("type") == "content_block_delta" and isinstance(delta := event.get("delta"), dict):
            blocks[index] = blocks.get(index, "") + str(delta.get("text") or delta.get("partial_json") or "")
    return [text for text in blocks.values() if text] or [answer]


def block_texts(content: "JsonValue") -> "Iterator[str]":
    """The texts of a message's content, and its tools with what they were given and gave."""
    if isinstance(content, str):
        yield content
    for block in content if isinstance(content, list) else []:
        if not isinstance(block, dict):
            continue
        if block.get("type") == "text":
            yield str(block.get("text"))
        elif block.get("type") == "tool_use":
            yield f"[{word(block, 'name')}] {json.dumps(block.get('input'), ensure_ascii=False)}"
        elif block.get("type") == "tool_result":
            yield "[result] " + "\n".join(block_texts(block.get("content")))


def _decode(text: str) -> "JsonValue":
    try:
        found: JsonValue = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found
