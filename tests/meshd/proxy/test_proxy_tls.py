"""An upstream behind TLS: verified, or not spoken to at all."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from mesh_protocol.wire.errors import MeshError
from meshd.services.proxy.settings import parse_upstream
from meshd.services.proxy.upstreams import Door
from proxy_kit.certificates import server_context
from proxy_kit.stage import Hearing, Stage, Upstream, answering, open_service

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@asynccontextmanager
async def behind_tls(folder: Path, *, trusted: bool, address: str = "127.0.0.1") -> AsyncIterator[Stage]:
    """A proxy whose upstream speaks TLS; its certificate is for `address`."""
    folder.chmod(0o700)
    certificates = folder / "certificates"
    certificates.mkdir()
    server = server_context(certificates, address)
    heard: list[bytes] = []

    def make_context() -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(certificates / "cert.pem") if trusted else None)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_ssl_over_tcp_listeners(0, server, host="127.0.0.1", https_compatible=True)
        upstream = Upstream(listeners[0].transport_listener.socket.getsockname()[1], answering(OK))

        async def serve(stream: trio.SSLStream[trio.SocketStream]) -> None:
            try:
                await stream.do_handshake()
                await upstream.play(stream)  # type: ignore[arg-type]  # a stream is all that it needs
            except trio.BrokenResourceError:
                heard.append(b"refused")
            finally:
                await trio.aclose_forcefully(stream)

        nursery.start_soon(trio.serve_listeners, serve, listeners)
        async with open_service(folder, make_context=make_context) as service:
            await service.turn_on(f"https://127.0.0.1:{upstream.port}", 0, new_token=False)
            stage = Stage(service, upstream, nursery)
            try:
                yield stage
            finally:
                for client in stage.clients:
                    await trio.aclose_forcefully(client.stream)
        nursery.cancel_scope.cancel()


async def test_an_upstream_with_the_right_certificate_is_spoken_to(tmp_path: Path) -> None:
    async with behind_tls(tmp_path, trusted=True) as stage:
        client = await stage.client()
        for count in (1, 2):
            await client.send(stage.request("/v1/messages", b"{}"))
            assert await client.until(OK * count) == OK * count


async def test_an_upstream_of_an_unknown_authority_is_refused(tmp_path: Path) -> None:
    async with behind_tls(tmp_path, trusted=False) as stage:
        client = await stage.client()
        await client.send(stage.request("/v1/messages", b"{}"))
        answer = await client.rest()
        assert answer.startswith(b"HTTP/1.1 502 ")
        assert b"TLS failed" in answer
        (row,) = await stage.recorded(1)
        assert row["outcome"] == "unreachable"


async def test_a_certificate_for_somebody_else_is_refused(tmp_path: Path) -> None:
    async with behind_tls(tmp_path, trusted=True, address="127.0.0.2") as stage:
        client = await stage.client()
        await client.send(stage.request("/v1/messages", b"{}"))
        assert b"TLS failed" in await client.rest()


@asynccontextmanager
async def network_proxy(
    answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n",
) -> AsyncIterator["NetworkProxy"]:
    """A proxy that lets CONNECT through, or answers as it is told."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        made = NetworkProxy(listeners[0].socket.getsockname()[1], answer)
        nursery.start_soon(trio.serve_listeners, made.serve, listeners)
        yield made
        nursery.cancel_scope.cancel()


class NetworkProxy:
    """`asked` are the heads it was sent, `passed` all that went up through its tunnels."""

    def __init__(self, port: int, answer: bytes) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.asked: list[bytes] = []
        self.passed = bytearray()
        self._answer = answer

    async def serve(self, near: trio.SocketStream) -> None:
        heard = Hearing(near)
        self.asked.append(await heard.until(b"\r\n\r\n"))
        await near.send_all(self._answer)
        host, _, port = self.asked[-1].split(b" ")[1].rpartition(b":")
        if not self._answer.endswith(b"established\r\n\r\n"):
            await near.aclose()
            return
        far = await trio.open_tcp_stream(host.decode(), int(port))
        async with near, far, trio.open_nursery() as nursery:
            nursery.start_soon(self._pump, near, far, self.passed, nursery.cancel_scope)
            nursery.start_soon(self._pump, far, near, bytearray(), nursery.cancel_scope)

    async def _pump(
        self, source: trio.SocketStream, sink: trio.SocketStream, kept: bytearray, scope: trio.CancelScope
    ) -> None:
        try:
            while data := await source.receive_some(65536):
                kept += data
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()


