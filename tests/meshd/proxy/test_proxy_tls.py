"""An upstream behind TLS: verified, or not spoken to at all."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from meshd.services.proxy.settings import parse_upstream
from meshd.services.proxy.upstreams import Door
from proxy_kit.certificates import server_context
from proxy_kit.stage import Stage, Upstream, answering, open_service

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


def test_what_the_program_uses_verifies_names_and_asks_for_http_1() -> None:
    door = Door(parse_upstream("https://api.anthropic.com"))
    assert door._context is not None
    assert door._context.verify_mode is ssl.CERT_REQUIRED
    assert door._context.check_hostname
    assert Door(parse_upstream("http://127.0.0.1:1"), partial(ssl.SSLContext, ssl.PROTOCOL_TLS_CLIENT))._context is None
