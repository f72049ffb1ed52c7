"""The API proxy of an installed daemon, recording, beside a splice of bytes on trio, LiteLLM's proxy, and no proxy at all.

Run alone: `python -m bench.proxy`. All three are asked in turn, one request of each, so that a disturbance meets all.
"""

import argparse
import json
import os
import select
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median, quantiles
from typing import Final

import psutil

from bench.apiload import END, LAST, STAMP
from bench.figures import Figure, write_table
from bench.install import install
from bench.litellm import NotMeasured, open_litellm
from bench.machines import NotReady, Program, ask, connect, start
from bench.record import measure_record
from bench.streams import SLOW, figures_of, watch_streams
from mesh_protocol.wire.codec import JsonValue

REQUESTS: Final = 1_500
WARM: Final = 100
STREAMS: Final = 15
CONNECTIONS: Final = 16
RATE_REQUESTS: Final = 8_000
LOST_REQUESTS: Final = 60_000
LITELLM_REQUESTS: Final = 500
MEMORY_REQUESTS: Final = 120_000
SETTLED: Final = 60_000
"""Requests after which memory is first looked at: what is kept of those before has its bounds."""
BODY: Final = json.dumps(
    {
        "model": "claude-opus-5-5",
        "max_tokens": 1_000,
        "stream": True,
        "system": [{"type": "text", "text": "You are a bench. " * 100}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "What is the time? " * 20 + "000000000000"}]}
        ],
        "metadata": {"user_id": json.dumps({"session_id": "5e55104e-0000-4000-8000-000000000000"})},
    }
).encode()
HEADERS: Final = (
    "x-api-key: sk-ant-bench\r\nanthropic-version: 2023-06-01\r\nUser-Agent: claude-cli/2.1.329 (external, cli)\r\n"
    "x-app: cli\r\nX-Claude-Code-Session-Id: 5e55104e-0000-4000-8000-000000000000\r\nAccept: application/json\r\n"
    "Content-Type: application/json\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nConnection: keep-alive\r\n"
)
TTFT_AIM_MS: Final = 1.0
SPLICES: Final = 5.0
RATE_AIM: Final = 2_000


@dataclass(frozen=True, slots=True)
class Way:
    """One way to the API: a port, and what its targets begin with."""

    name: str
    port: int
    path: str

    def request(self, target: str, number: int = 0) -> bytes:
        """Each number is a session of its own."""
        return _request(self, target).replace(b"000000000000", b"%012d" % number)

    def connect(self) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made


@cache
def _request(way: Way, target: str) -> bytes:
    head = f"POST {way.path}{target} HTTP/1.1\r\nHost: 127.0.0.1:{way.port}\r\n{HEADERS}"
    return f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY


@dataclass(frozen=True, slots=True)
class Ways:
    """The three, and the daemon whose proxy is one of them."""

    direct: Way
    splice: Way
    proxy: Way
    daemon: Program
    home: Path


def measure_proxy(bin_folder: Path, folder: Path) -> list[Figure]:
    """Added time to the first token and to each frame, requests a second, CPU and memory."""
    with open_ways(bin_folder, folder) as ways:
        figures = [*_first_tokens(ways), *_frames(ways), *_streams(ways), *_rates(ways)]
        _wait_recorded(ways)
        return [*figures, _lost(ways), *_beside_litellm(ways, folder / "litellm"), *_memory(ways)]


@contextmanager
def open_ways(bin_folder: Path, folder: Path) -> Iterator[Ways]:
    """API, splice and daemon, running."""
    python = str(bin_folder / "python")
    root = str(Path(__file__).parent.parent)
    started: list[Program] = []
    try:
        started.append(start("api", [python, "-c", _program(root, "api")], folder / "api"))
        api = int(started[0].line.split()[1])
        started.append(start("splice", [python, "-c", _program(root, "splice", api)], folder / "splice"))
        daemon = start("meshd", [str(bin_folder / "meshd"), "run"], folder / "home")
        started.append(daemon)
        with connect(folder / "home") as client:
            told = ask(client, "proxy.on", {"upstream": f"http://127.0.0.1:{api}"})
        port, url = told["port"], told["url"]
        if not isinstance(port, int) or not isinstance(url, str):
            raise NotReady("the proxy did not say where it is")
        yield Ways(
            Way("direct", api, ""),
            Way("splice", int(started[1].line.split()[1]), ""),
            Way("proxy", port, url.partition(f":{port}")[2]),
            daemon,
            folder / "home",
        )
    finally:
        for program in reversed(started):
            program.stop()


