"""The one port: pages for machines, the way into a WebSocket, and everything that is neither."""

import ipaddress
import random
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from broker_kit.people import Device, new_mesh
from broker_kit.raw import UPGRADE, dial, frame
from broker_kit.stand import Stand, open_websocket_stand
from mesh_broker.floor import Space
from mesh_broker.limits import Limits
from mesh_broker.metrics import COUNTERS
from mesh_protocol.broker_api import Stats, StatsAnswer
from mesh_protocol.wire.errors import RemoteError


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[Stand]:
    limits = Limits(first_byte_seconds=0.3, head_seconds=0.3, hello_seconds=0.5)
    async with open_websocket_stand(tmp_path, limits) as stand:
        yield stand


async def get(stand: Stand, path: str, *headers: str, method: str = "GET") -> tuple[int, str, str]:
    """Status, head and body of a page."""
    raw = await dial(stand)
    lines = "".join(f"{line}\r\n" for line in headers)
    await raw.send(f"{method} {path} HTTP/1.1\r\nHost: broker\r\n{lines}\r\n".encode())
    head, _, body = (await raw.rest()).decode().partition("\r\n\r\n")
    return int(head.split(" ", 2)[1]), head, body


async def assert_well(stand: Stand) -> None:
    """The broker still serves others."""
    mesh, side = await stand.create("witness", f"witness {stand.broker.metrics.value('hellos_total')}")
    await side.call(Stats(mesh=mesh.id), StatsAnswer)
    await side.connection.aclose()


async def test_the_pages_answer_and_the_connection_is_closed(web: Stand) -> None:
    for path, said in (("/health", '"ok"'), ("/ready", '"ready"'), ("/ready?x=1", '"ready"')):
        status, head, body = await get(web, path)
        assert (status, said in body) == (200, True)
        assert "Connection: close" in head
    assert (await get(web, "/nothing"))[0] == 404
    assert (await get(web, "/"))[0] == 404
    assert (await get(web, "/health", method="POST"))[0] == 405


async def test_ready_says_no_when_nothing_more_can_be_kept(web: Stand) -> None:
    web.space[0] = Space(0, 10**12)
    web.broker.floor.look()
    status, _, body = await get(web, "/ready")
    assert (status, "storage-full" in body) == (503, True)
    assert (await get(web, "/health"))[0] == 200


async def test_metrics_count_and_name_nobody(web: Stand) -> None:
    mesh, _ = await web.create()
    status, head, body = await get(web, "/metrics")
    assert (status, "text/plain; version=0.0.4" in head) == (200, True)
    values = dict(re.findall(r"^mesh_broker_(\w+) (\S+)$", body, re.M))
    assert set(COUNTERS) <= set(values)
    assert (values["hellos_total"], values["devices_online"], values["storage_full"]) == ("1", "1", "0")
    assert "{" not in body
    assert mesh.id.hex()[:8] not in body


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (UPGRADE.replace(b"\r\n\r\n", b"\r\nOrigin: https://evil.example\r\n\r\n"), 403),
        (UPGRADE.replace(b"\r\n\r\n", b"\r\nOrigin: null\r\n\r\n"), 403),
        (UPGRADE.replace(b"GET /", b"GET /ws"), 404),
        (UPGRADE.replace(b"Version: 13", b"Version: 12"), 400),
        (UPGRADE.replace(b"Key: dGhl", b"Key: "), 400),
        (UPGRADE.replace(b"Upgrade: websocket", b"Upgrade: h2c"), 426),
        (UPGRADE.replace(b"GET", b"POST"), 405),
        (b"GET /health HTTP/1.1\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 70 + b"\r\n", 431),
        (b"GET /" + b"a" * 9000, 431),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"hello broker\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"\x00" * 100, 400),
    ],
    ids=lambda value: value[:24].decode("ascii", "backslashreplace") if isinstance(value, bytes) else str(value),
)
async def test_what_is_no_request_of_ours_gets_a_status_and_is_closed(web: Stand, head: bytes, status: int) -> None:
    raw = await dial(web)
    await raw.send(head)
    assert await raw.status() == status
    await assert_well(web)


async def test_who_says_nothing_is_closed(web: Stand) -> None:
    raw = await dial(web)
    began = trio.current_time()
    assert await raw.rest() == b""
    assert trio.current_time() - began < 3


async def test_who_does_not_finish_his_head_is_told_and_closed(web: Stand) -> None:
    raw = await dial(web)
    await raw.send(b"GET /health HTTP/1.1\r\nX-Slow: ")
    assert await raw.status() == 408


async def test_who_upgrades_and_says_no_hello_is_closed(web: Stand) -> None:
    raw = await dial(web)
    await raw.upgrade()
    assert await raw.close_code() == 1008


