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
        self.answers_guard = True
        """Whether a guarded verb may ask for a passphrase; else it is refused."""
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
        answer, answer_body = self.exchange(method, params, body, wait=wait)
        if texts:
            from mesh_protocol.wire.items import put_texts

            try:
                put_texts(answer, texts, answer_body)
            except CodecError:
                raise MeshError("bad_request", what="the daemon's answer is broken: run mesh down && mesh up") from None
        return answer

    def exchange(
        self, method: str, params: "dict[str, JsonValue]", body: bytes = b"", *, wait: float = 0.0
    ) -> "tuple[dict[str, JsonValue], bytes]":
        """Call `method` with raw bytes beside its parameters; its answer and the bytes beside that. Raises `MeshError`."""
        try:
            result, answer_body = self._ask(method, params, body, wait + SECONDS)
        except ConnectionLost as error:
            self.disconnect()
            raise MeshError("no_daemon", why=f"it went away during the call ({error}); see mesh status") from None
        except TimeoutError:
            raise MeshError("timeout", what=f"an answer to {method}", seconds=wait + SECONDS) from None
        except (CodecError, FrameError) as error:
            raise MeshError("bad_request", what=str(error)) from None
        return (result if isinstance(result, dict) else {}), answer_body

    def _ask(
        self, method: str, params: "dict[str, JsonValue]", body: bytes, seconds: float
    ) -> "tuple[JsonValue, bytes]":
        """Call; what the guard asks for is given first, once for this connection."""
        try:
            return self.connect().call(method, params, body, timeout=seconds)
        except MeshError as error:
            if error.code != "guard_asks" or not self.answers_guard:
                raise
            from mesh_clients.cli.proof import find_proof

            proof = find_proof(takes_token=error.data.get("takes_token") is not False)
            if proof is None:
                raise
        self.connect().call("guard.open", proof, b"", timeout=SECONDS)
        return self.connect().call(method, params, body, timeout=seconds)

    def number(self, name: str, default: float = 0.0) -> float:
        """A number that was given, or the default."""
        value = self.params.get(name)
        return float(value) if isinstance(value, int | float) else default
