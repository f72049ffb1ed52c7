"""Names and calls that are not used here, each with its reason; where one is needed, the place is listed.

A listed place that no longer needs it is taken out: the lists can only shrink.
"""

import ast
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

import pytest

from source_tree import AROUND, PACKAGES, Finding, Source, report, sample, sources

# Module names.

VAGUE = {"util", "utils", "common", "helper", "helpers", "manager", "managers", "base", "impl", "misc", "stuff", "lib"}


def vague_names(source: Source) -> Iterator[Finding]:
    why = "A module is named for the one thing it is: whatever goes into such a room, nobody finds it again"
    for part in PurePosixPath(source.path).with_suffix("").parts[1:]:
        words = set(part.split("_"))
        if part in VAGUE or words & {"utils", "helpers", "helper", "util", "misc", "impl"}:
            yield Finding(source.path, 1, f"is called {part}", why)


# Calls.


def calls(source: Source) -> Iterator[tuple[ast.Call, str]]:
    """Every call with the dotted name that is called; names imported by `from` are written out in full."""
    origin = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ImportFrom) and node.module and not node.level
        for alias in node.names
    }
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            first, dot, rest = name.partition(".")
            yield node, origin.get(first, first) + dot + rest


def shells(source: Source) -> Iterator[Finding]:
    why = "A shell reads its arguments as a program: pass a list of arguments"
    for node, name in calls(source):
        if name in ("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"):
            yield Finding(source.path, node.lineno, f"calls {name}", why)
        for keyword in node.keywords:
            if keyword.arg == "shell" and not (
                isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            ):
                yield Finding(source.path, node.lineno, "runs a shell", why)


RANDOM_MODULES = ("random", "secrets")
RANDOM = ("os.urandom", "os.getrandom", "uuid.uuid1", "uuid.uuid4", "uuid.getnode", "nacl.utils.random")


def randomness(source: Source) -> Iterator[Finding]:
    why = "Randomness is passed in, so that a seed gives the same history: take an rng (number of bytes) -> bytes"
    for node in ast.walk(source.tree):
        name = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
        if name in RANDOM:
            yield Finding(source.path, node.lineno, name, why)
        elif isinstance(node, ast.Attribute) and node.attr == "generate":
            yield Finding(source.path, node.lineno, ".generate", why + ", and make the key from it")
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            base = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                whole = base + alias.name
                if whole.partition(".")[0] in RANDOM_MODULES or whole in RANDOM:
                    yield Finding(source.path, node.lineno, whole, why)


WALL = ("time.time", "time.time_ns")
TODAY = ("now", "utcnow", "today")
WAITING = ("time.sleep", "time.monotonic", "time.monotonic_ns", "time.perf_counter")


def clocks(source: Source) -> Iterator[Finding]:
    why = "Time is passed in, so that it can be virtual: take a clock () -> epoch ms, or ask trio.current_time()"
    waiting = not source.path.startswith("clients/")  # a blocking client waits by the real clock
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            banned = name in WALL or (waiting and name in WAITING)
            if banned or (node.attr in TODAY and name.rpartition(".")[0].rpartition(".")[2] in ("datetime", "date")):
                yield Finding(source.path, node.lineno, name, why)
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield Finding(source.path, node.lineno, "from time import", "Write time.x, so that it can be found. " + why)


def endless_queues(source: Source) -> Iterator[Finding]:
    why = "Every queue has a bound and an owner: what grows without one ends the process"
    for node, name in calls(source):
        sizes = [*node.args, *(keyword.value for keyword in node.keywords)]
        if "open_memory_channel" in name and (not sizes or is_endless(sizes[0], source)):
            yield Finding(source.path, node.lineno, "a memory channel without a bound", why)
        if name.rpartition(".")[2] in ("SimpleQueue", "UnboundedQueue"):
            yield Finding(source.path, node.lineno, f"a {name}", why)
        if name in ("queue.Queue", "queue.LifoQueue", "queue.PriorityQueue") and not sizes:
            yield Finding(source.path, node.lineno, f"a {name} without a bound", why)


def is_endless(size: ast.expr, source: Source) -> bool:
    if isinstance(size, ast.Name):
        bound = [node.value for node in source.tree.body if is_assignment_to(node, size.id)]
        return any(value is not None and is_endless(value, source) for value in bound)
    text = ast.unparse(size)
    return text.endswith("inf") or "'inf'" in text


