"""What the thin clients inside Claude Code call. Their payload is the raw standard input, in the body: the daemon parses it."""

from typing import Annotated

import msgspec

from mesh_protocol.op import Answer, Request, Tier, op
from mesh_protocol.ops.fields import Short

Env = Annotated[dict[Short, Annotated[str, msgspec.Meta(max_length=4096)]], msgspec.Meta(max_length=8)]
ENVIRONMENT = (
    "CLAUDE_CONFIG_DIR",
    "HOME",
    "CLAUDE_CODE_SESSION_ID",
    "CLAUDE_PROJECT_DIR",
    "CLAUDE_CODE_TMPDIR",
    "MESH",
)
"""The only variables of a client's environment that are ever sent, never the whole of it."""


class TextAnswer(Answer, frozen=True):
    """Body: the bytes to print."""

    exit: int


@op("statusline", answer=TextAnswer, tier=Tier.STATUS, drops_unknown=True)
class StatusLine(Request, frozen=True):
    """One line on the mesh, at most `columns` wide. Body: the JSON that Claude Code gives a status line.

    `layout` is full, short or minimal, empty for the configuration's; `plain`: without any style.
    """

    columns: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 0
    layout: Short = ""
    plain: bool = False
    env: Env = {}


@op("hook", answer=TextAnswer, tier=Tier.AGENT, drops_unknown=True)
class Hook(Request, frozen=True):
    """Take in a hook event. Body: the JSON that Claude Code gives a hook."""

    env: Env = {}


class McpAnswer(Answer, frozen=True):
    """From now on each JSON-RPC line, without its line feed, travels as the body of a notification `mcp.line`, both ways."""

    session: str


@op("mcp.open", answer=McpAnswer, tier=Tier.AGENT, drops_unknown=True)
class McpOpen(Request, frozen=True):
    """Speak MCP on this connection."""

    env: Env = {}
    cwd: Annotated[str, msgspec.Meta(max_length=4096)] = ""


MCP_LINE = "mcp.line"
