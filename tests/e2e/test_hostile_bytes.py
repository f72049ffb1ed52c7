"""Wrong, truncated, oversized, slow and random bytes on both sockets: closed or answered, and nobody else notices."""

import os
import random
import resource
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from machines.attacks import Memory, dial_tcp, dial_unix, noise, request, throw, upgrade, ws_frame
from machines.machine import Machine, running
from machines.pair import Pair, open_pair
from machines.talk import NoDaemon, read_where
from mesh_protocol.io.link import LinkClosed

MIB = 1024 * 1024
SEED = int(os.environ.get("MESH_SEED", "20261121"))


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with open_pair(tmp_path) as pair:
        yield pair


@asynccontextmanager
async def others_undisturbed(pair: Pair) -> AsyncIterator[None]:
    """While the block runs, alice's messages go on being stored at bob's, each soon; and nobody logs a bug."""
    done = trio.Event()
    slowest, count = 0.0, 0

    async def talk() -> None:
        nonlocal slowest, count
        async with pair.alice.talk() as talk:
            while not done.is_set() or count < 5:
                began = trio.current_time()
                answer = await talk.call("message.send", f"{count}", to="bob", wait="stored", timeout=20.0)
                assert answer["reached"], answer
                slowest, count = max(slowest, trio.current_time() - began), count + 1
                await trio.sleep(0.2)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(talk)
        yield
        done.set()
    assert slowest < 5.0, f"a message took {slowest:.1f} s"
    for program in (pair.alice, pair.bob, pair.broker):
        assert program.running, program.tail()
        bad = [line for line in program.said().splitlines() if '"error"' in line[:60] or "Traceback" in line]
        assert not bad, "\n".join(bad[:5])


# The daemon's socket.

