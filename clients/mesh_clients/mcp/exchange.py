"""The relay's decisions, without I/O: lines of the client in, lines of the daemon in, lines for both out.

It keeps the raw `initialize` line and every raw request that is not answered yet, and gives them to the next daemon
when one goes away, so that the session does not notice. The daemon tells a repeated tool call by its ids and does
nothing twice. Times are seconds of any steady clock.
"""

from mesh_clients.mcp.lines import is_plain_id, read_facts, refuse

MAX_LINE = 1024 * 1024
MAX_PENDING = 64
MAX_PENDING_BYTES = 8 * 1024 * 1024
PATIENCE = 3.0
"""How long a request waits for a daemon before it is answered here."""
CALL_PATIENCE = 30.0
"""The same for a tool call that a daemon had already: it may have been carried out."""
DESPAIR = 10.0
"""After a request was answered here, others are answered at once for so long. As long as a failed start is not repeated."""
MAX_TRIES = 3
"""Daemons that may go away over one request before it is refused."""

_DISCOVER = b"server/discover"
_CALL = b"tools/call"
_NOT_PLAIN = b"the id must be an integer or a string without escapes"
_TOO_MANY = b"too many requests wait for answers"
_TOO_LONG = b"the message is larger than 1 MiB"
_FATAL = b"the mesh daemon stopped each time that it got this request"
_CHANGED = (
    b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}',
    b'{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}',
)


class Pending:
    """A request that is owed an answer. `since` is when it began to wait for a daemon."""

    __slots__ = ("is_call", "line", "since", "tries")

    def __init__(self, line: bytes, is_call: bool, since: float) -> None:
        self.line = line
        self.is_call = is_call
        self.since = since
        self.tries = 0

    @property
    def patience(self) -> float:
        return CALL_PATIENCE if self.is_call and self.tries else PATIENCE


class Exchange:
    """One session's traffic. After each call, `to_client` and `to_daemon` hold the lines to be sent, oldest first."""

    def __init__(self) -> None:
        self.to_client: list[bytes] = []
        self.to_daemon: list[bytes] = []
        self.pending: dict[bytes, Pending] = {}
        self.serving = False
        self._hello = b""
        self._hello_id = b""
        self._initialized = b""
        self._swallow: set[bytes] = set()
        self._bytes = 0
        self._answered_here = False
        self._despaired = -DESPAIR

    # From the client.

    def from_client(self, line: bytes, now: float) -> None:
        """Take one line, without its line feed."""
        facts = read_facts(line)
        if len(line) > MAX_LINE:
            self.to_client.append(refuse(facts.id if is_plain_id(facts.id) else b"", -32600, _TOO_LONG))
        elif not facts.method:
            self._pass_on(line)  # an answer to the daemon, or nonsense for it to refuse
        elif not facts.id:
            self._take_notification(line, facts.method, facts.target)
        elif facts.method == _DISCOVER:
            self.to_client.append(refuse(facts.id if is_plain_id(facts.id) else b"", -32601, b"Method not found"))
        else:
            self._take_request(line, facts.id, facts.method, now)

    def from_client_unread(self) -> None:
        """A line too long even to be looked at."""
        self.to_client.append(refuse(b"", -32600, _TOO_LONG))

    def _take_notification(self, line: bytes, method: bytes, target: bytes) -> None:
        if method == b"notifications/initialized":
            self._initialized = line
        elif method == b"notifications/cancelled":
            self._forget(target)
        self._pass_on(line)

    def _take_request(self, line: bytes, request_id: bytes, method: bytes, now: float) -> None:
        if not is_plain_id(request_id):
            self.to_client.append(refuse(b"", -32600, _NOT_PLAIN))
            return
        if request_id in self.pending:
            self.to_client.append(refuse(request_id, -32600, b"a request with this id is not answered yet"))
            return
        if len(self.pending) >= MAX_PENDING or self._bytes + len(line) > MAX_PENDING_BYTES:
            self.to_client.append(refuse(request_id, -32000, _TOO_MANY))
            return
        if method == b"initialize":
            self._hello, self._hello_id, self._initialized = line, request_id, b""
        waits = Pending(line, method == _CALL, now)
        if not self.serving and now - self._despaired < DESPAIR:
            waits.since = now - PATIENCE
        self.pending[request_id] = waits
        self._bytes += len(line)
        if self.serving:
            self._send(waits)

    def _pass_on(self, line: bytes) -> None:
        if self.serving:
            self.to_daemon.append(line)

    def _send(self, waits: Pending) -> None:
        waits.tries += 1
        self.to_daemon.append(waits.line)

    def _forget(self, request_id: bytes) -> None:
        waits = self.pending.pop(request_id, None)
        if waits is not None:
            self._bytes -= len(waits.line)

    # From the daemon.

    def opened(self) -> None:
        """A daemon is there: greet it as the client greeted the first one, then ask again what is not answered."""
        self.serving = True
        self.to_daemon.clear()
        self._swallow.clear()
        if self._hello and self._hello_id not in self.pending:
            self._swallow.add(self._hello_id)
            self.to_daemon.append(self._hello)
        elif self._hello:
            self._repeat(self._hello_id)
        if self._initialized:
            self.to_daemon.append(self._initialized)
        for request_id in list(self.pending):
            if request_id != self._hello_id:
                self._repeat(request_id)
        if self._answered_here:
            self._answered_here = False
            self.to_client.extend(_CHANGED)

    def _repeat(self, request_id: bytes) -> None:
        waits = self.pending[request_id]
        if waits.tries >= MAX_TRIES:
            self._forget(request_id)
            self.to_client.append(refuse(request_id, -32603, _FATAL))
        else:
            self._send(waits)

    def from_daemon(self, line: bytes) -> None:
        """Take one line of the daemon. An answer that nobody waits for is dropped: nothing is answered twice."""
        facts = read_facts(line)
        if facts.method or not is_plain_id(facts.id):
            self.to_client.append(line)
        elif facts.id in self._swallow:
            self._swallow.discard(facts.id)
        elif facts.id in self.pending:
            self._forget(facts.id)
            self.to_client.append(line)

    def lost(self, now: float) -> None:
        """The daemon went away, or never answered the greeting: then it is no new wait."""
        if self.serving:
            for waits in self.pending.values():
                waits.since = now
        self.serving = False
        self.to_daemon.clear()

    # Without a daemon.

    def deadline(self) -> float | None:
        """When `expire` has something to do; None while a daemon serves or nothing waits."""
        if self.serving or not self.pending:
            return None
        return min(waits.since + waits.patience for waits in self.pending.values())

    def expire(self, now: float, reason: str, build: str) -> None:
        """Answer what has waited long enough. `reason` says why there is no daemon."""
        if self.serving:
            return
        for request_id, waits in list(self.pending.items()):
            if now - waits.since < waits.patience:
                continue
            from mesh_clients.mcp.fallback import answer_line  # json, only here

            self._forget(request_id)
            self._answered_here = True
            if now - self._despaired >= DESPAIR:
                self._despaired = now
            self.to_client.append(answer_line(waits.line, reason, sent=waits.tries > 0, build=build))
