"""Claude Code's private formats: registry entries, inbox lines, transcript lines. No other file knows them.

They are not documented and may change with any release. Everything here was tried on the versions of
KNOWN_VERSIONS. Nothing here does I/O.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from .frame import mark_of, marks_in
from .marks import Mark, PushId

KNOWN_VERSIONS = frozenset({"2.1.329"})
PEER_PROTOCOL = 1

MAX_REGISTRY_BYTES = 64 * 1024
MAX_LINE_BYTES = 1 << 20
MAX_MEMBERS = 256
MAX_SOCKET_PATH = 107
"""Bytes of a path that a unix socket's address holds, without its end."""

_SESSION_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PROC_START = re.compile(r"[0-9A-Za-z:+ -]{1,64}")
# The last two are what packagers that wrap a program call the real one.
_PROGRAM = re.compile(r"claude|\.claude-wrapped|\.claude-unwrapped")
_PLAIN_PATH = re.compile(r"/[0-9A-Za-z_./@+~-]+")
_PEER_TAG = re.compile(r"<cross-session-message[^>\n]*>\n(?P<body>.*)\n</cross-session-message>", re.DOTALL)
_CHANNEL_TAG = re.compile(
    r'^<channel source="[^"\n]*"(?: \w+="[^"\n]*")*? push_id="([0-9a-f-]{36})"(?: \w+="[^"\n]*")*>$', re.M
)
# Requests of the main conversation; titles and summaries are asked for under other names.
_MAIN_SOURCES = ("sdk", "repl_main_thread")


class Support(Enum):
    """How well a session's version is known."""

    TRIED = "tried"
    SAME_PROTOCOL = "same_protocol"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ClaudeSession:
    """One running Claude process and the session it holds now, as its registry entry says.

    `session_id` changes with `/clear` while `pid`, `proc_start` and `socket_path` stay. `proc_start` is the
    process's start time in the registry's own form (Linux: field 22 of /proc/PID/stat, in decimal). `status` is
    `idle`, `busy` or another word of Claude's; `status_at_ms` is epoch milliseconds.
    """

    pid: int
    session_id: str
    proc_start: str
    socket_path: str | None
    cwd: str
    name: str | None
    kind: str | None
    status: str | None
    status_at_ms: int | None
    version: str
    entrypoint: str | None
    peer_protocol: int | None

    @property
    def is_idle(self) -> bool:
        """Whether it says that it waits for input."""
        return self.status == "idle"

    @property
    def support(self) -> Support:
        """Whether its inbox may be used: an UNKNOWN one is served by pull alone."""
        if self.version in KNOWN_VERSIONS:
            return Support.TRIED
        return Support.SAME_PROTOCOL if self.peer_protocol == PEER_PROTOCOL else Support.UNKNOWN


def parse_session(data: bytes, pid: int) -> ClaudeSession | None:
    """The registry entry `sessions/<pid>.json`, or None if it is too large, not one, or another process's."""
    entry = _object(data, MAX_REGISTRY_BYTES)
    if entry is None or entry.get("pid") != pid or isinstance(entry.get("pid"), bool):
        return None
    session_id, proc_start = _text(entry, "sessionId"), _text(entry, "procStart")
    if session_id is None or _SESSION_ID.fullmatch(session_id) is None:
        return None
    if proc_start is None or _PROC_START.fullmatch(proc_start) is None:
        return None
    return ClaudeSession(
        pid=pid,
        session_id=session_id,
        proc_start=proc_start,
        socket_path=_text(entry, "messagingSocketPath"),
        cwd=_text(entry, "cwd") or "",
        name=_text(entry, "name"),
        kind=_text(entry, "kind"),
        status=_text(entry, "status"),
        status_at_ms=_number(entry, "statusUpdatedAt"),
        version=_text(entry, "version") or "",
        entrypoint=_text(entry, "entrypoint"),
        peer_protocol=_number(entry, "peerProtocol"),
    )


def is_session_id(text: str) -> bool:
    """Whether `text` has the form of a session id (a lower-case UUID), and so may name a file."""
    return _SESSION_ID.fullmatch(text) is not None


def is_inbox_path(path: str, pid: int, uid: int) -> bool:
    """Whether `path` is one that Claude gives the inbox of process `pid` of user `uid`.

    `<any folder>/cc-socks/<pid>.sock`, or `/tmp/cc-socks-<uid>/<pid>.sock` where the first would be too long.
    """
    if "\0" in path or not path.startswith("/") or "/../" in path or "/./" in path:
        return False
    return path.endswith(f"/cc-socks/{pid}.sock") or path == f"/tmp/cc-socks-{uid}/{pid}.sock"  # noqa: S108