def _program(root: str, *arguments: object) -> str:
    """The measured programs run on the installed interpreter, from this tree's bench folder."""
    argv = ["bench.apiload", *map(str, arguments)]
    return f"import runpy, sys; sys.path.insert(0, {root!r}); sys.argv = {argv!r}; runpy.run_module('bench.apiload', run_name='__main__')"


def _ask(connection: socket.socket, request: bytes) -> tuple[float, bytes]:
    """Seconds to the first byte of an answer, and the whole answer."""
    began = time.perf_counter()
    connection.sendall(request)
    answer = connection.recv(65536)
    took = time.perf_counter() - began
    while not answer.endswith(END):
        more = connection.recv(65536)
        if not more:
            raise NotReady("an answer broke off")
        answer += more
    return took, answer


def _first_tokens(ways: Ways) -> list[Figure]:
    three = (ways.direct, ways.splice, ways.proxy)
    times: dict[str, list[float]] = {way.name: [] for way in three}
    open_connections = [(way, way.connect()) for way in three]
    for number in range(WARM + REQUESTS):
        for way, connection in open_connections:
            took, _ = _ask(connection, way.request("/v1/messages?beta=true", number))
            if number >= WARM:
                times[way.name].append(took * 1000)
    for _, connection in open_connections:
        connection.close()
    return _added("first token", times, note_limits=True)


def _frames(ways: Ways) -> list[Figure]:
    """How long each frame of a stream is under way, by the time that the API wrote into it."""
    times: dict[str, list[float]] = {}
    for way in (ways.direct, ways.splice, ways.proxy) * STREAMS:
        with way.connect() as connection:
            connection.sendall(way.request("/long/v1/messages"))
            answer = b""
            while not answer.endswith(LAST):
                data = connection.recv(65536)
                now = time.monotonic_ns()
                answer += data
                for piece in data.split(STAMP)[1:]:
                    times.setdefault(way.name, []).append((now - int(piece.partition(b"}")[0])) / 1e6)
    return _added("frame", times, note_limits=False)


def _streams(ways: Ways) -> list[Figure]:
    direct, proxy = (watch_streams(way.connect, way.request(SLOW)) for way in (ways.direct, ways.proxy))
    return figures_of(direct, proxy)


def _beside_litellm(ways: Ways, folder: Path) -> list[Figure]:
    """What both proxies add to a first token. In turns of their own: LiteLLM works on after its answers."""
    name, against = "proxy, added to a first token, p50, again", "LiteLLM's proxy"
    try:
        with open_litellm(ways.direct.port, folder) as port:
            other = Way("LiteLLM", port, "")
            times = {way.name: _first_token_times(way) for way in (ways.direct, ways.proxy, other)}
            rates = [_rate(way, LITELLM_REQUESTS) for way in (ways.proxy, other)]
    except NotMeasured as error:
        return [Figure(name, 0.0, "ms", 0.0, against, note=f"not measured: {error}")]
    plain, proxy, its = (median(times[way.name]) for way in (ways.direct, ways.proxy, other))
    return [
        Figure(name, proxy - plain, "ms", its - plain, against),
        Figure("proxy, requests at 16 connections, again", rates[0], "/s", rates[1], against),
    ]


