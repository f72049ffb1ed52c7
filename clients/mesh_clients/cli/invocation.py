"""One run of a command: what was asked for, and the one connection to the daemon that it uses."""

import os

from mesh_clients.cli.grammar import Line, Verb
from mesh_protocol.io.blocking import Client, ConnectionLost
from mesh_protocol.wire.codec import CodecError
from mesh_protocol.wire.errors import MeshError
from mesh_protocol.wire.framing import FrameError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue

SECONDS = 60.0
"""How long an answer is awaited beyond what the command itself waits for: making a mesh talks to a broker."""


class Invocation:
    """What a verb's handler is given. Use it as a context: the connection ends with it."""

    def __init__(self, verb: Verb, line: Line) -> None:
        self.verb = verb
        self.line = line
        self.params = line.params
        self.as_json = line.json
        self._client: Client | None = None

    def __enter__(self) -> "Invocation":
        return self

    def __exit__(self, *_: object) -> None:
        self.disconnect()

    def disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None

    def connect(self) -> Client:
        """The connection to the daemon, which is started if need be. Raises `MeshError`."""
        if self._client is None:
            from mesh_clients.discover import connect

            self._client = connect(os.environ, may_start=self.line.start)
        return self._client

    def call(
        self, params: "dict[str, JsonValue]", *, method: str = "", texts: str = "", wait: float = 0.0
    ) -> "dict[str, JsonValue]":
        """Call the verb's own method (or `method`) and return its answer, texts put back. Raises `MeshError`."""
        verb = self.verb
        params = dict(params)
        body = b""
        if not method:
            method, texts = verb.method, verb.texts
            if verb.payload:
                text = params.pop(verb.payload, "")
                body = text.encode() if isinstance(text, str) else b""
        try:
            result, answer_body = self.connect().call(method, params, body, timeout=wait + SECONDS)
        except ConnectionLost as error:
            self.disconnect()
            raise MeshError("no_daemon", why=f"it went away during the call ({error}); see mesh status") from None
        except TimeoutError:
            raise MeshError("timeout", what=f"an answer to {method}", seconds=wait + SECONDS) from None
        except (CodecError, FrameError) as error:
            raise MeshError("bad_request", what=str(error)) from None
        answer = result if isinstance(result, dict) else {}
        if texts:
            from mesh_protocol.wire.items import put_texts

            try:
                put_texts(answer, texts, answer_body)
            except CodecError:
                raise MeshError("bad_request", what="the daemon's answer is broken: run mesh down && mesh up") from None
        return answer

    def number(self, name: str, default: float = 0.0) -> float:
        """A number that was given, or the default."""
        value = self.params.get(name)
        return float(value) if isinstance(value, int | float) else default