async def test_a_networks_proxy_sees_the_name_and_nothing_that_is_said(tmp_path: Path) -> None:
    async with behind_tls(tmp_path, trusted=True) as stage, network_proxy() as network:
        await stage.service.turn_on("", 0, new_token=False, via=network.url)
        client = await stage.client()
        await client.send(stage.request("/v1/messages", b'{"a canary": 1}', more="x-api-key: sk-canary\r\n"))
        assert await client.until(OK) == OK
        target = f"127.0.0.1:{stage.upstream.port}"
        assert network.asked == [f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode()]
        assert network.passed
        assert b"canary" not in network.passed
        await stage.service.turn_on("", 0, new_token=False, via="none")
        other = await stage.client()
        await other.send(stage.request("/v1/messages", b"{}"))
        assert await other.until(OK) == OK
        assert len(network.asked) == 1


async def test_the_certificate_is_verified_behind_a_networks_proxy_too(tmp_path: Path) -> None:
    async with behind_tls(tmp_path, trusted=False) as stage, network_proxy() as network:
        await stage.service.turn_on("", 0, new_token=False, via=network.url)
        client = await stage.client()
        await client.send(stage.request("/v1/messages", b"{}"))
        assert b"TLS failed" in await client.rest()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", b"(407)"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", b"(403)"),
        (b"HTTP/1.1 200 OK\r\n\r\nand more that is not the API's", b"does not let through"),
        (b"SSH-2.0-nonsense\r\n\r\n", b"no answer of HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000, b"does not let through"),
        (b"", b"no answer of HTTP"),
    ],
)
async def test_a_networks_proxy_that_does_not_let_through_is_said(tmp_path: Path, answer: bytes, said: bytes) -> None:
    async with behind_tls(tmp_path, trusted=True) as stage, network_proxy(answer) as network:
        await stage.service.turn_on("", 0, new_token=False, via=network.url)
        client = await stage.client()
        await client.send(stage.request("/v1/messages", b"{}"))
        told = await client.rest()
        assert told.startswith(b"HTTP/1.1 502 ")
        assert said in told


async def test_a_networks_proxy_that_is_away_is_said(tmp_path: Path) -> None:
    async with behind_tls(tmp_path, trusted=True) as stage:
        await stage.service.turn_on("", 0, new_token=False, via="http://127.0.0.1:1")
        client = await stage.client()
        await client.send(stage.request("/v1/messages", b"{}"))
        told = await client.rest()
        assert told.startswith(b"HTTP/1.1 502 ")
        assert b"the network's proxy 127.0.0.1:1" in told


@pytest.mark.parametrize(
    "url", ["proxy:3128", "https://proxy:3128", "http://proxy", "http://a:b@proxy:1", "http://p:1/x", "http://p x:1"]
)
async def test_what_is_no_networks_proxy_is_refused_and_nothing_changes(tmp_path: Path, url: str) -> None:
    async with behind_tls(tmp_path, trusted=True) as stage:
        with pytest.raises(MeshError, match=r"network's proxy"):
            await stage.service.turn_on("", 0, new_token=False, via=url)
        assert stage.service.settings.via == ""


def test_what_the_program_uses_verifies_names_and_asks_for_http_1() -> None:
    door = Door(parse_upstream("https://api.anthropic.com"))
    assert door._context is not None
    assert door._context.verify_mode is ssl.CERT_REQUIRED
    assert door._context.check_hostname
    assert Door(parse_upstream("http://127.0.0.1:1"), partial(ssl.SSLContext, ssl.PROTOCOL_TLS_CLIENT))._context is None
