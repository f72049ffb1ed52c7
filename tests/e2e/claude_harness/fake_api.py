"""A scripted Messages API on loopback: rules answer requests, every request is kept.

It speaks as much of the API as Claude Code needs: `POST /v1/messages` as server-sent events or JSON,
`count_tokens`, and 404 for the rest. A first path segment that is not `v1` names the agent, so that one server
can tell several sessions apart: base URL `http://127.0.0.1:PORT/alice`.
"""

import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

import h11
import trio

from .waiting import alongside

Json: TypeAlias = "Mapping[str, Json] | Sequence[Json] | str | int | float | bool | None"

MAX_BODY = 32 << 20
USAGE: Mapping[str, Json] = {"input_tokens": 10, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}


@dataclass(frozen=True, slots=True)
class Text:
    """A text block of the model's answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A tool call of the model's answer."""

    name: str
    input: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Failure:
    """No answer of the model: the API refuses the request. `kind` is the API's word, `invalid_request_error`."""

    status: int
    kind: str
    message: str


Content: TypeAlias = Text | ToolUse
Block: TypeAlias = Content | Failure


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came; `agent` is the first path segment before `/v1`, or empty."""

    agent: str
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Json]
    at: float

    @property
    def is_turn(self) -> bool:
        """Whether this is a model turn of the main loop: those carry tools, title and summary requests do not."""
        return self.path == "/v1/messages" and bool(self.body.get("tools"))

    @property
    def news(self) -> str:
        """All text after the last assistant message: what the model is to react to, tool results included."""
        fresh: list[str] = []
        for message in reversed(_items(self.body.get("messages"))):
            if not isinstance(message, Mapping) or message.get("role") == "assistant":
                break
            fresh.insert(0, _text_of(message.get("content")))
        return "\n".join(fresh)


@dataclass(slots=True)
class Rule:
    """Answers the turns it matches. With a `gate` the answer waits for it; with `times` it answers so often only."""

    matches: Callable[[Request], bool]
    answer: Callable[[Request], Sequence[Block]]
    times: int | None = None
    gate: trio.Event | None = None
    used: int = 0


@dataclass(slots=True)
class FakeApi:
    """The rules, first match answers, and the log of all requests."""

    port: int
    rules: list[Rule] = field(default_factory=list)
    log: list[Request] = field(default_factory=list)
    otherwise: str = "nothing to add"

    def base_url(self, agent: str = "") -> str:
        """What ANTHROPIC_BASE_URL should be for one agent."""
        return f"http://127.0.0.1:{self.port}" + (f"/{agent}" if agent else "")

    def on(
        self,
        text: str,
        *blocks: Block,
        agent: str | None = None,
        times: int | None = None,
        gate: trio.Event | None = None,
    ) -> Rule:
        """Answer turns whose news contain `text` (of one agent only, if named) with `blocks`."""
        return self.rule(lambda request: text in request.news, lambda request: blocks, agent, times, gate)

    def rule(
        self,
        matches: Callable[[Request], bool],
        answer: Callable[[Request], Sequence[Block]],
        agent: str | None = None,
        times: int | None = None,
        gate: trio.Event | None = None,
    ) -> Rule:
        """Answer turns for which `matches` holds with what `answer` makes of the request."""
        made = Rule(lambda request: agent in (None, request.agent) and matches(request), answer, times, gate)
        self.rules.append(made)
        return made

    def turns(self, agent: str | None = None) -> list[Request]:
        """The model turns so far, in order of arrival."""
        return [request for request in self.log if request.is_turn and agent in (None, request.agent)]

    async def decide(self, request: Request) -> Sequence[Block]:
        """The blocks that answer this request."""
        if request.is_turn:
            for rule in self.rules:
                if (rule.times is None or rule.used < rule.times) and rule.matches(request):
                    rule.used += 1
                    if rule.gate is not None:
                        await rule.gate.wait()
                    return rule.answer(request)
        return (Text(self.otherwise),)


@asynccontextmanager
async def serve(listener: socket.socket) -> AsyncIterator[FakeApi]:
    """Serve a FakeApi on a listening socket (of whatever network namespace) while the block runs."""
    listener.setblocking(False)
    api = FakeApi(port=listener.getsockname()[1])
    accepting = trio.SocketListener(trio.socket.from_stdlib_socket(listener.dup()))
    async with accepting, alongside(partial(_accept, accepting, api)):
        yield api


async def _accept(listener: trio.SocketListener, api: FakeApi) -> None:
    async def one(stream: trio.SocketStream) -> None:
        try:
            async with stream:
                await _Connection(stream, api).run()
        except (trio.BrokenResourceError, h11.RemoteProtocolError):
            pass  # the client went away: nothing to answer

    await trio.serve_listeners(one, [listener])


class _Connection:
    """One HTTP/1.1 connection, kept alive as long as the client likes."""

    def __init__(self, stream: trio.SocketStream, api: FakeApi) -> None:
        self._stream = stream
        self._api = api
        self._http = h11.Connection(h11.SERVER)
        self._serial = 0

    async def run(self) -> None:
        while True:
            event = await self._next_event()
            if not isinstance(event, h11.Request):
                return
            await self._answer(event, await self._read_body())
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _next_event(self) -> object:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            self._http.receive_data(await self._stream.receive_some(65536))

    async def _read_body(self) -> bytes:
        body = bytearray()
        while isinstance(event := await self._next_event(), h11.Data):
            body += event.data
            assert len(body) <= MAX_BODY
        return bytes(body)

    async def _answer(self, head: h11.Request, raw: bytes) -> None:
        target = head.target.decode("latin1").partition("?")[0]
        agent, slash, rest = target.removeprefix("/").partition("/v1/")
        body = json.loads(raw) if raw else {}
        headers = {name.decode("latin1"): value.decode("latin1") for name, value in head.headers}
        request = Request(agent, f"/v1/{rest}" if slash else target, headers, body, trio.current_time())
        self._api.log.append(request)
        if request.path == "/v1/messages/count_tokens":
            await self._send_json(200, {"input_tokens": 1234})
        elif request.path == "/v1/messages" and head.method == b"POST":
            blocks = await self._api.decide(request)
            failed = next((block for block in blocks if isinstance(block, Failure)), None)
            if failed is not None:
                error = {"type": failed.kind, "message": failed.message}
                await self._send_json(failed.status, {"type": "error", "error": error})
            else:
                await self._send_message(request, [block for block in blocks if not isinstance(block, Failure)])
        else:
            error = {"type": "not_found_error", "message": f"nothing at {target}"}
            await self._send_json(404, {"type": "error", "error": error}, empty=head.method == b"HEAD")

    async def _send_json(self, status: int, value: Json, *, empty: bool = False) -> None:
        data = b"" if empty else json.dumps(value).encode()
        await self._send_head(status, b"application/json", [(b"content-length", b"%d" % len(data))])
        if data:
            await self._send(h11.Data(data=data))
        await self._send(h11.EndOfMessage())

    async def _send_head(self, status: int, kind: bytes, more: list[tuple[bytes, bytes]]) -> None:
        headers = [(b"content-type", kind), (b"request-id", self._name("req").encode()), *more]
        await self._send(h11.Response(status_code=status, headers=headers))

    async def _send(self, event: h11.Response | h11.Data | h11.EndOfMessage) -> None:
        data = self._http.send(event)
        if data:
            await self._stream.send_all(data)

    def _name(self, kind: str) -> str:
        self._serial += 1
        return f"{kind}_{id(self):x}_{self._serial}"

    async def _send_message(self, request: Request, blocks: Sequence[Content]) -> None:
        content: list[Mapping[str, Json]] = []
        for block in blocks:
            if isinstance(block, Text):
                content.append({"type": "text", "text": block.text})
            else:
                content.append(
                    {"type": "tool_use", "id": self._name("toolu"), "name": block.name, "input": block.input}
                )
        stop = "tool_use" if any(isinstance(block, ToolUse) for block in blocks) else "end_turn"
        message: dict[str, Json] = {
            "id": self._name("msg"),
            "type": "message",
            "role": "assistant",
            "model": request.body.get("model"),
            "content": content,
            "stop_reason": stop,
            "stop_sequence": None,
            "usage": {**USAGE, "output_tokens": 5},
        }
        if not request.body.get("stream"):
            await self._send_json(200, message)
            return
        await self._send_head(200, b"text/event-stream", [(b"cache-control", b"no-cache")])
        for event in _stream_events(message, content, stop):
            data = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
            await self._send(h11.Data(data=data))
        await self._send(h11.EndOfMessage())


def _stream_events(
    message: Mapping[str, Json], content: Sequence[Mapping[str, Json]], stop: str
) -> list[Mapping[str, Json]]:
    """The event stream of one message: start, each block in one delta, stop."""
    start: Json = {**message, "content": [], "stop_reason": None, "usage": {**USAGE, "output_tokens": 1}}
    events: list[Mapping[str, Json]] = [{"type": "message_start", "message": start}]
    for index, block in enumerate(content):
        empty: Mapping[str, Json]
        delta: Mapping[str, Json]
        if block["type"] == "text":
            empty, delta = {**block, "text": ""}, {"type": "text_delta", "text": block["text"]}
        else:
            empty = {**block, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        events.append({"type": "content_block_delta", "index": index, "delta": delta})
        events.append({"type": "content_block_stop", "index": index})
    ending: Json = {"stop_reason": stop, "stop_sequence": None}
    events.append({"type": "message_delta", "delta": ending, "usage": {"output_tokens": 5}})
    events.append({"type": "message_stop"})
    return events


def _items(value: Json) -> Sequence[Json]:
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


def _text_of(content: Json) -> str:
    """The text in a message's content: a string, or text and tool_result blocks, nested ones too."""
    if isinstance(content, str):
        return content
    found = []
    for block in _items(content):
        if isinstance(block, Mapping):
            text = block.get("text")
            found.append(text if isinstance(text, str) else _text_of(block.get("content")))
    return "\n".join(part for part in found if part)
