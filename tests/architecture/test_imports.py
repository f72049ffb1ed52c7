"""Who may import what, over our own files, with the reason of each fence.

By syntax and not by `sys.modules`: what a library imports for itself is its own business.
"""

import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from source_tree import Finding, Source, imports, report, sample, sources, within


class Fence(NamedTuple):
    """`applies` to a path and forbids a module when `refuses` it; `why` is what the reader of a failure is told."""

    name: str
    applies: Callable[[str], bool]
    refuses: Callable[[str], bool]
    why: str
    types_too: bool = True


def below(*folders: str, without: tuple[str, ...] = ()) -> Callable[[str], bool]:
    return lambda path: path.startswith(folders) and not path.startswith(without)


def any_of(*roots: str) -> Callable[[str], bool]:
    return lambda name: within(name, *roots)


def words(text: str) -> list[str]:
    return text.split()


def all_but(*roots: str) -> Callable[[str], bool]:
    return lambda name: not within(name, *roots)


def own_but(*roots: str) -> Callable[[str], bool]:
    """Modules of this repository, without `roots`."""
    ours = ("mesh_protocol", "meshd", "mesh_broker", "mesh_clients")
    return lambda name: within(name, *ours) and not within(name, *roots)


def third_party_but(*roots: str) -> Callable[[str], bool]:
    ours = ("mesh_protocol", "meshd", "mesh_broker", "mesh_clients")
    return lambda name: name.partition(".")[0] not in sys.stdlib_module_names and not within(name, *ours, *roots)


PROTOCOL = "protocol/mesh_protocol/"
WIRE = PROTOCOL + "wire/"
IO = PROTOCOL + "io/"
CLIENTS = "clients/"
THIN = ("clients/bin/mesh", "clients/mesh_clients/hot.py", "clients/mesh_clients/thin.py")

FENCES = [
    Fence(
        "the daemon imports neither broker nor clients",
        below("meshd/"),
        any_of("mesh_broker", "mesh_clients"),
        "Daemon, broker and clients meet only through bytes; what they share belongs to mesh_protocol. "
        "The embedded broker is loaded by the module name in the configuration",
    ),
    Fence(
        "the broker imports neither daemon nor clients",
        below("broker/"),
        any_of("meshd", "mesh_clients"),
        "The broker is blind and runs alone; what it shares with the others belongs to mesh_protocol",
    ),
    Fence(
        "the protocol imports nobody above it",
        below("protocol/"),
        any_of("meshd", "mesh_broker", "mesh_clients"),
        "Imports go down only: the protocol is the ground of the three",
    ),
    Fence(
        "the protocol does no I/O",
        below(PROTOCOL, without=(IO,)),
        any_of(
            *words(
                "trio trio_websocket websockets socket _socket ssl select selectors sqlite3 apsw time os posix subprocess threading signal tempfile shutil pathlib asyncio"
            )
        ),
        "Logic decides without I/O, time or environment, so that it runs in a simulator and in any program: "
        "pass the value in, or put the pump in mesh_protocol/io",
    ),
    Fence(
        "the pumps stay below the protocol's logic",
        below(IO),
        own_but("mesh_protocol.io", "mesh_protocol.wire", "mesh_protocol.ids", "mesh_protocol.crashpoints"),
        "The pumps know bytes and frames; keys, chains and operations are built on them, not they on those",
    ),
    Fence(
        "the wire is the standard library and msgpack",
        below(WIRE),
        third_party_but("msgpack"),
        "Clients load it at every start; msgspec alone would triple the start of a command",
    ),
    Fence(
        "the wire stands alone",
        below(WIRE),
        own_but("mesh_protocol.wire"),
        "What the wire imports, every client imports",
    ),
    Fence(
        "what every command loads is loaded fast",
        below(WIRE, IO + "blocking.py"),
        any_of(
            *words(
                "typing dataclasses enum re json inspect contextlib pathlib socket selectors threading asyncio logging trio datetime importlib"
            )
        ),
        "A command may take three bare starts in all (typing alone costs nearly one): "
        "import for types under TYPE_CHECKING, records from wire/record.py, _socket for socket",
        types_too=False,
    ),
    Fence(
        "the blocking pump is the wire's",
        below(IO + "blocking.py"),
        own_but("mesh_protocol.wire"),
        "The clients' connection must not bring trio along",
    ),
    Fence(
        "clients know the wire and the blocking pump alone",
        below(CLIENTS),
        own_but("mesh_clients", "mesh_protocol.wire", "mesh_protocol.io.blocking"),
        "Clients hold no keys and no rules: the daemon has both, and they ask it",
    ),
    Fence(
        "clients are thin",
        below(CLIENTS),
        third_party_but("msgpack"),
        "Every library is paid for at every start of a command",
    ),
    Fence(
        "clients run no event loop",
        below(CLIENTS),
        any_of("asyncio", "threading", "multiprocessing", "concurrent", "sqlite3"),
        "A client is one blocking connection; waiting for two things is select",
    ),
    Fence(
        "hot commands load built-in modules only",
        lambda path: path in THIN,
        all_but("mesh_clients", "_socket", *sys.builtin_module_names),
        "The status line and the hooks run many times a minute: no file is read but their own",
        types_too=False,
    ),
    Fence(
        "one event loop",
        below("protocol/", "meshd/", "broker/"),
        any_of("asyncio", "anyio", "curio", "twisted", "gevent"),
        "Everything that waits is trio's, so that one MockClock and one cancellation rule hold",
    ),
    Fence(
        "SQLite goes through one door",
        below("protocol/", "meshd/", "broker/", "clients/", without=(IO,)),
        any_of("sqlite3"),
        "mesh_protocol.io.sqlite sets the durability that receipts promise",
    ),
    Fence(
        "private keys stay in their room",
        below("meshd/", without=("meshd/meshd/keys/",)),
        any_of("keyring", "nacl"),
        "meshd/keys is the only code of the daemon that sees private bytes",
    ),
]


