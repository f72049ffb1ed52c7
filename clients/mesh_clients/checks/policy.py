"""Settings of Claude Code that keep messages from sessions, in each file that it reads, the strongest first."""

import sys

from mesh_clients.checks.finding import Finding
from mesh_clients.install import claude
from mesh_clients.install.documents import read_document
from mesh_protocol.wire.errors import MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mesh_protocol.wire.codec import JsonValue

MANAGED = "/etc/claude-code" if sys.platform != "darwin" else "/Library/Application Support/ClaudeCode"
MANAGED_FILE = f"{MANAGED}/managed-settings.json"
INBOUND = "crossSessionInbound"
MEANS = {"hold": "hold what peers send until you let it in there", "refuse": "refuse what peers send"}


def check_policy(environ: "Mapping[str, str]", folder: str, managed: str = MANAGED_FILE) -> "Iterator[Finding]":
    """Of the sessions that are started in `folder`."""
    try:
        user = claude.find_paths(environ).settings
    except MeshError:
        return  # said where the registration is looked at
    inbound = False
    for path in (managed, f"{folder}/.claude/settings.local.json", f"{folder}/.claude/settings.json", user):
        try:
            settings = read_document(path).value
        except MeshError as error:
            if path != user:
                yield Finding("policy", "warn", error.message, "Claude Code passes it over: mend it")
            continue
        yield from switched_off(path, settings, owned=path == managed)
        word = settings.get(INBOUND)
        if not inbound and isinstance(word, str):
            inbound = True
            if word in MEANS:
                text = f"{path} makes sessions {MEANS[word]} ({INBOUND}: {word})"
                yield Finding("policy", "warn", text, f'set "{INBOUND}": "accept" there; until then agents have to ask')
        if path not in (user, managed):
            yield from redirected(path, settings, environ)


def switched_off(path: str, settings: "Mapping[str, JsonValue]", *, owned: bool) -> "Iterator[Finding]":
    if settings.get("disableAllHooks") is True:
        text = f"{path} switches all hooks and the status line off (disableAllHooks)"
        yield Finding("policy", "bad", text, "take disableAllHooks out of it")
    if owned and settings.get("allowManagedHooksOnly") is True:
        text = f"{path} lets no hooks run but its own (allowManagedHooksOnly): what sessions do is not known"
        yield Finding("policy", "bad", text, "ask whoever manages this machine to allow ours")


def redirected(path: str, settings: "Mapping[str, JsonValue]", environ: "Mapping[str, str]") -> "Iterator[Finding]":
    """A project that sets MESH_HOME for its sessions points them at another daemon."""
    env = settings.get("env")
    theirs = env.get("MESH_HOME") if isinstance(env, dict) else None
    if isinstance(theirs, str) and theirs != environ.get("MESH_HOME", ""):
        text = f"{path} sets MESH_HOME to {theirs}: sessions here that run mesh by name talk to another daemon"
        yield Finding("policy", "warn", text, "take it out, unless you put it there")
