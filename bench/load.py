"""A hundred devices that write to each other as fast as they can: real daemons, a real broker, every commit an fsync.

Run alone: `python -m bench.load --devices 100 --messages 1000`. The daemons are hosted in at most four processes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bench.figures import Figure
from bench.machines import NotReady, Program, allow_files, start

HOSTS: Final = 4
SIZE: Final = 200
"""Bytes of a message's text."""
RAISED: Final = {
    "member_rate": 5000,
    "member_burst": 5000,
    "hello_burst": 1000,
    "connects_burst": 1000,
    "append_burst": 1000,
    "prekey_burst": 1000,
    "join_burst": 1000,
}
"""The broker's limits that this bench raises: a hundred members do not come within a second otherwise."""


class HostProcess:
    """One process of `bench.host`."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.names = names
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.host", str(folder), *names],
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=allow_files,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
        )

    def tell(self, verb: str, **arguments: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([verb, arguments]) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise NotReady(f"a host of daemons ended with {self.process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def stop(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(20)


def ask_all(hosts: Sequence[HostProcess], verb: str, **arguments: object) -> list[dict[str, Any]]:
    """Tell all hosts at once; their answers."""
    for host in hosts:
        host.tell(verb, **arguments)
    return [host.answer() for host in hosts]


@contextmanager
def one_mesh(bin_folder: Path, folder: Path, devices: int) -> Iterator[tuple[Program, list[HostProcess]]]:
    """A broker and so many daemons in one mesh, all online."""
    limits = [word for name, number in RAISED.items() for word in ("--limit", f"{name}={number}")]
    argv = [str(bin_folder / "mesh-broker"), "run", "--listen", "127.0.0.1:0", "--data", str(folder / "data"), *limits]
    broker = start("broker", argv, folder / "broker")
    hosts: list[HostProcess] = []
    try:
        names = [f"d{number}" for number in range(devices)]
        hosts.extend(HostProcess(folder / f"host{n}", names[n::HOSTS]) for n in range(min(HOSTS, devices)))
        ask_all(hosts, "start")
        hosts[0].tell("new", url=broker.line.rpartition(" ")[2], invites=devices - 1)
        links = hosts[0].answer()["links"]
        for host in hosts:
            own = len(host.names) - (host is hosts[0])
            taken, links = links[:own], links[own:]
            host.tell("join", links=taken)
        for host in hosts:
            host.answer()
        ask_all(hosts, "know", count=devices)
        yield broker, hosts
    finally:
        for host in hosts:
            host.stop()
        broker.stop()


def measure_load(bin_folder: Path, folder: Path, devices: int, messages: int) -> list[Figure]:
    """What `devices` need to send `messages` each to random others, with every receipt back."""
    with one_mesh(bin_folder, folder, devices) as (broker, hosts):
        began = time.monotonic()
        ran = ask_all(hosts, "go", count=messages, size=SIZE, seed=1)
        took = time.monotonic() - began
        facts = ask_all(hosts, "facts")
        peak = _peak_mib(broker.pid)
        broker_cpu = _cpu_s(broker.pid)
    total = devices * messages
    received, distinct = (sum(each[name] for each in facts) for name in ("received", "distinct"))
    if (received, distinct) != (total, total) or sum(each["stored"] for each in facts) != total:
        raise RuntimeError(f"of {total} messages {received} arrived, {distinct} of them different")
    accepted = sorted(ms for each in facts for ms in each["accepted_ms"])
    alone = _crypto_s() * total / (os.cpu_count() or 1)
    against = "its cryptography alone, on all cores"
    what = f"{devices} devices x {messages} messages"
    hosts_cpu = sum(each["cpu_s"] for each in ran)
    return [
        Figure(
            f"{what}, all stored, all receipts back", took, "s", alone, against,
            note=f"{total / took:.0f} messages a second; processor {hosts_cpu:.0f} s in the daemons, {broker_cpu:.0f} s in the broker; "
            f"limits raised: {', '.join(RAISED)}",
        ),
        Figure(f"{what}, queued to accepted, p99", accepted[len(accepted) * 99 // 100] / 1000, "s", took, "the whole"),
        Figure(f"{what}, broker's peak memory", peak, "MiB", _peak_mib(os.getpid()), "the bench itself"),
    ]  # fmt: skip


def _peak_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _crypto_s() -> float:
    """Seconds that signing, sealing, opening and verifying one message of this size take."""
    from mesh_protocol.envelope import Message, open_envelope, parse_outer, seal_envelope, sign_message
    from mesh_protocol.ids import DeviceId, MemberId, MeshId, MsgId
    from mesh_protocol.keys import PrekeyPrivate, SigningKey, sign_prekey
    from mesh_protocol.tip import TipRef

    ann, ben, prekey = (
        SigningKey.from_seed(bytes(32)),
        SigningKey.from_seed(b"b" * 32),
        PrekeyPrivate.from_seed(bytes(32)),
    )
    mesh, tip = MeshId(bytes(32)), TipRef(1, bytes(32), 1, bytes(32))
    signed_prekey = sign_prekey(ben, mesh, 1, prekey.public, 0)
    message = Message(
        mesh, MemberId(bytes(16)), ann.public, "", "human", MemberId(bytes(16)), DeviceId(ben.public), "", MsgId(bytes(16)),
        bytes(16), 1, 0, 2**40, "text", "next", b"", tip, "text/plain", b"x" * SIZE,
    )  # fmt: skip
    count = 300
    began = time.perf_counter()
    for _ in range(count):
        envelope = seal_envelope(sign_message(message, ann), attempt=1, spk=signed_prekey)
        open_envelope(parse_outer(envelope), prekey)
    return (time.perf_counter() - began) / count


def main() -> int:
    """Run it alone, from this environment's programs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=100)
    parser.add_argument("--messages", type=int, default=1000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="meshd-load-") as name:
        figures = measure_load(Path(sys.executable).parent, Path(name), chosen.devices, chosen.messages)
    for each in figures:
        print(
            f"{each.name}: {each.value:.3g} {each.unit} ({each.ratio:.2f} of {each.baseline:.3g}, {each.against}) {each.note}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