def _first_token_times(way: Way) -> list[float]:
    """Milliseconds, one request after the other."""
    with way.connect() as connection:
        times = [
            _ask(connection, way.request("/v1/messages?beta=true", number))[0] for number in range(LITELLM_REQUESTS)
        ]
    return [taken * 1000 for taken in times[LITELLM_REQUESTS // 5 :]]


def _added(what: str, times: dict[str, list[float]], *, note_limits: bool) -> list[Figure]:
    """What splice and proxy add to no proxy: the difference of the medians, and of the 99th centiles."""
    centiles = {name: quantiles(found, n=100) for name, found in times.items()}
    figures = []
    for name, place in (("p50", 49), ("p99", 98)):
        plain = centiles["direct"][place]
        added, base = centiles["proxy"][place] - plain, centiles["splice"][place] - plain
        middle = name == "p50" and note_limits
        note = f"aim {TTFT_AIM_MS:g} ms: {'reached' if added <= TTFT_AIM_MS else 'not reached'}" if note_limits else ""
        figures.append(
            Figure(
                f"proxy, added to a {what}, {name}",
                added,
                "ms",
                base,
                "a splice on trio",
                SPLICES if middle else None,
                note=note,
            )
        )
    return figures


def _rates(ways: Ways) -> list[Figure]:
    process = psutil.Process(ways.daemon.pid)
    base = _rate(ways.splice, RATE_REQUESTS)
    before = process.cpu_times()
    rate = _rate(ways.proxy, RATE_REQUESTS)
    _wait_recorded(ways)
    after = process.cpu_times()
    cpu = (after.user + after.system - before.user - before.system) / RATE_REQUESTS * 1e6
    note = f"aim {RATE_AIM:,}: {'reached' if rate >= RATE_AIM else 'not reached'}; generator and API on the same cores"
    return [
        Figure("proxy, requests at 16 connections", rate, "/s", base, "a splice on trio", note=note),
        Figure("proxy, CPU of a request with its record", cpu, "µs", 1e6 / rate, "the time of a request at that rate"),
    ]


def _lost(ways: Ways) -> Figure:
    """Requests that the record lost at the aim's rate, or at as much of it as this machine has."""
    before = _wait_recorded(ways)
    rate = _rate(ways.proxy, LOST_REQUESTS, RATE_AIM)
    lost = _wait_recorded(ways) - before
    note = f"{LOST_REQUESTS:,} requests at {rate:,.0f}/s (aim {RATE_AIM:,}/s) on {CONNECTIONS} connections"
    return Figure("proxy, requests lost to the record", lost, "", LOST_REQUESTS, "requests", 0.0, "value", note)


def _rate(way: Way, requests: int, at_most: float = 0.0) -> float:
    """Requests a second with so many connections that each ask again at once; `at_most` holds them back to that rate."""
    poll = select.epoll()
    connections = {made.fileno(): made for made in (way.connect() for _ in range(CONNECTIONS))}
    tails = dict.fromkeys(connections, b"")
    began = time.perf_counter()
    for number, connection in connections.items():
        poll.register(number, select.EPOLLIN)
        connection.sendall(way.request("/v1/messages?beta=true", number))
    sent, done = CONNECTIONS, 0
    while done < requests:
        for number, _ in poll.poll(30):
            data = connections[number].recv(65536)
            if not data:
                raise NotReady(f"{way.name}: a connection broke off")
            tails[number] = (tails[number] + data)[-len(END) :]
            if tails[number] == END:
                done += 1
                tails[number] = b""
                if sent < requests:
                    sent += 1
                    if at_most and (early := began + sent / at_most - time.perf_counter()) > 0:
                        time.sleep(early)
                    connections[number].sendall(way.request("/v1/messages?beta=true", sent))
    took = time.perf_counter() - began
    for connection in connections.values():
        connection.close()
    poll.close()
    return requests / took


def _memory(ways: Ways) -> list[Figure]:
    """Resident memory after many requests, beside that after the first of them."""
    process = psutil.Process(ways.daemon.pid)
    _rate(ways.proxy, SETTLED)
    _wait_recorded(ways)
    before = process.memory_info().rss / 2**20
    _rate(ways.proxy, MEMORY_REQUESTS - SETTLED)
    lost = _wait_recorded(ways)
    after = process.memory_info().rss / 2**20
    note = f"{MEMORY_REQUESTS:,} requests, {lost} of them lost to the record"
    return [Figure("proxy, memory after 120,000 requests", after, "MiB", before, "after 60,000", 1.15, note=note)]


def _wait_recorded(ways: Ways) -> int:
    """Until all that ended is in the database; how many were lost."""
    deadline = time.monotonic() + 120
    with connect(ways.home) as client:
        while time.monotonic() < deadline:
            told = ask(client, "proxy.status")
            requests, recorded, lost = (_count(told, name) for name in ("requests", "recorded", "lost"))
            if requests == recorded + lost:
                return lost
            time.sleep(0.1)
    raise NotReady("the record did not catch up")


def _count(told: "dict[str, JsonValue]", name: str) -> int:
    value = told[name]
    assert isinstance(value, int)
    return value


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=Path, help="folder of installed programs; default: install them")
    parser.add_argument("--no-record", action="store_true", help="leave out the million requests")
    given = parser.parse_args()
    programs = given.programs.absolute() if given.programs else install()
    with tempfile.TemporaryDirectory(prefix="meshd-bench-") as name:
        figures = measure_proxy(programs, Path(name))
        if not given.no_record:
            figures += measure_record(programs, Path(name))
    sys.stdout.write(f"{write_table(figures)}\nload {os.getloadavg()[0]:.1f}\n")
    for each in figures:
        if each.note:
            sys.stdout.write(f"{each.name}: {each.note}\n")
    return 0 if all(each.kept for each in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
