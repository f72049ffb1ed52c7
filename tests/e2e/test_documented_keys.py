"""docs/cli.md says which keys each command's --json document has; here the commands say it themselves."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from homes import MESH, Home, StandIn, open_broker, open_home, wait_until
from mesh_clients.cli import own

pytestmark = pytest.mark.slow

MANUAL = Path(__file__).parents[2] / "docs" / "cli.md"
TEXT_ONLY = {"help", "mcp", "statusline", "hook"}
OWN_LISTS = ("trust list", "held")
ELSEWHERE = {
    *("install", "uninstall", "completion", "outbox cancel", "outbox requeue", "held release", "conversation"),
    *("guard on", "guard off", "token create", "token revoke"),
    *(
        "launch",
        "open",
        "member remove",
        "device revoke",
        "invite approve",
        "invite deny",
        "device link",
        "device join",
        "device restore",
        "resolve",
    ),
}
"""What needs more than this story has; their own tests look at their documents."""


GRANTED = {
    "member rights": (),
    "member allow": ("bob", "invite"),
    "member deny": ("bob", "invite"),
    "grants": (),
    "revoke": ("bob", "dm"),
    "grant": ("bob", "dm"),
    "block": ("bob",),
    "unblock": ("bob",),
    "guard status": (),
    "token list": (),
}
"""What is asked about members and peers, with its arguments."""


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Home, Home, str]]:
    """Two machines with nothing on them yet, and a broker's URL."""
    with open_broker(tmp_path) as url, open_home(tmp_path, "alice") as alice, open_home(tmp_path, "bob") as bob:
        yield alice, bob, url


def documented() -> dict[str, set[str]]:
    """Verb → keys, those of rows behind their list's name."""
    found: dict[str, set[str]] = {}
    for section in re.split(r"^### mesh ", MANUAL.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        verb = section.partition("\n")[0].removesuffix("*(guarded)*").strip()
        if verb not in TEXT_ONLY:
            found[verb] = {*re.findall(r"^\| `([\w.\[\]]+)` \|", section.partition("\n## ")[0], re.MULTILINE)}
    return found


def require_keys(document: dict[str, object], keys: set[str], where: str) -> None:
    """A document has the keys that are named, and each row of its lists those that are named behind the list's name."""
    assert document.keys() == {key.partition("[")[0] for key in keys}, where
    for name, value in document.items():
        rows = {key.partition("[].")[2] for key in keys if key.startswith(f"{name}[].")}
        if rows:
            assert isinstance(value, list), where
            for row in value:
                require_keys(row, rows, f"{where}: {name}")


def test_every_document_has_the_keys_that_its_manual_names(pair: tuple[Home, Home, str]) -> None:
    alice, bob, url = pair
    said: dict[str, dict[str, object]] = {"up": alice.json("up")}
    said["new"] = alice.json("new", "team", "--name", "alice", "--broker", url)
    said["invite"] = alice.json("invite")
    said["invites"] = alice.json("invites", "--all")
    said["join"] = bob.json("join", str(said["invite"]["url"]), "--name", "bob", "--wait", "20")
    report = alice.folder / "report.txt"
    report.write_text("all is well")
    said["send"] = alice.json("send", "bob", "hello @bob", "--wait", "stored", "--timeout", "20", "--file", str(report))
    said["inbox"] = bob.json("inbox", "--wait", "10")
    wait_until(lambda: len(alice.json("peers")["peers"]) == 2)
    with StandIn(alice, [MESH, "mcp"]) as session:
        session.greet()
        wait_until(lambda: alice.json("sessions")["sessions"])
        said["group join"] = alice.json("group", "join", "web/ui", "--session", "web", "--role", "lead")
        for verb in ("list", "peers", "status", "unlock", "version", "sessions", "group list", "outbox", *OWN_LISTS):
            said[verb] = alice.json(*verb.split())
        said["mode"] = alice.json("mode", "inbox", "--session", "web")
        said["why"] = alice.json("why", "web")
        said["group leave"] = alice.json("group", "leave", "web/ui", "--session", "web")
    said["trust"] = alice.json("trust", "hold", "bob")
    said["message"] = alice.json("message", str(said["send"]["id"]))
    said["thread"] = alice.json("thread", str(said["send"]["id"]))
    said["doctor"] = alice.json("doctor")
    said["invite close"] = alice.json("invite", "close", str(alice.json("invite")["id"])[:8])
    said |= key_documents(alice)
    said |= member_documents(alice)
    said |= proxy_documents(alice)
    said["leave"] = alice.json("leave", "--yes")
    said["down"] = alice.json("down")
    manual = documented()
    assert manual.keys() - said.keys() == ELSEWHERE
    for verb, document in said.items():
        require_keys(document, manual[verb], verb)
    assert manual.keys() | TEXT_ONLY == {name for _, names in own.ORDER for name in names}


def key_documents(alice: Home) -> dict[str, dict[str, object]]:
    """What the commands about keys and backups say; the backup is of a machine that is in its mesh already."""
    said: dict[str, dict[str, object]] = {}
    for line in ("keys protect", "keys unprotect", "backup file", "backup check file", "restore file"):
        done = alice.run(*line.split(), "--json", text="correct horse\n")
        assert done.returncode == 0, done.stderr
        said[line.removesuffix(" file")] = json.loads(done.stdout)
    return said | {verb: alice.json(*verb.split()) for verb in ("keys status", "keys recovery")}


def member_documents(alice: Home) -> dict[str, dict[str, object]]:
    """What the commands about members say, up to the removal of the other one, and what of it stands in the log."""
    said: dict[str, dict[str, object]] = {}
    for verb, rest in GRANTED.items():
        said[verb] = alice.json(*verb.split(), *rest)
    for line in ("member list", "device list", "verify bob", "role bob admin", "kick bob", "ban bob", "unban bob"):
        words = line.split()
        verb = line if words[-1] == "list" else words[0]
        said[verb] = alice.json(*words)
    for verb in ("audit", "audit verify", "templates", "prompts", "member removals"):
        said[verb] = alice.json(*verb.split())
    return said


def proxy_documents(alice: Home) -> dict[str, dict[str, object]]:
    """What the commands of the API proxy say."""
    (alice.folder / ".claude").mkdir(exist_ok=True)
    said = {"proxy on": alice.json("proxy", "on"), "budget set": alice.json("budget", "set", "5")}
    for verb in (
        "proxy status",
        "proxy env",
        "usage",
        "usage import",
        "usage reconcile",
        "usage reprice",
        "conversations",
        "budget",
    ):
        said[verb] = alice.json(*verb.split())
    for line in ("allow ci", "clients", "revoke ci", "accounts"):
        said[f"proxy {line.split()[0]}"] = alice.json("proxy", *line.split())
    done = alice.run("proxy", "account", "work", "--json", text="sk-of-work\n")
    assert done.returncode == 0, done.stderr
    said["proxy account"] = json.loads(done.stdout)
    said["proxy drop"] = alice.json("proxy", "drop", "work")
    said["budget allow"] = alice.json("budget", "allow", "1")
    said["budget remove"] = alice.json("budget", "remove", "1")
    return said | {"proxy forget": alice.json("proxy", "forget"), "proxy off": alice.json("proxy", "off")}


def test_a_failure_is_a_document_too(tmp_path: Path) -> None:
    with open_home(tmp_path, "alice") as alice:
        done = alice.run("list", "--no-start", "--json")
    assert done.returncode == 69
    error = json.loads(done.stdout)["error"]
    assert error.keys() == {"code", "message", "data"}
    assert done.stderr.count("\n") == 1
