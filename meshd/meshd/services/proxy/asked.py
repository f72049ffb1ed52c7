"""What a request says of itself: whose it is, what kind, and its history as a chain of hashes.

Headers come first, the metadata second. What only the content tells is a guess, and marked so.
"""

import enum
import hashlib
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from meshd.services.proxy.heads import Head

HASH: Final = 16
"""Bytes of a hash: what is told apart is one user's own conversations."""
MAX_KNOWN: Final = 8_000
"""Messages whose hash is remembered by their bytes: a history is sent again with each turn."""

_REMINDER: Final = re.compile(r"<system-reminder>.*?</system-reminder>\s*", re.DOTALL)
_COMPACTING: Final = (
    "Your task is to create a detailed summary of the conversation so far",
    "Your task is to create a detailed summary of this conversation",
    "Your task is to create a detailed summary of the RECENT portion of the conversation",
)
_CONTINUED: Final = "This session is being continued from a previous conversation"
_THINKING: Final = frozenset({"thinking", "redacted_thinking"})


class Kind(enum.StrEnum):
    """What a request is for."""

    TURN = "turn"
    COUNT = "count"
    QUOTA = "quota"
    SUMMARY = "summary"
    OTHER = "other"


class Source(enum.StrEnum):
    """How it is known whose a request is. `CONTENT` is a guess; `TRANSCRIPT`: it did not pass the proxy."""

    HEADER = "header"
    METADATA = "metadata"
    CONTENT = "content"
    TRANSCRIPT = "transcript"
    UNKNOWN = ""


class _Body(msgspec.Struct):
    model: str = ""
    max_tokens: int = 0
    system: msgspec.Raw = msgspec.Raw(b"")
    messages: list[msgspec.Raw] = []
    metadata: msgspec.Raw = msgspec.Raw(b"")


@dataclass(frozen=True, slots=True)
class Asked:
    """The facts. `chain` holds one hash for each prefix of the history, the whole last; `first_text` is what the first
    message says, for a sub-task is known by the prompt that it was started with. Texts are never stored."""

    kind: Kind = Kind.OTHER
    model: str = ""
    session: str = ""
    agent: str = ""
    parent_agent: str = ""
    account: str = ""
    source: Source = Source.UNKNOWN
    chain: tuple[bytes, ...] = ()
    system: bytes = b""
    continued: bool = False
    """It goes on after a compaction."""
    first_text: str = ""


class Histories:
    """Hashes histories, remembering the messages that it has seen."""

    def __init__(self, room: int = MAX_KNOWN) -> None:
        self._known: OrderedDict[bytes, bytes] = OrderedDict()
        self._room = room

    def chain(self, messages: Sequence[bytes]) -> tuple[bytes, ...]:
        """The hash of each prefix of `messages` (JSON each); what says nothing of its own is left out."""
        links: list[bytes] = []
        last = b""
        for raw in messages:
            own = self._message(raw)
            if own:
                last = hashlib.blake2b(own, key=last, digest_size=HASH, person=b"mesh-history").digest()
                links.append(last)
        return tuple(links)

    def _message(self, raw: bytes) -> bytes:
        mark = hashlib.blake2b(raw, digest_size=HASH).digest()
        found = self._known.get(mark)
        if found is None:
            found = self._known[mark] = hash_message(raw)
            if len(self._known) > self._room:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(mark)
        return found


def hash_message(raw: bytes) -> bytes:
    """The hash of one message as it is meant: text as a string or as a block is equal; where a cache ends, reminders of
    the system, a tool's id that comes twice and sealed thinking do not count. Nothing for what has no meaning left."""
    try:
        message = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return b""
    if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
        return b""
    blocks = _meaning(message.get("content"))
    if not blocks:
        return b""
    told = msgspec.json.encode([message["role"], blocks], order="sorted")
    return hashlib.blake2b(told, digest_size=HASH).digest()