def is_assignment_to(node: ast.stmt, name: str) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)


READING = ("read_text", "read_bytes", "write_text", "write_bytes", "unlink", "mkdir", "touch", "rmdir")
OPENING = ("open", "io.open", "os.open", "os.fdopen", "os.unlink", "os.rename", "os.replace", "os.mkdir", "os.makedirs")


def files(source: Source) -> Iterator[Finding]:
    why = "Logic touches no files: read and write in the rooms made for it, and hand over bytes"
    if not source.path.startswith(("protocol/", "meshd/", "broker/")):  # a client is the edge itself
        return
    own = {node.name for node in source.tree.body if isinstance(node, ast.FunctionDef)}
    for node, name in calls(source):
        if (name in OPENING and name not in own) or (
            isinstance(node.func, ast.Attribute) and node.func.attr in READING
        ):
            yield Finding(source.path, node.lineno, f"calls {name}", why)


class Rule(NamedTuple):
    """`allowed` maps a path to the reason why the rule is suspended there."""

    find: Callable[[Source], Iterator[Finding]]
    folders: tuple[str, ...]
    allowed: dict[str, str]
    caught: tuple[tuple[str, str], ...]
    """(path, text) that it must catch."""
    passed: tuple[tuple[str, str], ...] = ()
    """(path, text) that it must let pass."""


