"""What a scripted daemon answers to the commands."""

import json
from collections.abc import Callable

from client_kit.scripted import Talker
from mesh_protocol.wire.codec import JsonValue
from mesh_protocol.wire.items import take_texts
from mesh_protocol.wire.rpc import RequestReceived

ID = "ab12" * 8
ESCAPES = "\x1b[31m\u202e"


def result(value: JsonValue, texts: str = "") -> Callable[[Talker, RequestReceived], None]:
    def answer(talker: Talker, request: RequestReceived) -> None:
        built = json.loads(json.dumps(value))
        body = take_texts(built, texts) if texts else b""
        talker.answer(request, built, body)

    return answer


def recipient(state: str, **changed: object) -> dict:
    row = {
        "to": f"bob{ESCAPES}/web",
        "device": "3f2a",
        "state": state,
        "path": "mesh",
        "queued_ms": 1,
        "accepted_ms": 0,
        "stored_ms": 0,
        "shown_ms": 0,
        "turn_started_ms": 0,
        "session": "",
        "evidence": "",
        "reason": "",
    }
    return row | changed


def sent(state: str, reached: bool = True, **changed: object) -> dict:
    rows = [recipient(state, **changed)]
    return {"id": ID, "mesh": "team", "state": state, "reached": reached, "recipients": rows}


def row(text: str, **changed: object) -> dict:
    fields = {
        "id": ID,
        "mesh": "team",
        "sender": f"al{ESCAPES}",
        "origin": "human",
        "to": "bob",
        "priority": "next",
        "created_ms": 1_790_000_000_000,
        "stored_ms": 1_790_000_000_000,
        "reply_to": "",
        "message": text,
        "truncated": False,
        "unread": True,
    }
    return fields | changed
