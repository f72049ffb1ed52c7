"""What Claude Code's files say of us: MCP server, hooks and status line, of this version, once each, and not switched off."""

import os
import shutil

from mesh_clients.checks.finding import Finding
from mesh_clients.install import claude, programs
from mesh_clients.install.documents import read_document
from mesh_protocol.wire.errors import MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mesh_protocol.wire.codec import JsonValue

    Values = Mapping[str, JsonValue]

INSTALL = "mesh install"
PLUGIN = "mesh@"


def check_registration(environ: "Mapping[str, str]", home: str) -> "Iterator[Finding]":
    """MCP server, hooks and status line of the user's own configuration."""
    try:
        paths = claude.find_paths(environ)
        settings = read_document(paths.settings).value
        state = read_document(paths.state).value
    except MeshError as error:
        path = error.data.get("path")
        fix = f"python3 -m json.tool {path} names the place" if isinstance(path, str) else "set HOME"
        yield Finding("claude settings", "bad", error.message, fix)
        return
    plugin = has_plugin(settings)
    handlers = find_handlers(settings)
    server = programs.words_of(entry_of(state.get("mcpServers"), claude.SERVER))
    line = programs.words_of(settings.get("statusLine"))
    mine = any(handlers.values()) or is_ours(server, "mcp") or is_ours(line, "statusline")
    if not mine and not plugin:
        text = "Claude Code is not set up: only sessions that mesh launch starts can send and be shown anything"
        yield Finding("claude settings", "warn", text, INSTALL)
        return
    if plugin:
        yield check_plugin(environ, twice=any(handlers.values()) or is_ours(server, "mcp"))
    if mine:
        yield check_hooks(handlers, home, environ)
        yield check_command("MCP server", server, "mcp", home, environ)
    yield check_line(line, settings.get("statusLine"), home, environ)


def has_plugin(settings: "Values") -> bool:
    plugins = settings.get("enabledPlugins")
    return isinstance(plugins, dict) and any(name.startswith(PLUGIN) and plugins[name] for name in plugins)


def find_handlers(settings: "Values") -> "dict[str, list[list[str]]]":
    """Of each event that we use, the commands of ours, in their order."""
    hooks = settings.get("hooks")
    found: dict[str, list[list[str]]] = {event: [] for event in claude.EVENTS}
    for event in found:
        groups = hooks.get(event) if isinstance(hooks, dict) else None
        for group in groups if isinstance(groups, list) else ():
            handlers = group.get("hooks") if isinstance(group, dict) else None
            commands = [programs.words_of(each) for each in handlers] if isinstance(handlers, list) else []
            found[event] += [words for words in commands if is_ours(words, "hook")]
    return found


def entry_of(values: "JsonValue", name: str) -> "JsonValue":
    return values.get(name) if isinstance(values, dict) else None


def is_ours(words: "list[str]", verb: str) -> bool:
    return programs.is_hot_command(words, verb) or programs.is_named_command(words, verb)


def check_plugin(environ: "Mapping[str, str]", *, twice: bool) -> Finding:
    if twice:
        text = "the plugin mesh is enabled beside what mesh install wrote: each event is told twice"
        return Finding("plugin", "warn", text, "claude plugin uninstall mesh, or mesh uninstall")
    if shutil.which("mesh", path=environ.get("PATH")) is None:
        text = "the plugin runs mesh by its name, and no folder of PATH has it"
        return Finding("plugin", "bad", text, "add its folder to PATH, or: claude plugin uninstall mesh; mesh install")
    return Finding("plugin", "ok", "the plugin mesh brings MCP server and hooks")


def check_hooks(handlers: "dict[str, list[list[str]]]", home: str, environ: "Mapping[str, str]") -> Finding:
    missing = [event for event, commands in handlers.items() if not commands]
    if missing:
        text = f"no hook for {', '.join(missing)}: what sessions do is not known"
        return Finding("hooks", "bad" if len(missing) == len(handlers) else "warn", text, INSTALL)
    twice = [event for event, commands in handlers.items() if len(commands) > 1]
    if twice:
        return Finding(
            "hooks", "warn", f"{', '.join(twice)} told twice", "take one out of the settings, or mesh install"
        )
    for commands in handlers.values():
        finding = check_command("hooks", commands[0], "hook", home, environ)
        if finding.ok != "ok":
            return finding
    return Finding("hooks", "ok", f"{len(handlers)} events, as this version writes them")


def check_command(name: str, words: "list[str]", verb: str, home: str, environ: "Mapping[str, str]") -> Finding:
    """Whether a command of ours is there, can be run, and is this version's."""
    if not is_ours(words, verb):
        text = f"the settings name none: {'agents have no tools' if verb == 'mcp' else 'it is missing'}"
        return Finding(name, "bad", text, INSTALL)
    if programs.is_named_command(words, verb):
        if shutil.which(words[0], path=environ.get("PATH")) is None:
            return Finding(name, "bad", f"it runs {words[0]}, which no folder of PATH has", INSTALL)
        return Finding(name, "ok", f"{words[0]} {verb}, by its name")
    script = next(word for word in words if word.endswith(programs.SCRIPT))
    gone = next((path for path in (words[0], script) if not os.path.exists(path)), "")
    if gone:
        return Finding(name, "bad", f"it runs {gone}, which is gone", INSTALL)
    theirs = claude.option_of(words, "--home")
    if theirs != home:
        text = f"it talks to the daemon of {theirs or 'the usual home'}, and not to that of {home or 'the usual home'}"
        return Finding(name, "bad", text, INSTALL)
    wanted = programs.hot_command(verb, home)
    if words[: len(wanted)] != wanted:
        return Finding(name, "warn", f"it is another version's: {script}", INSTALL)
    return Finding(name, "ok", "as this version writes it")


def check_line(words: "list[str]", line: "JsonValue", home: str, environ: "Mapping[str, str]") -> Finding:
    if not is_ours(words, "statusline"):
        text = "Claude Code shows none of ours" if not words else f"Claude Code shows another: {words[0]}"
        return Finding("status line", "warn", text, INSTALL)
    finding = check_command("status line", words, "statusline", home, environ)
    within = claude.option_of(words, "--within")
    refresh = line.get("refreshInterval") if isinstance(line, dict) else None
    if finding.ok != "ok" or not isinstance(refresh, int | float) or not within.isdecimal():
        return finding
    if int(within) >= refresh * 1000:
        text = f"your own command may take {within} ms, and Claude Code ends it after {refresh} s: it is never shown"
        return Finding("status line", "warn", text, INSTALL)
    return finding
