"""An agent session as the daemon meets it: a process, a registry entry, an inbox socket, a transcript, an MCP client.

It does what Claude Code 2.1.329 was seen to do: an idle session takes a pushed message into its conversation at once
and begins a turn; a busy one takes it at the end of the running tool.
"""

import json
import socket
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from world.talk import Talk

if TYPE_CHECKING:
    from world.machine import Machine


class Claude:
    """One session. `attentive` false: pushed messages vanish. `inbox` false: there is no socket (`--bare`). `announced`:
    what `mesh launch` tells the daemon of it before it turns into Claude Code."""

    def __init__(
        self,
        machine: "Machine",
        folder: str,
        *,
        mesh: str = "",
        inbox: bool = True,
        session_id: str = "",
        announced: dict[str, Any] | None = None,
    ) -> None:
        self.machine = machine
        self.cwd = f"/home/{machine.name}/{folder}"
        self.config = machine.folder / ".claude"
        self.env = {"HOME": str(machine.folder), **({"MESH": mesh} if mesh else {})}
        self.attentive = True
        self.answers = True
        """Begins a turn after what it was shown."""
        self.busy = False
        self.status = ""
        """What its registry entry says instead of busy or idle: `waiting` before a permission prompt."""
        self.inbox = inbox
        self.inbound = "accept"
        """Its setting for messages of other sessions: accept, hold, refuse; or drop, as it does with too many."""
        self.addresses: list[str] = []
        """Where each pushed message said that it can be answered."""
        self.held: list[dict[str, Any]] = []
        self.seen: list[str] = []
        """Bodies that came into the conversation."""
        self.session_id = session_id or _uuid(machine.rng(16))
        self.announced = announced
        self.instructions = ""
        """What our MCP server told its agent at the start."""
        self.pid = 0
        self._waiting: list[dict[str, Any]] = []
        self._tools = count(1)
        self._shim = 0
        self._talk: Talk | None = None
        self._life: trio.CancelScope | None = None

    # Its process.

    async def open(self) -> None:
        """Start it: the process, its registry entry, its socket, and its MCP server `mesh mcp`."""
        processes = self.machine.processes
        pid = processes.spawn("claude", processes.shell, env={"CLAUDE_CODE_SESSION_ID": self.session_id})
        if self.announced is not None:
            await (await self.machine.talk(pid)).call("launch.prepare", **self.announced)
        await self.open_as(pid)

    async def open_as(self, pid: int) -> None:
        """The same, as a process that is there."""
        processes = self.machine.processes
        self.pid = pid
        self.register()
        if self.inbox:
            self._life = await self.machine.world.nursery.start(self._listen)
        self._shim = processes.spawn("python3", self.pid)
        await self.open_mcp()

    async def end(self) -> None:
        """Its process is gone, with everything below it."""
        if self._talk is not None:
            await self._talk.close()
            self._talk = None
        if self._life is not None:
            self._life.cancel()
        self.machine.processes.end(self._shim)
        self.machine.processes.end(self.pid)
        self._entry.unlink()

    async def resume(self) -> "Claude":
        """The same session in a new process (`--resume`)."""
        session = Claude(self.machine, Path(self.cwd).name, inbox=self.inbox, session_id=self.session_id)
        session.env = dict(self.env)
        await session.open()
        return session

    def register(self) -> None:
        """Write its registry entry anew."""
        process = self.machine.processes.look(self.pid)
        assert process is not None
        self._entry.parent.mkdir(parents=True, exist_ok=True)
        entry = {
            "pid": self.pid,
            "sessionId": self.session_id,
            "cwd": self.cwd,
            "procStart": str(process.start),
            "version": "2.1.329",
            "peerProtocol": 1,
            "kind": "interactive",
            "entrypoint": "cli",
            "status": self.status or ("busy" if self.busy else "idle"),
            **({"messagingSocketPath": str(self._socket)} if self.inbox else {}),
        }
        new = self._entry.with_suffix(".new")
        new.write_text(json.dumps(entry))
        new.replace(self._entry)

    def begin_turn(self) -> None:
        """The person asked something: it works."""
        self.busy = True
        self.register()

    def end_turn(self) -> None:
        """It waits for input; what came meanwhile comes into the conversation now."""
        self.busy = False
        self.register()
        waiting, self._waiting = self._waiting, []
        for push in waiting:
            self._take(push)

    def end_tool(self) -> None:
        """A tool of the running turn ended: what came meanwhile is attached to its result."""
        waiting, self._waiting = self._waiting, []
        for push in waiting:
            self.seen.append(push["body"])
            self._write({"type": "attachment", "attachment": {"type": "queued_command", "origin": _origin(push)}})
        if waiting and self.answers:
            self._write({"type": "assistant"})

    def clear(self) -> None:
        """`/clear`: another id, another transcript, the same process."""
        self.session_id = _uuid(self.machine.rng(16))
        self.register()

    @property
    def key(self) -> str:
        """The daemon's key of this session."""
        process = self.machine.processes.look(self.pid)
        assert process is not None
        session = self.machine.app.sessions.by_pid(self.pid, process.start)
        assert session is not None, "the daemon does not know this session"
        return session.key

    # Its inbox.

    async def _listen(self, task_status: "trio.TaskStatus[trio.CancelScope]") -> None:
        self._socket.parent.mkdir(mode=0o700, exist_ok=True)
        with trio.CancelScope() as scope, socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(self._socket))  # trio's own bind would do it in a thread
            sock.listen()
            listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
            task_status.started(scope)
            try:
                await trio.serve_listeners(self._answer, [listener])
            finally:
                self._socket.unlink()

    async def _answer(self, stream: trio.SocketStream) -> None:
        data = b"".join([chunk async for chunk in stream])
        await stream.aclose()
        if data and self.attentive:
            line = json.loads(data)
            content: str = line["message"]["content"]
            push = {"id": line["msg_id"], "body": content.partition("\n")[2].rpartition("\n")[0], "from": line["from"]}
            self.addresses.append(line["from"])
            if self.inbound != "accept":
                await self._put_aside(push)
            elif self.busy:
                self._waiting.append(push)
            else:
                self._take(push)

    async def _put_aside(self, push: dict[str, Any]) -> None:
        """Not shown, which is told to the address that it came from, if that is one."""
        if self.inbound == "hold":
            self.held.append(push)
        told = {
            "hold": {"status": "held"},
            "refuse": {"status": "expired", "status_detail": "refused"},
            "drop": {"status": "dropped", "drop_reason": "queue_full"},
        }[self.inbound]
        await self._tell(push, told)

    async def _tell(self, push: dict[str, Any], told: dict[str, str]) -> None:
        line = {"type": "control", "action": "peer_message_status", "orig_msg_id": push["id"], "msgV": 1, **told}
        if push["from"].startswith("uds:"):
            await self.speak(push["from"], line)

    def let_through(self) -> None:
        """Its person lets in what is held."""
        held, self.held = self.held, []
        for push in held:
            self._take(push)

    async def let_expire(self) -> None:
        """What is held was not looked at in time."""
        held, self.held = self.held, []
        for push in held:
            await self._tell(push, {"status": "expired"})

    async def send_message(self, to: str, message: str, msg_id: str = "") -> None:
        """Its agent uses Claude's own SendMessage tool."""
        tag = f'<cross-session-message from="uds:{self._socket}" hop-chain="0" from-name="x" from-mode="prompting">'
        content = f"{tag}\n{message}\n</cross-session-message>"
        msg_id = msg_id or _uuid(self.machine.rng(16))
        line = {"msgV": 1, "msg_id": msg_id, "type": "user", "message": {"role": "user", "content": content}}
        await self.speak(to, line)

    async def speak(self, to: str, line: dict[str, Any], *, pid: int = 0) -> None:
        """Write a line to an address, as the process `pid` (its own), and wait until the other side has closed."""
        own = self._socket.with_name(f"{pid or self.pid}.out{next(self._tools)}")
        with trio.socket.socket(socket.AF_UNIX) as sock:
            with socket.socket(fileno=sock.fileno()) as plain:  # trio's own bind would do it in a thread
                plain.bind(str(own))
                plain.detach()
            await sock.connect(to.removeprefix("uds:"))
            own.unlink()
            stream = trio.SocketStream(sock)
            try:
                await stream.send_all(json.dumps(line).encode() + b"\n")
                await stream.send_eof()
                while await stream.receive_some(4096):
                    pass
            except trio.BrokenResourceError:
                pass  # closed unread

    def _take(self, push: dict[str, Any]) -> None:
        self.seen.append(push["body"])
        self._write({"type": "user", "origin": _origin(push)})
        if self.answers:
            self._write({"type": "assistant"})

    def write_tool_result(self, tool_use_id: str) -> None:
        """A tool's result came into the conversation."""
        block = {"type": "tool_result", "tool_use_id": tool_use_id, "content": [{"type": "text", "text": "…"}]}
        self._write({"type": "user", "message": {"role": "user", "content": [block]}})

    def _write(self, entry: dict[str, Any]) -> None:
        path = self.config / "projects" / "p" / f"{self.session_id}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(json.dumps({"isSidechain": False, **entry}) + "\n")

    # Its tools and its shell.

    async def open_mcp(self) -> Talk:
        """What `mesh mcp` does at its start, and again when the daemon is back."""
        self._talk = await self.machine.talk(self._shim)
        await self._talk.call("mcp.open", env=self.env, cwd=self.cwd)
        told = await self._ask(
            "initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c"}}
        )
        self.instructions = told["instructions"]
        await self._talk.send_line(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
        return self._talk

    def write_channel(self, told: dict[str, Any]) -> None:
        """A channel's notification came into the conversation."""
        meta = "".join(f' {key}="{value}"' for key, value in told["meta"].items())
        content = f'<channel source="mesh"{meta}>\n{told["content"]}\n</channel>'
        origin = {"kind": "channel", "server": "mesh"}
        self._write({"type": "user", "isMeta": True, "origin": origin, "message": {"role": "user", "content": content}})

    async def close_mcp(self) -> None:
        """Its MCP server's connection ends."""
        assert self._talk is not None
        await self._talk.close()
        self._talk = None

    def unheard(self) -> list[bytes]:
        """What its MCP server said by itself and nobody read."""
        return [*self._talk.lines] if self._talk is not None else []

    async def hear(self) -> dict[str, Any]:
        """The next notification that its MCP server sends by itself."""
        assert self._talk is not None
        told: dict[str, Any] = json.loads(await self._talk.next_line())
        assert "id" not in told
        return told

    async def tool(self, name: str, /, *, use: str = "", proof: bool = True, **arguments: Any) -> str:
        """Call a tool; the text of its result. `use` repeats an earlier tool use. With `proof` its result comes into the
        conversation, which is what the daemon takes as evidence."""
        use = use or f"toolu_{next(self._tools)}"
        meta = {"claudecode/toolUseId": use}
        answer = await self._ask("tools/call", {"name": name, "arguments": arguments, "_meta": meta})
        if proof:
            self.write_tool_result(use)
        text: str = answer["content"][0]["text"]
        return text

    async def list_tools(self) -> list[dict[str, Any]]:
        tools: list[dict[str, Any]] = (await self._ask("tools/list", {}))["tools"]
        return tools

    async def _ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        assert self._talk is not None
        number = next(self._tools)
        line = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        await self._talk.send_line(json.dumps(line).encode())
        while True:  # the answer to a call that was given up may come first
            answer: dict[str, Any] = json.loads(await self._talk.next_line())
            assert answer["id"] <= number
            if answer["id"] == number:
                result: dict[str, Any] = answer["result"]
                return result

    async def hook(self, event: str, *, proof: bool = True, **told: object) -> str:
        """A hook of this session runs `mesh hook`; the context it answers with. With `proof` that comes into the
        conversation, which is what the daemon takes as evidence."""
        talk = await self.machine.talk_of(self._shim)
        body = json.dumps({"hook_event_name": event, **told}).encode()
        answer = (await talk.call("hook", env=self.env, body=body)).get("body", b"")
        context: str = json.loads(answer)["hookSpecificOutput"]["additionalContext"] if answer else ""
        if context and proof:
            self.write_context(event, context)
        return context

    def write_context(self, event: str, context: str) -> None:
        """What a hook answered came into the conversation."""
        attachment = {"type": "hook_additional_context", "content": [context], "hookEvent": event}
        self._write({"type": "attachment", "attachment": attachment})

    def answer(self) -> None:
        """The model said something."""
        self._write({"type": "assistant"})

    async def shell(self) -> Talk:
        """A connection of a command that the session's Bash tool runs."""
        return await self.machine.talk_of(self._shim)

    @property
    def _entry(self) -> Path:
        return self.config / "sessions" / f"{self.pid}.json"

    @property
    def _socket(self) -> Path:
        return self.machine.folder / "cc-socks" / f"{self.pid}.sock"


def _origin(push: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "peer", "msg_id": push["id"], "body": push["body"]}


def _uuid(data: bytes) -> str:
    text = data.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
