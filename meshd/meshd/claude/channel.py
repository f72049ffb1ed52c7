"""Channels, Claude Code's own way for an MCP server to speak first: what is declared, and what is sent. Pure.

A server declares the capability, and sends a notification, which the session shows as `<channel source=… k="v">`. The
person allows it when he starts the session, by a flag that names the server. Claude Code 2.1.329 offers channels only to
whom its vendor has switched them on for, logged in there: what a session does with the notification could not be tried.
It is never answered, and is dropped unsaid by a session that does not take channels.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from meshd.claude.frame import Framed, Sender, clean_name
from meshd.claude.marks import PushId

CAPABILITY: Final = "claude/channel"
NOTIFICATION: Final = "notifications/claude/channel"
PUSH_KEY: Final = "push_id"
"""The name under which the push id stands in `meta`."""

_FLAGS: Final = ("--channels", "--dangerously-load-development-channels")
_OURS: Final = re.compile(r"server:mesh|plugin:mesh@[A-Za-z0-9._-]{1,64}")
_KEY: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def names_channel(arguments: Sequence[str]) -> bool:
    """Whether the arguments of a Claude Code process let our server speak by a channel: `--channels server:mesh`."""
    taking = False
    for argument in arguments[1:]:
        flag, equals, value = argument.partition("=")
        if argument.startswith("-"):
            taking = flag in _FLAGS and not equals
            if flag in _FLAGS and _OURS.fullmatch(value):
                return True
        elif taking and _OURS.fullmatch(argument):
            return True
    return False


def channel_params(push_id: PushId, sender: Sender, framed: Framed) -> Mapping[str, object]:
    """The notification's parameters. In `meta` both sides of each pair must be strings; others are dropped unsaid."""
    meta = {PUSH_KEY: str(push_id), "sender": clean_name(sender.address)}
    if not all(_KEY.fullmatch(key) for key in meta):
        raise ValueError("a name that Claude Code would drop")
    return {"content": framed.text, "meta": meta}