async def test_what_follows_the_head_in_the_same_bytes_is_not_lost(web: Stand) -> None:
    raw = await dial(web)
    await raw.send(UPGRADE + frame(b"", opcode=9) + frame(b"not a frame of ours"))
    got = await raw.rest()
    assert b"\x8a\x00" in got, "no pong"
    assert b"\x88" in got


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(b"text", opcode=1), 1003),
        (frame(b"unmasked", mask=False), 1002),
        (frame(b"", opcode=3), 1002),
        (frame(b"", opcode=0), 1002),
        (b"\xff" * 14, 1002),
        (frame(bytes(17 * 1024))[:64], 1009),
        (frame(b"x", fin=False) + frame(bytes(17 * 1024), opcode=0), 1009),
        (frame(b"", opcode=9) * 65, (1008, "too many control frames")),
        (frame(b"x", fin=False) + frame(b"x", opcode=0, fin=False) * 64, (1008, "too many fragments")),
        (frame(b"short"), 1002),
        (frame(b"\x00\x00\x00\x01\x00\x00\x00\x00\xc1"), 1002),
        (frame(b"\xff\xff\xff\xff\xff\xff\xff\xff"), 1002),
        (frame(b"\x03\xe8", opcode=8), 1000),
    ],
    ids=[
        "text",
        "unmasked",
        "opcode",
        "continuation",
        "noise",
        "large",
        "large-parts",
        "pings",
        "parts",
        "short",
        "msgpack",
        "lengths",
        "close",
    ],
)
async def test_a_websocket_that_breaks_the_protocol_is_closed_with_its_code(
    web: Stand, data: bytes, code: int | tuple[int, str]
) -> None:
    raw = await dial(web)
    await raw.upgrade()
    await raw.send(data)
    words = await raw.close_words()
    assert code in (words, words[0])
    await assert_well(web)


async def test_random_bytes_before_and_after_the_upgrade_harm_nobody(web: Stand) -> None:
    chance = random.Random(7)
    mesh, side = await web.create()
    for _ in range(30):
        raw = await dial(web)
        if chance.random() < 0.6:
            await raw.upgrade()
        noise = chance.randbytes(chance.choice((1, 20, 400, 5000)))
        await raw.send(frame(noise) if chance.random() < 0.5 else noise)
        if chance.random() < 0.5:
            await raw.stream.aclose()
    await side.call(Stats(mesh=mesh.id), StatsAnswer)
    assert not [line for line in web.log if '"level": "error"' in line]


async def test_at_the_connection_cap_others_wait_their_turn_and_get_it(tmp_path: Path) -> None:
    async with open_websocket_stand(tmp_path, Limits(connections=2, first_byte_seconds=30)) as stand:
        held = [await dial(stand) for _ in range(2)]
        late = await dial(stand)
        await late.send(b"GET /health HTTP/1.1\r\nHost: b\r\n\r\n")
        with trio.move_on_after(0.2) as waited:
            await late.stream.receive_some(1)
        assert waited.cancelled_caught
        await held[0].stream.aclose()
        assert await late.status() == 200


PROXY = (ipaddress.ip_network("127.0.0.1/32"),)


async def forwarded(stand: Stand, address: str) -> float:
    """Seconds that a page takes for who comes from `address`."""
    began = trio.current_time()
    assert (await get(stand, "/health", f"X-Forwarded-For: 10.9.9.9, {address}"))[0] == 200
    return trio.current_time() - began


async def test_an_address_that_connects_too_often_is_paced_and_others_are_not(tmp_path: Path) -> None:
    limits = Limits(connects_rate=4, connects_burst=2)
    async with open_websocket_stand(tmp_path, limits, proxies=PROXY) as stand:
        assert [await forwarded(stand, "192.0.2.1") < 0.15 for _ in range(2)] == [True, True]
        assert await forwarded(stand, "192.0.2.1") > 0.15
        assert await forwarded(stand, "192.0.2.2") < 0.15


async def test_an_address_whose_turn_is_far_away_is_closed(tmp_path: Path) -> None:
    limits = Limits(connects_rate=0.001, connects_burst=1)
    async with open_websocket_stand(tmp_path, limits, proxies=PROXY) as stand:
        await forwarded(stand, "192.0.2.1")
        raw = await dial(stand)
        await raw.send(b"GET /health HTTP/1.1\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n")
        assert await raw.rest() == b""


@pytest.mark.parametrize("proxies", [PROXY, ()])
async def test_who_comes_through_a_proxy_on_this_machine_is_not_this_machine(
    tmp_path: Path, proxies: tuple[ipaddress.IPv4Network, ...]
) -> None:
    async with open_websocket_stand(tmp_path, proxies=proxies) as stand:
        mesh = new_mesh(Device("ann"), stand.broker.public_key)
        stand.headers = [("X-Forwarded-For", "127.0.0.1")]
        side = await stand.connect()
        with pytest.raises(RemoteError) as caught:
            await side.hello(mesh.id, mesh.owner.key, create=mesh)
        assert caught.value.code == "admission_needed"


async def test_a_direct_connection_from_this_machine_needs_no_token(tmp_path: Path) -> None:
    async with open_websocket_stand(tmp_path) as stand:
        await stand.create()
