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
    """One session. `attentive` false: pushed messages vanish. `inbox` false: there is no socket (`--bare`)."""

    def __init__(
        self, machine: "Machine", folder: str, *, mesh: str = "", inbox: bool = True, session_id: str = ""
    ) -> None:
        self.machine = machine
        self.cwd = f"/home/{machine.name}/{folder}"
        self.config = machine.folder / ".claude"
        self.env = {"HOME": str(machine.folder), **({"MESH": mesh} if mesh else {})}
        self.attentive = True
        self.answers = True
        """Begins a turn after what it was shown."""
        self.busy = False
        self.inbox = inbox
        self.seen: list[str] = []
        """Bodies that came into the conversation."""
        self.session_id = session_id or _uuid(machine.rng(16))
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
        self.pid = processes.spawn("claude", processes.shell, env={"CLAUDE_CODE_SESSION_ID": self.session_id})
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
            "status": "busy" if self.busy else "idle",
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
            push = {"id": line["msg_id"], "body": content.partition("\n")[2].rpartition("\n")[0]}
            if self.busy:
                self._waiting.append(push)
            else:
                self._take(push)

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
        await self._ask(
            "initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c"}}
        )
        return self._talk

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
        answer: dict[str, Any] = json.loads(await self._talk.next_line())
        assert answer["id"] == number
        result: dict[str, Any] = answer["result"]
        return result

    async def hook(self, event: str) -> None:
        """A hook of this session runs `mesh hook`."""
        talk = await self.machine.talk_of(self._shim)
        await talk.call("hook", env=self.env, body=json.dumps({"hook_event_name": event}).encode())

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
