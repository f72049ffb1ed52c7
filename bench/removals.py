"""A member is removed from a mesh of 1,000 devices: what one daemon does for `mesh kick`, with a real broker.

The daemon runs in this process; the other devices are spoken for by it too, and have published their prekeys. Measured is
from the request to the broker's word that the record, the new epoch and a seal for everybody who stays are in place, prekeys
fetched and verified anew; not the start of the `mesh` command, and not how soon the others hear of it.
"""

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import trio

from bench.connections import AT_ONCE, fail
from bench.figures import Figure
from bench.host import PATIENCE_S, Host
from bench.load import RAISED
from bench.machines import allow_files, start
from mesh_protocol import hpke
from mesh_protocol.chain import AddMember, RemoveMember
from mesh_protocol.ids import MemberId
from mesh_protocol.keys import PrekeyPrivate, SigningKey, sign_prekey, verify_prekey
from mesh_protocol.names import member_subject, seal_name
from meshd.app import App
from meshd.link.driver import connect_url, open_greeting
from meshd.link.greeting import CALL_S, say_hello
from meshd.mesh import Mesh
from meshd.removal import change_rights, remove

DEVICES: Final = 1_000
TOGETHER: Final = 50
"""Members admitted in one append."""
LIMIT: Final = 6.0
"""Times the bare cryptography: chain, database and broker have their part in it."""


async def fill(app: App, mesh: Mesh, keys: Sequence[SigningKey]) -> list[MemberId]:
    """Admit a member for each key, and publish a prekey of it."""
    assert mesh.keys is not None
    members = [MemberId(os.urandom(16)) for _ in keys]
    bodies = []
    for number, (member, key) in enumerate(zip(members, keys, strict=True)):
        subject = member_subject(member, mesh.state.genesis.salt)
        name = seal_name(mesh.keys.name_key, subject, f"m{number}", os.urandom(24))
        bodies.append(AddMember(member, "member", key.public, name, b""))
    for first in range(0, len(bodies), TOGETHER):
        await change_rights(app, mesh, bodies[first : first + TOGETHER])
    places = trio.Semaphore(AT_ONCE)

    async def publish(key: SigningKey) -> None:
        async with places, open_greeting(connect_url, mesh.row.broker_url, fail, lambda _: None) as greeting:
            await say_hello(greeting, mesh.id, key, generation=1, nonce=os.urandom(32))
            prekey = sign_prekey(key, mesh.id, 1, PrekeyPrivate.from_seed(os.urandom(32)).public, app.seams.clock())
            await greeting.connection.call("prekey.put", {"mesh": mesh.id}, prekey.encode(), seconds=CALL_S)

    async with trio.open_nursery() as nursery:
        for key in keys:
            nursery.start_soon(publish, key)
    return members


def bare_seconds(count: int) -> float:
    """Verifying `count` prekeys and sealing a key to each, and nothing else."""
    device, private = SigningKey.from_seed(os.urandom(32)), PrekeyPrivate.from_seed(os.urandom(32))
    mesh = device.public
    prekey = sign_prekey(device, mesh, 1, private.public, 0)  # type: ignore[arg-type]
    began = time.perf_counter()
    for _ in range(count):
        verify_prekey(prekey, mesh, device.public)  # type: ignore[arg-type]
        hpke.seal(prekey.pub, bytes(200), bytes(256))
    return time.perf_counter() - began


async def _measure(url: str, folder: Path) -> tuple[float, float]:
    async with trio.open_nursery() as nursery:
        host = Host(folder, ["ann"], nursery)
        await host.start()
        await host.new(url, 0)
        app = host.apps[0]
        mesh = next(iter(app.node.meshes.values()))
        keys = [SigningKey.from_seed(os.urandom(32)) for _ in range(DEVICES - 1)]
        with trio.fail_after(PATIENCE_S):
            members = await fill(app, mesh, keys)
        began = time.perf_counter()
        done = await remove(app, mesh, [RemoveMember(members[0], False)])
        took = time.perf_counter() - began
        active = sum(mesh.state.is_active(device) for device in mesh.state.devices)
        if done.unsealed or len(done.gone) != 1 or active != DEVICES - 1:
            raise RuntimeError(f"{len(done.unsealed)} got no key, {active} devices are left")
        nursery.cancel_scope.cancel()
    return took, bare_seconds(DEVICES - 2)


def measure_removals(bin_folder: Path, folder: Path) -> list[Figure]:
    """Seconds of the removal, against the seals and the prekeys' signatures alone."""
    limits = [word for name, number in RAISED.items() for word in ("--limit", f"{name}={number}")]
    argv = [str(bin_folder / "mesh-broker"), "run", "--listen", "127.0.0.1:0", "--data", str(folder / "data"), *limits]
    allow_files()
    broker = start("broker", argv, folder / "broker")
    try:
        took, bare = trio.run(_measure, broker.line.rpartition(" ")[2], folder / "hosts")
    finally:
        broker.stop()
    note = f"{DEVICES - 1} seals in one append; the daemon's whole part, broker and commits included, without the command's start"
    what = f"a member removed among {DEVICES:,} devices"
    return [Figure(what, took, "s", bare, "its seals and signatures alone", LIMIT, note=note)]


def main() -> int:
    """Run it alone, from this environment's programs."""
    with tempfile.TemporaryDirectory(prefix="meshd-removals-") as name:
        for figure in measure_removals(Path(sys.executable).parent, Path(name)):
            print(
                f"{figure.name}: {figure.value:.3g} {figure.unit}, {figure.ratio:.2f} × {figure.against}; {figure.note}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