def is_claude_program(exe: str) -> bool:
    """Whether an executable's path looks like Claude Code's: `…/claude`, or its installer's `…/claude/versions/V`."""
    folder, _, name = exe.removesuffix(" (deleted)").rpartition("/")
    return _PROGRAM.fullmatch(name) is not None or folder.endswith("/claude/versions")


def inbox_line(push_id: PushId, sender_name: str, body: str, address: str = "") -> bytes:
    """The line that is written to an inbox socket to have `body` read as a peer's message.

    `sender_name` must be fit for an attribute (`frame.clean_name`). `address` (`reply_address`) is where the session's
    own SendMessage reaches the sender, and where Claude tells what became of the line. Without one the sender's name
    stands beside the message and not in the tag, where it would be taken for such an address. Both give each
    correspondent a rate budget of his own. `from-mode` is always `prompting`: it claims no right.
    """
    said = f'from="{address}" ' if address else ""
    tag = f'<cross-session-message {said}from-name="{sender_name}" from-mode="prompting">'
    line = {
        "msgV": 1,
        "msg_id": push_id,
        "type": "user",
        "message": {"role": "user", "content": f"{tag}\n{body}\n</cross-session-message>"},
        "priority": "next",
        "from": address or f"mesh:{sender_name}",
    }
    return json.dumps(line).encode() + b"\n"


def reply_address(path: str) -> str | None:
    """The address under which a session reaches the socket `path`; None if that could not stand in a tag, or is too long."""
    fits = _PLAIN_PATH.fullmatch(path) is not None and len(path) <= MAX_SOCKET_PATH
    return f"uds:{path}" if fits else None


@dataclass(frozen=True, slots=True)
class PeerReply:
    """What a session sent with its own SendMessage. `msg_id` is Claude's, new for each."""

    msg_id: str
    text: str


class Fate(Enum):
    """What a session did with a line that was pushed to it, in its own word."""

    HELD = "held"
    REFUSED = "refused"
    DROPPED = "dropped"
    EXPIRED = "expired"
    """It was held until the session ended, or for too long."""


@dataclass(frozen=True, slots=True)
class PeerReceipt:
    """A session tells what became of the push `push_id`. Of what is shown at once nothing is told."""

    push_id: str
    fate: Fate


def parse_peer_line(line: bytes) -> PeerReply | PeerReceipt | None:
    """A line that a session wrote to an address of ours; None for what is neither a message nor a receipt."""
    entry = _object(line, MAX_LINE_BYTES)
    if entry is None:
        return None
    if entry.get("type") == "control" and entry.get("action") == "peer_message_status":
        return _receipt(entry)
    message, msg_id = entry.get("message"), _text(entry, "msg_id")
    if entry.get("type") != "user" or not isinstance(message, Mapping) or msg_id is None:
        return None
    content = _text(message, "content")
    if content is None or _SESSION_ID.fullmatch(msg_id) is None:
        return None
    tagged = _PEER_TAG.fullmatch(content)
    return PeerReply(msg_id, tagged["body"] if tagged else content)


def _receipt(entry: Mapping[str, object]) -> PeerReceipt | None:
    push_id, status = _text(entry, "orig_msg_id"), _text(entry, "status")
    if push_id is None:
        return None
    if status == "expired" and entry.get("status_detail") == "refused":
        return PeerReceipt(push_id, Fate.REFUSED)
    told = next((fate for fate in Fate if fate.value == status), None)
    return None if told is None else PeerReceipt(push_id, told)


class PushPath(Enum):
    """How a pushed message came into the conversation."""

    IDLE = "idle"
    MID_TURN = "mid_turn"
    CHANNEL = "channel"


@dataclass(frozen=True, slots=True)
class PushSeen:
    """Pushed messages are part of the conversation: push ids, and the marks of the frames that their bodies begin with.

    A message counts as seen if its push id or its mark is here. Neither is always: a headless session joins waiting
    messages of one sender into one entry, with all their bodies and the first one's id; and a body is left out where
    it held what Claude takes for its own tag.
    """

    path: PushPath
    push_ids: tuple[str, ...]
    marks: tuple[Mark, ...]

    def proves(self, push_id: PushId, mark: Mark) -> bool:
        """Whether the message of that push, framed with that mark, is among them."""
        return push_id in self.push_ids or mark in self.marks


@dataclass(frozen=True, slots=True)
class HookContextSeen:
    """Context of a hook is part of the conversation, with the marks of the frames in it."""

    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class ToolResultSeen:
    """A tool's result is part of the conversation. `whole`: as the tool gave it, neither an error nor cut down."""

    tool_use_id: str
    whole: bool