def _meaning(content: object) -> list[object]:
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    kept: list[object] = []
    seen: set[tuple[object, object]] = set()
    for block in content if isinstance(content, list) else []:
        if not isinstance(block, dict) or block.get("type") in _THINKING:
            continue
        block = {name: value for name, value in block.items() if name != "cache_control"}
        identity = block.get("tool_use_id") or block.get("id")
        if isinstance(identity, str):
            if (block.get("type"), identity) in seen:
                continue
            seen.add((block.get("type"), identity))
        if block.get("type") == "text":
            text = _without_reminders(block.get("text"))
            if not text:
                continue
            block = {"type": "text", "text": text}
        elif block.get("type") == "tool_result" and "content" in block:
            block["content"] = _meaning(block["content"])
        kept.append(block)
    return kept


def _without_reminders(text: object) -> str:
    return _REMINDER.sub("", text).strip() if isinstance(text, str) else ""


def read_asked(head: Head, target: bytes, body: bytes | None, histories: Histories, account: str) -> Asked:
    """The facts of one request; `body` is None where there is no copy. `account` names its credential."""
    path = target.partition(b"?")[0]
    counts = path.endswith(b"/messages/count_tokens")
    session, agent, parent = (
        _name(head.value(name).decode("latin-1"))
        for name in (b"x-claude-code-session-id", b"x-claude-code-agent-id", b"x-claude-code-parent-agent-id")
    )
    source = Source.HEADER if session else Source.UNKNOWN
    if head.method != b"POST" or not (counts or path.endswith(b"/messages")):
        return Asked(session=session, agent=agent, parent_agent=parent, account=account, source=source)
    kind = Kind.COUNT if counts else Kind.TURN
    parsed = _parse(body) if body else None
    if parsed is None:
        return Asked(kind, session=session, agent=agent, parent_agent=parent, account=account, source=source)
    told = _user_id(parsed.metadata)
    if not session and (session := _name(told.get("session_id"))):
        source = Source.METADATA
    first, last = (_texts(parsed.messages[place]) if parsed.messages else [] for place in (0, -1))
    if not counts:
        kind = _kind(parsed, first, last)
    return Asked(
        kind=kind,
        model=_name(parsed.model),
        session=session,
        agent=agent,
        parent_agent=parent,
        account=_name(told.get("account_uuid")) or account,
        source=source,
        chain=histories.chain(parsed.messages),
        system=hashlib.blake2b(parsed.system, digest_size=HASH).digest() if parsed.system else b"",
        continued=any(text.startswith(_CONTINUED) for text in first),
        first_text="\n".join(first),
    )


def _parse(body: bytes) -> _Body | None:
    try:
        return msgspec.json.decode(body, type=_Body)
    except (msgspec.DecodeError, RecursionError):
        return None


def _kind(body: _Body, first: list[str], last: list[str]) -> Kind:
    if body.max_tokens == 1 and len(body.messages) == 1 and first == ["quota"]:
        return Kind.QUOTA
    if any(marker in text for marker in _COMPACTING for text in last):
        return Kind.SUMMARY
    return Kind.TURN


def _texts(raw: bytes) -> list[str]:
    """The texts of one message, without the system's reminders."""
    try:
        message = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return []
    content = message.get("content") if isinstance(message, dict) else None
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    found = (
        _without_reminders(block.get("text"))
        for block in (blocks if isinstance(blocks, list) else [])
        if isinstance(block, dict) and block.get("type") == "text"
    )
    return [text for text in found if text]


def _user_id(metadata: bytes) -> Mapping[str, object]:
    """Claude Code's `metadata.user_id`: JSON in a string."""
    if not metadata:
        return {}
    try:
        outer = msgspec.json.decode(metadata)
        inner = outer.get("user_id") if isinstance(outer, dict) else None
        told = msgspec.json.decode(inner) if isinstance(inner, str) else None
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return {}
    return told if isinstance(told, dict) else {}


def _name(value: object) -> str:
    """A name as it may stand in a table: printable, at most 128 characters."""
    if not isinstance(value, str):
        return ""
    cut = value[:128]
    return cut if cut.isprintable() else "".join(char for char in cut if char.isprintable())


def account_of(head: Head, key: bytes) -> str:
    """A name for the credential of a request that says nothing else of its account: the same for the same credential,
    and nothing can be learned from it without the daemon's store key."""
    for name, shown in ((b"x-api-key", "key"), (b"authorization", "login")):
        secret = head.value(name)
        if secret:
            mark = hashlib.blake2b(secret, key=key[:64], digest_size=4, person=b"mesh-account").hexdigest()
            return f"{shown}-{mark}"
    return ""