DAEMON_GARBAGE: dict[str, list[bytes]] = {
    "zeros": [bytes(64)],
    "a header that is too long": [(64 * 1024 + 1).to_bytes(4, "big") + bytes(4)],
    "a body that is too long": [bytes(4) + (MIB + 1).to_bytes(4, "big")],
    "the longest lengths": [b"\xff" * 8],
    "HTTP": [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"],
    "a header that is no msgpack": [b"\x00\x00\x00\x04\x00\x00\x00\x00\xc1\xc1\xc1\xc1"],
    "a header with bytes behind it": [b"\x00\x00\x00\x02\x00\x00\x00\x00\xc0\xc0"],
    "a deep header": [b"\x00\x00\x00\xc8\x00\x00\x00\x00" + b"\x91" * 200],
    "a header of many empty maps": [(60_000).to_bytes(4, "big") + bytes(4) + b"\xdc\xea\x5d" + b"\x80" * 59_997],
    "a map with a key twice": [b"\x00\x00\x00\x08\x00\x00\x00\x00\x94\x00\x01\xa1m\x82\xa1a"],
    "an extension type": [b"\x00\x00\x00\x03\x00\x00\x00\x00\xd4\x01\x00"],
    "an answer to nothing": [b"\x00\x00\x00\x05\x00\x00\x00\x00\x94\x01\x07\xc0\xc0"],
    "one request id twice": [request("inbox.read", 5, wait_s=30) * 2],
    "more requests than allowed": [b"".join(request("inbox.read", n, wait_s=30) for n in range(1, 80))],
    "a method name of a kilobyte": [request("x" * 1000)],
}


@pytest.mark.parametrize("name", DAEMON_GARBAGE)
async def test_a_client_that_breaks_the_protocol_is_cut_off_at_once(tmp_path: Path, name: str) -> None:
    machine = Machine("alice", tmp_path)
    async with running(machine):
        dial = dial_unix(read_where(machine.home))
        await throw(dial, DAEMON_GARBAGE[name], seconds=5)
        assert (await machine.status())["state"] == "ready"
        assert '"error"' not in machine.said()


async def test_every_kind_of_garbage_on_the_daemons_socket_disturbs_nobody(pair: Pair) -> None:
    chance = random.Random(SEED)
    dial = dial_unix(read_where(pair.bob.home))
    memory = Memory(pair.bob.pid)
    async with others_undisturbed(pair), trio.open_nursery() as nursery:
        for pieces in DAEMON_GARBAGE.values():
            nursery.start_soon(throw, dial, pieces)
        for _ in range(100):
            nursery.start_soon(throw, dial, [noise(chance, chance.randrange(1, 5000))])
            await trio.sleep(0.01)
        memory.look()
    memory.look()
    assert memory.most < 48 * MIB, f"{memory.most / MIB:.0f} MiB"


async def test_clients_that_stall_are_closed_and_hold_no_more_than_they_sent(pair: Pair) -> None:
    """Sixty connections, each with a frame that never ends, or that comes byte by byte; and sixty that say nothing."""
    dial = dial_unix(read_where(pair.bob.home))
    memory = Memory(pair.bob.pid)
    began = request("hello", 1, proto=[1, 0], build="x")
    endless = (100).to_bytes(4, "big") + MIB.to_bytes(4, "big") + bytes(MIB // 2)
    async with others_undisturbed(pair):
        async with trio.open_nursery() as nursery:
            for _ in range(60):
                nursery.start_soon(throw, dial, [])
                nursery.start_soon(throw, dial, [began, endless])
            for _ in range(5):
                trickle = [began, (60_000).to_bytes(4, "big") + bytes(4), *[b"\x80"] * 2000]
                nursery.start_soon(lambda trickle=trickle: throw(dial, trickle, pause=0.05))
            await trio.sleep(2)
            memory.look()
        memory.look()
    assert memory.most < 80 * MIB, f"{memory.most / MIB:.0f} MiB for 30 MiB that were sent"


async def test_a_client_that_does_not_read_costs_a_bounded_window(pair: Pair) -> None:
    """One asks for more and more, one has subscribed to everything; neither reads a byte."""
    memory = Memory(pair.bob.pid)
    path = read_where(pair.bob.home)
    async with (
        others_undisturbed(pair),
        await trio.open_unix_socket(path) as asks,
        await trio.open_unix_socket(path) as hears,
    ):
        await hears.send_all(request("events.subscribe", kinds=[]))
        with trio.move_on_after(5):
            try:
                for number in range(1, 100_000):
                    await asks.send_all(request("daemon.doctor", number))
            except trio.BrokenResourceError:
                pass  # more unanswered requests than the protocol allows: cut off
        async with pair.bob.talk() as talk:
            for number in range(300):
                await talk.call("message.send", f"{number}", to="alice")
        memory.look()
    assert memory.most < 32 * MIB, f"{memory.most / MIB:.0f} MiB"


async def _connect_silently(path: str, count: int) -> list[socket.socket]:
    silent: list[socket.socket] = []
    while len(silent) < count:
        each = socket.socket(socket.AF_UNIX)
        each.setblocking(False)
        try:
            each.connect(path)
            silent.append(each)
        except BlockingIOError:  # the daemon's backlog is full for a moment
            each.close()
            await trio.sleep(0.01)
    return silent


async def _until_served(machine: Machine) -> None:
    with trio.fail_after(20):
        while True:
            try:
                assert (await machine.status())["state"] == "ready"
                return
            except (NoDaemon, LinkClosed):
                await trio.sleep(0.1)


async def test_more_clients_than_allowed_are_turned_away_and_places_come_free(tmp_path: Path) -> None:
    machine = Machine("alice", tmp_path)
    async with running(machine):
        silent = await _connect_silently(read_where(machine.home), 300)
        with trio.fail_after(8):  # who asks nothing has two seconds
            await _until_served(machine)
        for each in silent:
            each.close()
        assert "too many clients" in machine.said()


async def test_a_daemon_out_of_files_lives_and_serves_again(tmp_path: Path) -> None:
    machine = Machine("alice", tmp_path)
    async with running(machine):
        limit = resource.prlimit(machine.pid, resource.RLIMIT_NOFILE)
        used = len(os.listdir(f"/proc/{machine.pid}/fd"))
        for spare in range(2, 8):  # so that each step of taking a connection meets the end once
            resource.prlimit(machine.pid, resource.RLIMIT_NOFILE, (used + spare, limit[1]))
            silent = await _connect_silently(read_where(machine.home), 12)
            await trio.sleep(0.3)
            assert machine.running, machine.tail()
            for each in silent:
                each.close()
        resource.prlimit(machine.pid, resource.RLIMIT_NOFILE, limit)
        await _until_served(machine)


STRANGER = """
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
os.setgid(65534); os.setuid(65534)
s.settimeout(10)
try:
    s.connect(sys.argv[1])
    s.sendall(bytes.fromhex(sys.argv[2]))
    print("answered" if s.recv(100) else "closed")
except ConnectionError:
    print("closed")
except PermissionError:
    print("forbidden")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
async def test_another_users_connection_is_closed_unread(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="mesh-", dir="/tmp") as place:
        os.chmod(place, 0o755)
        machine = Machine("alice", tmp_path, home=Path(place) / "home")
        async with running(machine):
            path = Path(read_where(machine.home))

            def visit() -> str:
                ask = request("daemon.status").hex()
                done = subprocess.run(
                    [sys.executable, "-c", STRANGER, str(path), ask], capture_output=True, text=True, timeout=20
                )
                assert not done.stderr, done.stderr
                return done.stdout.strip()

            assert await trio.to_thread.run_sync(visit) == "forbidden"
            # Even with every file's mode laid open, the kernel's word about the caller decides.
            for folder in (path.parent, machine.home):
                folder.chmod(0o755)
            path.chmod(0o777)
            assert await trio.to_thread.run_sync(visit) == "closed"
            assert "a connection was refused" in machine.said()
            assert (await machine.status())["state"] == "ready"


# The broker's port.

OPEN = upgrade()
HELLO_SIZED = 16 * 1024
BROKER_GARBAGE: dict[str, tuple[list[bytes], bytes]] = {
    "zeros": ([bytes(64)], b"HTTP/1.1 400"),
    "no HTTP": ([b"hello there\r\n\r\n"], b"HTTP/1.1 400"),
    "a TLS greeting": ([b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200)], b"HTTP/1.1 400"),
    "a long head": ([b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000], b"HTTP/1.1 431"),
    "many headers": ([b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 500 + b"\r\n"], b"HTTP/1.1 431"),
    "a long path": ([b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n"], b"HTTP/1.1 4"),
    "POST": ([b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"], b"HTTP/1.1 405"),
    "an unknown page": ([b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"], b"HTTP/1.1 404"),
    "a web page's origin": ([upgrade("Origin: https://evil.example")], b"HTTP/1.1 403"),
    "another path": ([upgrade(path="/other")], b"HTTP/1.1 404"),
    "a handshake without a key": ([OPEN.replace(b"Sec-WebSocket-Key", b"X-Key")], b"HTTP/1.1 4"),
    "an old WebSocket": ([OPEN.replace(b"Version: 13", b"Version: 8")], b"HTTP/1.1 4"),
    "text": ([OPEN, ws_frame(b"hello", 1)], b"101"),
    "an unmasked frame": ([OPEN, ws_frame(b"hello", masked=False)], b"101"),
    "a reserved opcode": ([OPEN, ws_frame(b"", 11)], b"101"),
    "a frame of any claimed size": ([OPEN, ws_frame(b"x", size=2**62)], b"101"),
    "more than a hello before the hello": ([OPEN, ws_frame(bytes(HELLO_SIZED + 1))], b"101"),
    "random binary": ([OPEN, ws_frame(bytes(range(256)))], b"101"),
    "an empty message": ([OPEN, ws_frame(b"")], b"101"),
    "fragments without end": ([OPEN, ws_frame(b"", fin=False), *[ws_frame(b"", 0, fin=False)] * 200], b"101"),
    "a flood of pings": ([OPEN, *[ws_frame(b"p" * 100, 9)] * 200], b"101"),
    "a continuation of nothing": ([OPEN, ws_frame(b"x", 0)], b"101"),
    "a request without a hello, four times": ([OPEN, *[ws_frame(request("hello", n)) for n in (1, 2, 3, 4)]], b"101"),
    "calls before the hello": (
        [OPEN, *[ws_frame(request("mail.send", n, mesh=bytes(32))) for n in range(1, 90)]],
        b"101",
    ),
}


async def test_every_kind_of_garbage_at_the_broker_is_answered_or_closed_and_disturbs_nobody(pair: Pair) -> None:
    dial = dial_tcp(pair.broker.port)
    memory = Memory(pair.broker.pid)

    async def attack(name: str) -> None:
        pieces, expected = BROKER_GARBAGE[name]
        try:
            answer = await throw(dial, pieces, seconds=20)
        except trio.TooSlowError:
            raise AssertionError(f"{name}: the connection stays open") from None
        assert expected in answer[:200], (name, answer[:200])

    async with others_undisturbed(pair), trio.open_nursery() as nursery:
        for name in BROKER_GARBAGE:
            nursery.start_soon(attack, name)
    memory.look()
    assert memory.most < 32 * MIB, f"{memory.most / MIB:.0f} MiB"


async def test_random_and_slow_bytes_at_the_broker_disturb_nobody(pair: Pair) -> None:
    chance = random.Random(SEED)
    dial = dial_tcp(pair.broker.port)
    memory = Memory(pair.broker.pid)
    whole = upgrade("X-Slow: " + "x" * 600)
    slow: list[Callable[[], list[bytes]]] = [
        list,
        lambda: [whole[:30]],
        lambda: [bytes([byte]) for byte in whole],
        lambda: [OPEN],
        lambda: [OPEN, ws_frame(bytes(100), size=10_000)],
    ]
    async with others_undisturbed(pair), trio.open_nursery() as nursery:
        for _ in range(100):
            pieces = [noise(chance, chance.randrange(1, 3000))]
            nursery.start_soon(throw, dial, pieces if chance.random() < 0.5 else [OPEN, *pieces])
        for make in slow:
            for _ in range(20):
                nursery.start_soon(lambda make=make: throw(dial, make(), pause=0.05))
        await trio.sleep(2)
        memory.look()
    memory.look()
    assert memory.most < 48 * MIB, f"{memory.most / MIB:.0f} MiB"
