"""What Claude Code tells a hook, and what a hook may answer. Pure.

Tried on 2.1.329: context that UserPromptSubmit, PostToolUse or Stop return is given to the model; after Stop a turn begins
with it, and the next Stop says `stop_hook_active`. What an `async` hook returns comes with the next request.
"""

import json
import re
from typing import Final, NamedTuple

MAX_HOOK: Final = 1024 * 1024
MAX_CONTEXT: Final = 9_500
"""Characters of context in one answer: Claude Code cuts at 10,000, and what is cut has no end mark."""
CONTEXT_EVENTS: Final = frozenset({"UserPromptSubmit", "PostToolUse", "Stop"})
"""Events whose answer may hold context."""

_WORDS: Final = {
    "UserPromptSubmit": "working",
    "PreToolUse": "working",
    "PostToolUse": "working",
    "PostToolUseFailure": "working",
    "PermissionDenied": "working",
    "SubagentStart": "working",
    "Stop": "idle",
    "StopFailure": "idle",
}
"""What an event says about its session. Others, SubagentStop and SessionEnd among them, only show that it lives: the end of
a session is told by its process."""
_NOTICES: Final = {
    "permission_prompt": "waiting",
    "elicitation_dialog": "waiting",
    "agent_needs_input": "waiting",
    "idle_prompt": "idle",
}
ASKS: Final = "PermissionRequest"
"""Comes before Claude Code knows whether a rule, a mode or another hook answers for the person."""
_INSIDE: Final = frozenset({"Stop", "StopFailure", "UserPromptSubmit"})
"""Events that within a sub-agent say nothing of the session itself."""
_CODE: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")


class HookEvent(NamedTuple):
    """One event. `agent`: it happened within a sub-agent. `notice`: what a Notification is about; `error`: why a turn
    failed, both as Claude names them, or empty. `again`: a Stop of a turn that a hook at Stop had begun."""

    name: str
    agent: bool = False
    notice: str = ""
    error: str = ""
    again: bool = False

    @property
    def word(self) -> str | None:
        """The status it tells of: idle, working, or waiting (for its person); None for none."""
        if self.agent and self.name in _INSIDE:
            return None
        return _NOTICES.get(self.notice) if self.name == "Notification" else _WORDS.get(self.name)

    @property
    def takes_context(self) -> bool:
        """Its answer reaches the model of the session itself, and begins no turn for the second time."""
        return self.name in CONTEXT_EVENTS and not self.agent and not self.again


def parse_hook(body: bytes) -> HookEvent:
    """The event of a hook's standard input; one with an empty name for what is none."""
    try:
        told: object = json.loads(body[:MAX_HOOK])
    except (ValueError, RecursionError):
        return HookEvent("")
    if not isinstance(told, dict):
        return HookEvent("")
    name, notice, error = (told.get(key) for key in ("hook_event_name", "notification_type", "error"))
    if not isinstance(name, str):
        return HookEvent("")
    return HookEvent(
        name,
        agent=isinstance(told.get("agent_id"), str),
        notice=notice if isinstance(notice, str) else "",
        error=error if isinstance(error, str) and _CODE.fullmatch(error) else "",
        again=told.get("stop_hook_active") is True,
    )


def write_context(event: HookEvent, context: str) -> bytes:
    """The answer that gives `context` to the model."""
    answer = {"hookSpecificOutput": {"hookEventName": event.name, "additionalContext": context}}
    return json.dumps(answer).encode()