RULES = {
    "vague names": Rule(
        vague_names,
        (*PACKAGES, *AROUND),
        {},
        (
            ("meshd/meshd/utils.py", ""),
            ("meshd/meshd/store/base.py", ""),
            ("tests/helpers/x.py", ""),
            ("meshd/meshd/string_utils.py", ""),
            ("broker/mesh_broker/manager.py", ""),
        ),
        (("meshd/meshd/outbox.py", ""), ("meshd/meshd/database.py", "")),
    ),
    "shells": Rule(
        shells,
        (*PACKAGES, *AROUND),
        {},
        (
            ("meshd/meshd/x.py", "subprocess.run(command, shell=True)"),
            ("meshd/meshd/x.py", "subprocess.run(command, shell=flag)"),
            ("meshd/meshd/x.py", "os.system('ls')"),
            ("meshd/meshd/x.py", "from os import system\nsystem('ls')"),
        ),
        (("meshd/meshd/x.py", "subprocess.run(['ls'], shell=False)"),),
    ),
    "randomness": Rule(
        randomness,
        PACKAGES,
        {
            "meshd/meshd/__main__.py": "the daemon's wiring",
            "meshd/meshd/serving.py": "the daemon's wiring",
            "broker/mesh_broker/app.py": "the broker's wiring",
            "clients/mesh_clients/cli/send.py": "a command is its own wiring: the key of a request that may be repeated",
        },
        (
            ("meshd/meshd/x.py", "import random"),
            ("meshd/meshd/x.py", "from secrets import token_bytes"),
            ("meshd/meshd/x.py", "key = os.urandom(32)"),
            ("meshd/meshd/x.py", "run(rng=os.urandom)"),
            ("meshd/meshd/x.py", "from os import urandom"),
            ("meshd/meshd/x.py", "name = uuid.uuid4()"),
            ("meshd/meshd/x.py", "key = X25519PrivateKey.generate()"),
        ),
        (("meshd/meshd/x.py", "import uuid\nname = uuid.UUID(bytes=rng(16), version=4)"),),
    ),
    "clocks": Rule(
        clocks,
        PACKAGES,
        {
            "meshd/meshd/__main__.py": "the daemon's wiring",
            "broker/mesh_broker/app.py": "the broker's wiring",
            "protocol/mesh_protocol/io/blocking.py": "a blocking client waits by the real clock; it is a parameter",
            "clients/mesh_clients/start.py": "a failed start is remembered by the wall clock; it is a parameter",
        },
        (
            ("meshd/meshd/x.py", "now = time.time()"),
            ("meshd/meshd/x.py", "def f(clock=time.time_ns): pass"),
            ("meshd/meshd/x.py", "from time import time"),
            ("meshd/meshd/x.py", "now = datetime.datetime.now(UTC)"),
            ("meshd/meshd/x.py", "day = date.today()"),
            ("meshd/meshd/x.py", "time.sleep(1)"),
            ("clients/mesh_clients/x.py", "now = time.time()"),
        ),
        (
            ("clients/mesh_clients/x.py", "deadline = time.monotonic() + 3"),
            ("meshd/meshd/x.py", "now = trio.current_time()\nlater = self.clock.now()"),
        ),
    ),
    "endless queues": Rule(
        endless_queues,
        (*PACKAGES, *AROUND),
        {},
        (
            ("meshd/meshd/x.py", "trio.open_memory_channel(math.inf)"),
            ("meshd/meshd/x.py", "trio.open_memory_channel[bytes](math.inf)"),
            ("meshd/meshd/x.py", "from trio import open_memory_channel\nopen_memory_channel(float('inf'))"),
            ("meshd/meshd/x.py", "ROOM = math.inf\ntrio.open_memory_channel(ROOM)"),
            ("meshd/meshd/x.py", "trio.open_memory_channel(max_buffer_size=math.inf)"),
            ("meshd/meshd/x.py", "q = queue.SimpleQueue()"),
            ("meshd/meshd/x.py", "from queue import Queue\nq = Queue()"),
        ),
        (
            ("meshd/meshd/x.py", "trio.open_memory_channel(0)"),
            ("meshd/meshd/x.py", "ROOM = 64\ntrio.open_memory_channel[bytes](ROOM)"),
            ("meshd/meshd/x.py", "q = queue.Queue(64)"),
        ),
    ),
    "files": Rule(
        files,
        PACKAGES,
        {
            "protocol/mesh_protocol/io/blocking.py": "a socket's folder, when its path is longer than an address",
            "protocol/mesh_protocol/io/sqlite.py": "makes the database file, readable by its owner alone",
            "meshd/meshd/claude/inbox.py": "a socket's folder, followed by descriptor so that no link can be put in its way",
            "meshd/meshd/claude/listener.py": "sockets in a session's folder, by descriptor: made, looked at and removed",
            "meshd/meshd/claude/registry.py": "reads Claude Code's registry of sessions",
            "meshd/meshd/claude/transcript.py": "reads Claude Code's transcripts",
            "meshd/meshd/embedded.py": "makes the embedded broker's folder",
            "meshd/meshd/instance.py": "the lock, the socket and the file that says where it is",
            "meshd/meshd/keys/passphrase.py": "reads the credential that systemd gives to the service",
            "meshd/meshd/local_disk.py": "tries whether the disk can hold what is promised",
            "meshd/meshd/log.py": "the log files",
            "meshd/meshd/paths.py": "judges the daemon's folders",
            "meshd/meshd/private_files.py": "the one way to write a private file",
            "meshd/meshd/processes.py": "reads /proc",
            "broker/mesh_broker/folder.py": "the broker's folder and its lock",
            "broker/mesh_broker/keyfile.py": "the broker's key and token",
            "broker/mesh_broker/listener.py": "a spare descriptor for the day when there is no other",
        },
        (
            ("protocol/mesh_protocol/x.py", "open('x')"),
            ("meshd/meshd/x.py", "with open(path) as file: pass"),
            ("meshd/meshd/x.py", "Path('x').read_text()"),
            ("broker/mesh_broker/x.py", "descriptor = os.open(path, os.O_RDONLY)"),
            ("broker/mesh_broker/x.py", "from os import open as os_open\nos_open(path, 0)"),
        ),
        (
            ("protocol/mesh_protocol/x.py", "def open(key): pass\nopen(1)\nhpke.open(key, info, enc, ct)"),
            ("clients/mesh_clients/x.py", "open('x')"),
        ),
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_holds(name):
    rule = RULES[name]
    findings = [
        finding for source in sources(*rule.folders) for finding in rule.find(source) if source.path not in rule.allowed
    ]
    assert not findings, report(findings)


@pytest.mark.parametrize("name", RULES)
def test_no_place_is_excused_that_needs_no_excuse(name):
    rule = RULES[name]
    needed = {source.path for source in sources(*rule.folders) if any(rule.find(source))}
    assert not rule.allowed.keys() - needed, "take these out of the list"


@pytest.mark.parametrize(
    ("name", "path", "text"), [(name, *case) for name, rule in RULES.items() for case in rule.caught]
)
def test_a_rule_catches_what_it_is_for(name, path, text):
    assert [*RULES[name].find(sample(path, text))]


@pytest.mark.parametrize(
    ("name", "path", "text"), [(name, *case) for name, rule in RULES.items() for case in rule.passed]
)
def test_a_rule_lets_honest_code_pass(name, path, text):
    assert not [*RULES[name].find(sample(path, text))]
