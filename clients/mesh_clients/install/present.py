"""Whether Claude Code starts our MCP server by itself, and how one session gets it without."""

import json

from mesh_clients.install import claude, programs
from mesh_clients.install.documents import read_document
from mesh_protocol.wire.errors import MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def is_set_up(environ: "Mapping[str, str]") -> bool:
    """By mesh install, by hand, or as a plugin. Whatever cannot be read is left to mesh install to complain of."""
    try:
        paths = claude.find_paths(environ)
        servers = read_document(paths.state).value.get("mcpServers")
        plugins = read_document(paths.settings).value.get("enabledPlugins")
    except MeshError:
        return True
    if isinstance(servers, dict) and claude.SERVER in servers:
        return True
    return isinstance(plugins, dict) and any(name.startswith("mesh@") and value for name, value in plugins.items())


def lend_server(environ: "Mapping[str, str]") -> str:
    """The argument with which one session of Claude Code has our MCP server."""
    command, *args = programs.hot_command("mcp", programs.own_home(environ))
    server = {"mcpServers": {claude.SERVER: {"type": "stdio", "command": command, "args": args}}}
    # With = and not behind a blank, where it would take the words that follow for more of these.
    return f"--mcp-config={json.dumps(server)}"
