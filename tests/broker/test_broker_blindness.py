"""What the broker never holds: canaries in every secret, searched for in its files, log, memory and on the wire."""

import os
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
import trio

from broker_kit.people import START_MS, Device, Mesh, envelope, invite_id, join_request, new_mesh, seeded
from broker_kit.process import connected, running
from broker_kit.side import Side
from broker_kit.stand import Stand, open_websocket_stand
from mesh_protocol.broker_api import (
    AcceptAnswer,
    Done,
    JoinAnswer,
    JoinAsk,
    LivePublish,
    LiveSubscribe,
    MailSend,
    PrekeyPut,
)
from mesh_protocol.invite import invite_key
from mesh_protocol.keys import hkdf
from mesh_protocol.live import LiveFrame, channel_id, seal_live
from mesh_protocol.pae import pae
from mesh_protocol.tip import TipRef
from mesh_protocol.wire.errors import RemoteError
from mesh_protocol.wire.rpc import Params

SEALED = "canary-7f3a-what-only-members-read"
REFUSED = "canary-91bc-what-was-sent-in-the-clear-and-refused"
NAMES = ("canaryanna", "canarybert", "canarycid")
MESH_NAME = "canary-team"
CHANNEL_NAME = "canary-channel"
FAR_MS = START_MS + 10 * 365 * 86_400_000

Connect: TypeAlias = Callable[[], Awaitable[Side]]


async def use_everything(connect: Connect) -> tuple[Mesh, dict[str, bytes]]:
    """A mesh that admits, seals, writes, publishes and is refused things; every secret that was in play, by name."""
    ann, bob, cid = (Device(name) for name in NAMES)
    side = await connect()
    mesh = new_mesh(ann, side.challenge.broker_key, "canary", MESH_NAME)
    await side.hello(mesh.id, ann.key, create=mesh)
    await side.call(PrekeyPut(mesh=mesh.id), Done, ann.signed_prekey(mesh.id).encode())
    secret = seeded("the invite's secret")
    record = await side.invite(mesh, secret, expires_ms=FAR_MS)
    joiner = await connect()
    await joiner.hello(mesh.id, invite_key(secret), invite=True)
    request = join_request(mesh, record, secret, bob)
    await joiner.call(JoinAsk(mesh=mesh.id, invite=invite_id(record)), JoinAnswer, request)
    await side.append(mesh, mesh.add_member(bob, invite=invite_id(record)), seals=[mesh.seal_for(bob)])
    await side.append(mesh, mesh.add_member(cid))
    bob_side = await connect()
    await bob_side.hello(mesh.id, bob.key)
    await bob_side.resume(mesh)
    for n in range(3):
        body = envelope(mesh, ann, bob, n, text=f"{SEALED} {n}", expires_ms=FAR_MS)
        await side.call(MailSend(mesh=mesh.id, again=True), AcceptAnswer, body)
    await bob_side.mail(3)
    await publish(mesh, side, bob_side)
    await be_refused(mesh, side, await connect())
    return mesh, {
        "invite secret": secret,
        "invite key": hkdf(secret, pae("invite-key")),
        "name key": mesh.keys.name_key,
        "epoch key": mesh.keys.epochs[1],
        **{f"keys of {device.name}": seed for device in (ann, bob, cid) for seed in device.seeds},
        **{name: name.encode() for name in (*NAMES, MESH_NAME, CHANNEL_NAME)},
        "sealed text": SEALED.encode(),
    }


async def publish(mesh: Mesh, side: Side, listener: Side) -> None:
    gk, key = mesh.keys.epochs[1], mesh.owner.key
    channel = channel_id(gk, CHANNEL_NAME)
    tip = TipRef(0, bytes(32), 0, bytes(32))
    frame = LiveFrame(mesh.id, key.public, 1, 1, 1, channel, "presence", 1, tip, SEALED.encode())
    await listener.call(LiveSubscribe(mesh=mesh.id, channels=[channel]), Done)
    await side.call(LivePublish(mesh=mesh.id, channel=channel), Done, seal_live(frame, gk, key, seeded("n")[:24]))
    await listener.heard("live")


async def be_refused(mesh: Mesh, side: Side, other: Side) -> None:
    """Refusals are logged and counted: neither may quote what was refused."""
    assert await side.refusal(MailSend(mesh=mesh.id), REFUSED.encode()) == "bad_envelope"
    calls: tuple[tuple[str, Params], ...] = (
        ("no.such", {"x": REFUSED}),
        ("stats", {"mesh": mesh.id, "name": REFUSED}),
    )
    for method, params in calls:
        with pytest.raises(RemoteError):
            await side.connection.call(method, params, seconds=5)
    request, _ = other.hello_request(mesh.id, Device("stranger").key)
    assert await other.refusal(request) == "broker_refused"


def assert_nowhere(secrets: dict[str, bytes], places: dict[str, bytes]) -> None:
    for where, content in places.items():
        for what, secret in secrets.items():
            assert secret not in content, f"{what} in {where}"
            assert secret.hex().encode() not in content, f"{what} as hex in {where}"


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


async def test_no_plaintext_name_or_key_reaches_database_log_or_wire(tmp_path: Path) -> None:
    wire: list[bytes] = []
    async with open_websocket_stand(tmp_path) as stand:
        stand.captured = wire
        mesh, secrets = await use_everything(stand.connect)
        kept = {**files(tmp_path), "log": "\n".join(stand.log).encode(), "wire": b"".join(wire)}
    stored = kept["broker.db"] + kept["broker.db-wal"]
    assert bytes(mesh.owner.id) in stored, "the search looks at the wrong files"
    assert REFUSED.encode() in kept["wire"], "the wire was not captured"
    assert_nowhere(secrets, kept)
    del kept["wire"]
    assert_nowhere({"refused text": REFUSED.encode()}, kept)


async def test_the_log_says_what_happened_with_ids_cut_short(memory_stand: Stand) -> None:
    mesh, _ = await use_everything(memory_stand.connect)
    assert any(f'"mesh": "{mesh.id.hex()[:8]}"' in line for line in memory_stand.log)
    assert not any(mesh.id.hex()[:10] in line for line in memory_stand.log)
    assert any('"hello-refused"' in line for line in memory_stand.log)


def memory_of(pid: int) -> Iterator[bytes]:
    """The writable memory of a process, region by region."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if found is None or "[vvar" in line:
                continue
            start, end = (int(text, 16) for text in found.groups())
            try:
                yield os.pread(memory.fileno(), end - start, start)
            except OSError:
                continue


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="memory is read through /proc")
async def test_the_broker_process_holds_no_secret_in_its_memory(tmp_path: Path) -> None:
    with running(tmp_path / "data") as process:
        url = process.ready()
        async with connected(url) as one, connected(url) as two, connected(url) as three, connected(url) as four:
            sides = iter((one, two, three, four))

            async def connect() -> Side:
                return next(sides)

            mesh, secrets = await use_everything(connect)
            await trio.lowlevel.checkpoint()
            held = list(memory_of(process.pid))
        assert any(bytes(mesh.owner.id) in region for region in held), "the search looks at the wrong memory"
        for region in held:
            assert_nowhere(secrets, {"memory": region})
        assert_nowhere({**secrets, "refused text": REFUSED.encode()}, {"log": process.log.read_bytes()})
        assert_nowhere(secrets, files(tmp_path / "data"))