@dataclass(frozen=True, slots=True)
class TurnSeen:
    """The model was asked, or answered: what stood before is in its context."""


Evidence: TypeAlias = PushSeen | HookContextSeen | ToolResultSeen


def parse_line(line: bytes) -> tuple[Evidence | TurnSeen, ...]:
    """What one line of a session's transcript proves; empty for the many lines that prove nothing.

    Only the named fields count, never text found elsewhere: the queue's own lines hold a whole message before the
    model sees it. Lines of sub-conversations do not count.
    """
    entry = _object(line, MAX_LINE_BYTES)
    if entry is None or entry.get("isSidechain") is True:
        return ()
    match entry.get("type"):
        case "assistant":
            return (TurnSeen(),)
        case "api-request":
            source = _text(entry, "querySource") or ""
            return (TurnSeen(),) if source.startswith(_MAIN_SOURCES) else ()
        case "user":
            message = entry.get("message")
            content = message.get("content") if isinstance(message, Mapping) else None
            return (*_pushes(entry, PushPath.IDLE), *_channel(entry, content), *_tool_results(content))
        case "attachment":
            attachment = entry.get("attachment")
            return _attachment(attachment) if isinstance(attachment, Mapping) else ()
        case _:
            return ()


def _attachment(attachment: Mapping[str, object]) -> tuple[Evidence, ...]:
    match attachment.get("type"):
        case "queued_command":
            return (*_pushes(attachment, PushPath.MID_TURN), *_channel(attachment, attachment.get("prompt")))
        case "hook_additional_context":
            content = attachment.get("content")
            return _context(content if isinstance(content, list) else [content])
        case "async_hook_response":  # what a hook that Claude did not wait for answered, with the next request
            response = attachment.get("response")
            output = response.get("hookSpecificOutput") if isinstance(response, Mapping) else None
            return _context([output.get("additionalContext")]) if isinstance(output, Mapping) else ()
        case _:
            return ()


def _context(texts: Sequence[object]) -> tuple[Evidence, ...]:
    marks = tuple(mark for text in texts if isinstance(text, str) for mark in marks_in(text))
    return (HookContextSeen(marks),) if marks else ()


def _pushes(holder: Mapping[str, object], path: PushPath) -> tuple[Evidence, ...]:
    origin = holder.get("origin")
    if not isinstance(origin, Mapping) or origin.get("kind") != "peer":
        return ()
    members = origin.get("members")
    parts = [origin, *(members[:MAX_MEMBERS] if isinstance(members, list) else ())]
    ids: list[str] = []
    marks: list[Mark] = []
    for part in parts:
        if not isinstance(part, Mapping):
            continue
        push_id, body = _text(part, "msg_id"), _text(part, "body")
        mark = mark_of(body) if body is not None else None
        ids += [push_id] if push_id is not None else []
        marks += [mark] if mark is not None else []
    return (PushSeen(path, tuple(ids), tuple(marks)),) if ids or marks else ()


def _channel(holder: Mapping[str, object], content: object) -> tuple[Evidence, ...]:
    """What came by a channel: Claude writes the tag, with our `meta` in it, around our text. Read in 2.1.329's program, not
    tried: a session takes channels only where its vendor switched them on."""
    origin = holder.get("origin")
    if not isinstance(origin, Mapping) or origin.get("kind") != "channel":
        return ()
    blocks = content if isinstance(content, list) else [content]
    texts = [_text(block, "text") if isinstance(block, Mapping) else block for block in blocks[:MAX_MEMBERS]]
    told = "\n".join(text for text in texts if isinstance(text, str))
    ids, marks = tuple(_CHANNEL_TAG.findall(told)), marks_in(told)
    return (PushSeen(PushPath.CHANNEL, ids, marks),) if ids or marks else ()


def _tool_results(content: object) -> tuple[Evidence, ...]:
    found: list[Evidence] = []
    for block in content if isinstance(content, list) else ():
        if not isinstance(block, Mapping) or block.get("type") != "tool_result":
            continue
        tool_use_id = _text(block, "tool_use_id")
        if tool_use_id is not None:
            # A result that was too large is replaced by a string that names a file, and is not called an error.
            whole = isinstance(block.get("content"), list) and block.get("is_error") is not True
            found.append(ToolResultSeen(tool_use_id, whole))
    return tuple(found)


def _object(data: bytes, limit: int) -> Mapping[str, object] | None:
    if len(data) > limit:
        return None
    try:
        value: object = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _text(entry: Mapping[str, object], key: str) -> str | None:
    value = entry.get(key)
    return value if isinstance(value, str) else None


def _number(entry: Mapping[str, object], key: str) -> int | None:
    value = entry.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
