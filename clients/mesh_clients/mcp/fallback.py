"""What the relay answers by itself when no daemon comes. The only part of it that parses JSON."""

import json

from mesh_clients.mcp.lines import refuse

REVISIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""The revisions of MCP that the daemon speaks, newest first."""
HELP = "mesh_help"

_TOOL = {
    "name": HELP,
    "description": "The mesh daemon of this machine does not run, so no messages can be sent or received now. Call this "
    "to learn why and what mends it.",
    "inputSchema": {"type": "object", "properties": {}, "additionalProperties": False},
    "annotations": {"readOnlyHint": True},
}


def answer_line(line: bytes, reason: str, *, sent: bool, build: str) -> bytes:
    """The answer to the request in `line`. `sent` says that a daemon had it before it went away."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        return refuse(b"", -32700, b"Parse error")
    params = request.get("params")
    if not isinstance(params, dict):
        params = {}
    method = request.get("method")
    result: dict[str, object]
    if method == "initialize":
        asked = params.get("protocolVersion")
        result = {
            "protocolVersion": asked if asked in REVISIONS else REVISIONS[0],
            # As the daemon declares them: it takes over this connection when it is back.
            "capabilities": {
                "tools": {"listChanged": True},
                "prompts": {"listChanged": True},
                "experimental": {"claude/channel": {}},
            },
            "serverInfo": {"name": "meshd", "version": build},
            "instructions": f"The mesh daemon does not run: no messages can be sent or received. Call {HELP}.",
        }
    elif method == "ping":
        result = {}
    elif method == "tools/list":
        result = {"tools": [_TOOL]}
    elif method == "prompts/list":
        result = {"prompts": []}
    elif method == "tools/call":
        called = params.get("name") == HELP
        text = help_text(reason) if called else refusal_text(reason, sent=sent)
        result = {"content": [{"type": "text", "text": text}], "isError": not called}
    else:
        return refuse(json.dumps(request.get("id")).encode(), -32601, b"Method not found")
    return json.dumps({"jsonrpc": "2.0", "id": request.get("id"), "result": result}, separators=(",", ":")).encode()


def help_text(reason: str) -> str:
    return (
        f"The mesh daemon of this machine does not run ({reason}). Messages to you wait at their senders or at the "
        "broker; nothing is lost. Ask your user to run in a terminal of his own:\n"
        "  mesh up        starts it\n"
        "  mesh doctor    says what is wrong, if that fails\n"
        "The mesh tools come back by themselves as soon as it runs."
    )


def refusal_text(reason: str, *, sent: bool) -> str:
    if sent:
        return (
            f"The mesh daemon stopped while it had this call, and did not come back ({reason}). Whether it was carried out "
            "is not known: look with message_status or check_messages when the daemon runs again, before you repeat it."
        )
    return f"Nothing was done: the mesh daemon does not run ({reason}). Call {HELP}, or try again in a moment."