def broken(fence: Fence, source: Source) -> list[Finding]:
    if not fence.applies(source.path):
        return []
    return [
        Finding(source.path, line, f"imports {name}", fence.why)
        for line, name, for_types in imports(source)
        if fence.refuses(name) and (fence.types_too or not for_types) and name != "__future__.annotations"
    ]


@pytest.mark.parametrize("fence", FENCES, ids=lambda fence: fence.name)
def test_a_fence_holds(fence):
    findings = [finding for source in sources() for finding in broken(fence, source)]
    assert not findings, report(findings)


@pytest.mark.parametrize("fence", FENCES, ids=lambda fence: fence.name)
def test_a_fence_stands_around_something(fence):
    """A fence around a folder that was renamed would hold for ever."""
    assert any(fence.applies(source.path) for source in sources())


SAMPLES = [
    ("the daemon imports neither broker nor clients", "meshd/meshd/x.py", "import mesh_broker.app"),
    ("the daemon imports neither broker nor clients", "meshd/meshd/x.py", "from mesh_clients import render"),
    ("the daemon imports neither broker nor clients", "meshd/meshd/x.py", "importlib.import_module('mesh_broker.app')"),
    ("the broker imports neither daemon nor clients", "broker/mesh_broker/x.py", "def f():\n    import meshd.app"),
    ("the protocol imports nobody above it", "protocol/mesh_protocol/io/x.py", "from meshd import keys"),
    ("the protocol does no I/O", "protocol/mesh_protocol/x.py", "import trio"),
    ("the protocol does no I/O", "protocol/mesh_protocol/ops/x.py", "from os import environ"),
    ("the protocol does no I/O", "protocol/mesh_protocol/x.py", "if TYPE_CHECKING:\n    import socket"),
    (
        "the pumps stay below the protocol's logic",
        "protocol/mesh_protocol/io/x.py",
        "from mesh_protocol.keys import verify",
    ),
    ("the pumps stay below the protocol's logic", "protocol/mesh_protocol/io/x.py", "from ..keys import verify"),
    ("the pumps stay below the protocol's logic", "protocol/mesh_protocol/io/x.py", "from .. import chain"),
    ("the wire is the standard library and msgpack", "protocol/mesh_protocol/wire/x.py", "import msgspec"),
    ("the wire stands alone", "protocol/mesh_protocol/wire/x.py", "from mesh_protocol.op import Request"),
    ("what every command loads is loaded fast", "protocol/mesh_protocol/wire/x.py", "from typing import Final"),
    ("what every command loads is loaded fast", "protocol/mesh_protocol/io/blocking.py", "import socket"),
    (
        "the blocking pump is the wire's",
        "protocol/mesh_protocol/io/blocking.py",
        "from mesh_protocol.io.link import Link",
    ),
    (
        "clients know the wire and the blocking pump alone",
        "clients/mesh_clients/x.py",
        "from mesh_protocol.io import stream",
    ),
    ("clients know the wire and the blocking pump alone", "clients/mesh_clients/x.py", "from mesh_protocol import op"),
    ("clients are thin", "clients/mesh_clients/x.py", "import trio"),
    ("clients are thin", "clients/bin/mesh", "import click"),
    ("clients run no event loop", "clients/mesh_clients/x.py", "import threading"),
    ("hot commands load built-in modules only", "clients/mesh_clients/thin.py", "import json"),
    ("one event loop", "meshd/meshd/x.py", "import asyncio"),
    ("SQLite goes through one door", "broker/mesh_broker/x.py", "import sqlite3"),
    ("private keys stay in their room", "meshd/meshd/x.py", "import nacl.signing"),
]


@pytest.mark.parametrize(("name", "path", "text"), SAMPLES)
def test_a_fence_catches_what_it_is_for(name, path, text):
    [fence] = [fence for fence in FENCES if fence.name == name]
    [finding, *_] = broken(fence, sample(path, text))
    assert fence.why in str(finding)


def test_every_fence_has_such_a_sample():
    assert {fence.name for fence in FENCES} == {name for name, _, _ in SAMPLES}


ALLOWED = [
    (
        "protocol/mesh_protocol/wire/x.py",
        "from __future__ import annotations\nimport msgpack\nfrom collections import deque",
    ),
    ("protocol/mesh_protocol/wire/x.py", "if TYPE_CHECKING:\n    from typing import Final"),
    (
        "protocol/mesh_protocol/io/x.py",
        "import trio, apsw\nfrom mesh_protocol.wire.rpc import Peer\nfrom .link import Link",
    ),
    (
        "clients/mesh_clients/x.py",
        "import _socket, os\nfrom mesh_protocol.wire.errors import CODES\nfrom . import render",
    ),
    ("clients/mesh_clients/thin.py", "import _socket, posix, sys"),
    ("meshd/meshd/x.py", "import trio\nfrom mesh_protocol.keys import SigningKey\nfrom meshd.keys import store"),
]


@pytest.mark.parametrize(("path", "text"), ALLOWED)
def test_no_fence_stands_in_an_honest_way(path, text):
    assert not [finding for fence in FENCES for finding in broken(fence, sample(path, text))]
