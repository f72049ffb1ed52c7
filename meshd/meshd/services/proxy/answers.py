"""What one answer says of itself, read from a copy while it passes: usage, stop reason, tools, errors.

Nothing here can fail the answer: what cannot be read makes it unaccounted.
"""

from typing import Final

import msgspec

from meshd.services.proxy.codings import Decoder, Unreadable, open_decoder
from meshd.services.proxy.sse import EventReader
from meshd.services.proxy.usage import Usage

MAX_JSON: Final = 8 * 1024 * 1024
"""Bytes of an answer in one piece that are kept to be read."""
MAX_TOOLS: Final = 64
MAX_PROMPT: Final = 256 * 1024
"""Bytes of the input of a tool that starts a sub-task, kept to know that sub-task by."""
TASK_TOOLS: Final = frozenset({"Task", "Agent"})
_READ: Final = frozenset({b"message_start", b"message_delta", b"message_stop", b"error", b"content_block_start"})


class AnswerAccount:
    """Fed with the body of one answer, piece by piece, as it came over the wire without its framing.

    `first_token` is when the first piece of content came, in the clock of `feed`'s `at`. `accounted`: what the answer
    used is known as far as it went; `finished`: the API said that it is the whole.
    """

    def __init__(self, kind: str, coding: str) -> None:
        self.usage = Usage()
        self.message_id = ""
        self.model = ""
        self.stop_reason = ""
        self.error = ""
        self.tools: list[str] = []
        self.prompts: list[str] = []
        """What sub-tasks were started with."""
        self.first_token = -1.0
        self.finished = False
        self.unreadable = ""
        self.input_tokens = -1
        """The answer of count_tokens; -1 for any other."""
        self.streamed = kind.partition(";")[0].strip().lower() == "text/event-stream"
        self._json = bytearray() if kind.partition(";")[0].strip().lower().endswith("json") else None
        self._events = EventReader(self._is_wanted)
        self._task: list[str] | None = None
        self._decoder: Decoder | None = None
        try:
            self._decoder = open_decoder(coding)
        except Unreadable as error:
            self.unreadable = str(error)

    def feed(self, body: bytes, at: float) -> None:
        """A piece of the body, received at `at` (seconds of any clock)."""
        if self._decoder is None or not (self.streamed or self._json is not None):
            return
        try:
            plain = self._decoder.feed(body)
        except Unreadable as error:
            self._give_up(str(error))
            return
        if self._json is not None:
            self._json += plain
            if len(self._json) > MAX_JSON:
                self._give_up("too large")
            return
        for name, data in self._events.feed(plain):
            if self.first_token < 0 and name in (b"content_block_start", b"content_block_delta"):
                self.first_token = at
            if data:
                self._take(data)
        if self._events.passed_over:
            self._give_up("an event is too large")

    def end(self) -> None:
        """The body has ended, whole or not."""
        if self._json:
            document = _decode(bytes(self._json))
            if isinstance(document, dict):
                self._take_whole(document)
            self._json = None

    def _give_up(self, why: str) -> None:
        self.unreadable = why
        self._decoder = None
        self._json = None

    def _is_wanted(self, name: bytes) -> bool:
        return name in _READ or (self._task is not None and name in (b"content_block_delta", b"content_block_stop"))

    def _take(self, data: bytes) -> None:
        event = _decode(data)
        if not isinstance(event, dict):
            return
        match event.get("type"):
            case "message_start":
                message = event.get("message")
                if isinstance(message, dict):
                    self._take_message(message)
            case "message_delta":
                self.usage.take(event.get("usage"))
                delta = event.get("delta")
                if isinstance(delta, dict):
                    self.stop_reason = _word(delta.get("stop_reason")) or self.stop_reason
            case "message_stop":
                self.finished = True
            case "error":
                self._take_error(event)
            case "content_block_start":
                self._take_block(event.get("content_block"))
            case "content_block_delta":
                self._take_delta(event.get("delta"))
            case "content_block_stop":
                self._end_block()

    def _take_message(self, message: dict[str, object]) -> None:
        self.message_id = _word(message.get("id"))
        self.model = _word(message.get("model"))
        self.usage.take(message.get("usage"))

    def _take_error(self, document: dict[str, object]) -> None:
        error = document.get("error")
        self.error = _word(error.get("type")) if isinstance(error, dict) else "error"

    def _take_block(self, block: object) -> None:
        if not isinstance(block, dict) or block.get("type") not in ("tool_use", "server_tool_use", "mcp_tool_use"):
            return
        name = _word(block.get("name"))
        if len(self.tools) < MAX_TOOLS:
            self.tools.append(name)
        if name in TASK_TOOLS:
            self._task = []

    def _take_delta(self, delta: object) -> None:
        if self._task is not None and isinstance(delta, dict) and isinstance(piece := delta.get("partial_json"), str):
            self._task.append(piece)
            if sum(map(len, self._task)) > MAX_PROMPT:
                self._task = None

    def _end_block(self) -> None:
        if self._task is not None:
            self._take_prompt(_decode("".join(self._task).encode()))
        self._task = None

    def _take_prompt(self, given: object) -> None:
        if isinstance(given, dict) and isinstance(prompt := given.get("prompt"), str) and len(self.prompts) < MAX_TOOLS:
            self.prompts.append(prompt)

    def _take_whole(self, document: dict[str, object]) -> None:
        """An answer in one piece: a message, a count, or an error."""
        if document.get("type") == "error":
            self._take_error(document)
        elif document.get("type") == "message":
            self._take_message(document)
            self.stop_reason = _word(document.get("stop_reason"))
            content = document.get("content")
            for block in content if isinstance(content, list) else []:
                self._take_block(block)
                if self._task is not None and isinstance(block, dict):
                    self._take_prompt(block.get("input"))
                self._task = None
        elif type(count := document.get("input_tokens")) is int:
            self.input_tokens = count
        self.finished = True


def _decode(data: bytes) -> object:
    try:
        decoded: object = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return None
    return decoded


def _word(value: object) -> str:
    """A short text of the API's, without what could not stand in a table."""
    if not isinstance(value, str):
        return ""
    cut = value[:128]
    return cut if cut.isprintable() else "".join(char for char in cut if char.isprintable())
