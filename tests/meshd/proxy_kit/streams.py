"""Streams of the Messages API as a test says, and what must be made of them."""

import json
from collections.abc import Mapping, Sequence

from meshd.services.proxy.answers import AnswerAccount


def event(kind: str, **fields: object) -> bytes:
    """One server-sent event as the API writes it."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def message(
    usage: Mapping[str, object],
    deltas: Sequence[Mapping[str, object]] = (),
    *,
    texts: Sequence[str] = (),
    tools: Sequence[tuple[str, Mapping[str, object]]] = (),
    stop: str = "end_turn",
    ended: bool = True,
) -> bytes:
    """A whole stream: start, blocks, the deltas of usage, stop."""
    start = {"id": "msg_1", "type": "message", "model": "claude-opus-5-5", "content": [], "usage": dict(usage)}
    parts = [event("message_start", message=start), event("ping")]
    for index, text in enumerate(texts):
        parts.append(event("content_block_start", index=index, content_block={"type": "text", "text": ""}))
        parts.append(event("content_block_delta", index=index, delta={"type": "text_delta", "text": text}))
        parts.append(event("content_block_stop", index=index))
    for index, (name, given) in enumerate(tools, len(texts)):
        block = {"type": "tool_use", "id": f"toolu_{index}", "name": name, "input": {}}
        parts.append(event("content_block_start", index=index, content_block=block))
        whole = json.dumps(given)
        for piece in (whole[: len(whole) // 2], whole[len(whole) // 2 :]):
            delta = {"type": "input_json_delta", "partial_json": piece}
            parts.append(event("content_block_delta", index=index, delta=delta))
        parts.append(event("content_block_stop", index=index))
    for delta in deltas:
        parts.append(event("message_delta", delta={"stop_reason": stop}, usage=dict(delta)))
    if ended:
        parts.append(event("message_stop"))
    return b"".join(parts)


def account(pieces: Sequence[bytes], kind: str = "text/event-stream; charset=utf-8", coding: str = "") -> AnswerAccount:
    """What is known of an answer that came in these pieces."""
    made = AnswerAccount(kind, coding)
    for number, piece in enumerate(pieces):
        made.feed(piece, float(number))
    made.end()
    return made


def facts(made: AnswerAccount) -> tuple[object, ...]:
    """All that two accounts of the same answer must agree on."""
    return (
        made.usage.tokens(),
        made.message_id,
        made.model,
        made.stop_reason,
        made.error,
        tuple(made.tools),
        tuple(made.prompts),
        made.finished,
        made.unreadable,
        made.first_token >= 0,
    )


def split(data: bytes, places: Sequence[int]) -> list[bytes]:
    """`data` cut at these places."""
    cuts = sorted({place % (len(data) + 1) for place in places})
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
