"""Links below the connection: one suite for all three kinds, then what only one kind can do wrong."""

import datetime
import socket
import ssl
from contextlib import contextmanager
from functools import partial

import pytest
import trio
import trio_websocket
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.client import ClientProtocol
from websockets.protocol import State
from websockets.uri import parse_uri

from mesh_protocol.io.link import LinkClosed
from mesh_protocol.io.memory import BUFFERED_FRAMES, link_pair
from mesh_protocol.io.stream import StreamLink
from mesh_protocol.io.websocket import WebSocketLink, open_websocket
from mesh_protocol.wire.framing import MAX_BODY, FrameReader, encode_frame, split_message


class Frames:
    """Reads whole frames off either kind of link."""

    def __init__(self, link):
        self._link = link
        self._reader = FrameReader()
        self._ready = []

    async def next(self):
        while not self._ready:
            data = await self._link.receive()
            self._ready += [split_message(data)] if self._link.whole else self._reader.feed(data)
        return self._ready.pop(0)


async def test_frames_arrive_whole_and_in_order_in_both_directions(links):
    async with links() as (left, right):
        for sender, receiver in ((left, right), (right, left)):
            frames = Frames(receiver)
            for size in (0, 1, 1000, 20_000):
                await sender.send(encode_frame(b"h", bytes(size)))
            for size in (0, 1, 1000, 20_000):
                assert len((await frames.next()).body) == size


async def test_the_largest_frame_arrives(links):
    async with links() as (left, right), trio.open_nursery() as nursery:
        nursery.start_soon(left.send, encode_frame(b"h" * 65536, b"b" * MAX_BODY))
        frame = await Frames(right).next()
        assert (len(frame.header), len(frame.body)) == (65536, MAX_BODY)


async def test_a_reader_learns_that_the_other_side_closed(links):
    async with links() as (left, right), trio.open_nursery() as nursery:
        nursery.start_soon(left.aclose)
        with pytest.raises(LinkClosed):
            await right.receive()


async def test_a_waiting_reader_learns_that_its_own_side_closed(links):
    async with links() as (left, _), trio.open_nursery() as nursery:

        async def read():
            with pytest.raises(LinkClosed):
                await left.receive()

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked(0.01)
        await left.aclose()


async def test_nothing_passes_after_a_side_closed_it(links):
    async with links() as (left, _):
        await left.aclose()
        with pytest.raises(LinkClosed):
            await left.send(encode_frame(b"h"))
        with pytest.raises(LinkClosed):
            await left.receive()
        await left.aclose()  # twice is fine


async def test_a_waiting_sender_learns_that_the_other_side_closed(links):
    async with links() as (left, right), trio.open_nursery() as nursery:

        async def flood():
            with pytest.raises(LinkClosed):
                while True:
                    await left.send(encode_frame(b"h", bytes(100_000)))

        nursery.start_soon(flood)
        await trio.testing.wait_all_tasks_blocked(0.05)
        await right.aclose()


async def test_what_was_sent_before_the_close_is_read_first(links):
    async with links() as (left, right):
        for number in range(5):
            await left.send(encode_frame(b"h", bytes([number])))
        await left.aclose()
        frames = Frames(right)
        assert [(await frames.next()).body[0] for _ in range(5)] == [0, 1, 2, 3, 4]
        with pytest.raises(LinkClosed):
            await frames.next()


# In memory.


async def test_a_memory_link_holds_a_bounded_number_of_frames():
    left, right = link_pair()
    for _ in range(BUFFERED_FRAMES):
        assert left.send_now(b"frame")
    assert not left.send_now(b"one more")
    await right.receive()
    assert left.send_now(b"now there is room")
    await right.aclose()
    assert not left.send_now(b"nobody there")


# Byte streams.


async def test_a_stream_that_lost_half_a_frame_is_never_written_again():
    left, right = trio.testing.memory_stream_pair()
    blocked = trio.Event()

    async def block():
        blocked.set()
        await trio.sleep_forever()

    left.send_stream.send_all_hook = block
    link = StreamLink(left)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.send, encode_frame(b"h", b"first"))
        await blocked.wait()
        nursery.cancel_scope.cancel()
    left.send_stream.send_all_hook = None
    with pytest.raises(LinkClosed, match="cut off"):
        await link.send(encode_frame(b"h", b"second"))
    await link.aclose()
    assert b"second" not in await right.receive_some()


# WebSockets.


async def serving(nursery, accept):
    server = await nursery.start(
        lambda task_status: trio_websocket.serve_websocket(accept, "127.0.0.1", 0, None, task_status=task_status)
    )
    return f"ws://127.0.0.1:{server.port}/"


async def test_a_text_message_closes_a_websocket_link():
    async def accept(request):
        connection = await request.accept()
        await connection.send_message("text")
        with pytest.raises(trio_websocket.ConnectionClosed):
            await connection.get_message()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            async with open_websocket(await serving(nursery, accept), None) as link:
                with pytest.raises(LinkClosed, match="a text message"):
                    await link.receive()
            nursery.cancel_scope.cancel()


async def test_a_message_larger_than_a_frame_closes_a_websocket_link():
    async def accept(request):
        connection = await request.accept()
        with pytest.raises(trio_websocket.ConnectionClosed) as caught:
            await connection.send_message(bytes(2 * MAX_BODY))
            await connection.get_message()
        assert caught.value.reason.code == 1009

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            async with open_websocket(await serving(nursery, accept), None) as link:
                with pytest.raises(LinkClosed):
                    await link.receive()
            nursery.cancel_scope.cancel()


async def test_a_websocket_that_lost_half_a_message_is_never_written_again():
    left, right = trio.testing.memory_stream_pair()
    left.send_stream.send_all_hook = trio.sleep_forever
    link = WebSocketLink(left, ClientProtocol(parse_uri("ws://127.0.0.1/"), state=State.OPEN))
    with trio.move_on_after(0.01):
        await link.send(b"first")
    left.send_stream.send_all_hook = None
    with pytest.raises(LinkClosed, match="cut off"):
        await link.send(b"second")
    await left.aclose()
    assert b"second" not in await right.receive_some()


async def test_a_reader_that_comes_back_while_its_side_says_goodbye_learns_that(nursery):
    left, _ = trio.testing.memory_stream_pair()
    link = WebSocketLink(left, ClientProtocol(parse_uri("ws://127.0.0.1/"), state=State.OPEN))
    nursery.start_soon(link.aclose)
    await trio.testing.wait_all_tasks_blocked(0.01)  # it waits for the other side's close
    with pytest.raises(LinkClosed):
        await link.receive()


ANSWERS = {
    b"": "the server closed before it answered",
    b"garbage\r\n\r\n": "not a WebSocket server",
    b"\x00\xff\x16\x03" * 100 + b"\r\n\r\n": "not a WebSocket server",
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n": "the server answered 404",
    b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nbody": "the server answered 403",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n": "the server answered 200",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: d3Jvbmc=\r\n\r\n": "not a WebSocket server",
}


@pytest.mark.parametrize(("answer", "why"), ANSWERS.items())
async def test_a_server_that_is_none_is_told_at_once_and_harms_nobody(answer, why):
    async def handle(stream):
        async with stream:
            await stream.receive_some()
            await stream.send_all(answer or b"")

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            [listener] = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
            port = listener.socket.getsockname()[1]
            with pytest.raises(LinkClosed) as caught:
                async with open_websocket(f"ws://127.0.0.1:{port}/", None):
                    pytest.fail("no connection came about")
            nursery.cancel_scope.cancel()
    assert str(caught.value).partition(":")[0] == why


async def test_garbage_after_the_handshake_closes_the_link():
    async def accept(request):
        connection = await request.accept()
        await connection._stream.send_all(b"\xff" * 64)
        await trio.sleep_forever()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            async with open_websocket(await serving(nursery, accept), None) as link:
                with pytest.raises(LinkClosed):
                    await link.receive()
            nursery.cancel_scope.cancel()


async def test_a_port_where_nobody_listens_is_told():
    with socket_nobody_listens_at() as port, pytest.raises(LinkClosed, match=r"no connection: .*refused"):
        async with open_websocket(f"ws://127.0.0.1:{port}/", None):
            pytest.fail("no connection came about")


@contextmanager
def socket_nobody_listens_at():
    """A port that is bound, so that nobody else takes it, and refuses."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


async def test_a_server_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr("mesh_protocol.io.websocket.CONNECT_SECONDS", 0.2)

    async def handle(stream):
        await trio.sleep_forever()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            [listener] = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
            port = listener.socket.getsockname()[1]
            with pytest.raises(LinkClosed, match="no answer"):
                async with open_websocket(f"ws://127.0.0.1:{port}/", None):
                    pytest.fail("no connection came about")
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("error", [OSError("mine"), trio.TooSlowError(), LinkClosed("mine"), KeyError("mine")])
async def test_what_the_body_raises_passes_as_it_is(error):
    async def accept(request):
        await (await request.accept()).get_message()

    async def ignore_the_end(request):
        try:
            await accept(request)
        except trio_websocket.ConnectionClosed:
            return

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            url = await serving(nursery, ignore_the_end)
            with pytest.raises(type(error)) as caught:
                async with open_websocket(url, None):
                    raise error
            assert caught.value is error
            nursery.cancel_scope.cancel()


async def test_a_cancelled_body_is_cancelled_and_nothing_else():
    async def accept(request):
        connection = await request.accept()
        try:
            await connection.get_message()
        except trio_websocket.ConnectionClosed:
            return

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            url = await serving(nursery, accept)
            with trio.CancelScope() as scope:
                async with open_websocket(url, None):
                    scope.cancel()
                    await trio.sleep_forever()
            assert scope.cancelled_caught
            nursery.cancel_scope.cancel()


# TLS.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Paths of a self-signed certificate for `localhost` and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


async def over_tls(certificate, context):
    """What a server behind TLS echoes to a client with `context`."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(*certificate)

    async def accept(request):
        connection = await request.accept()
        try:
            await connection.send_message(await connection.get_message())
            await connection.get_message()
        except trio_websocket.ConnectionClosed:
            return

    async def survive(stream):
        try:
            await handler(stream)
        except (trio.BrokenResourceError, ExceptionGroup):
            return  # the client turned away

    async def handler(stream):
        async with trio.open_nursery() as nursery:
            request = await trio_websocket.wrap_server_stream(nursery, stream)
            await accept(request)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_ssl_over_tcp_listeners(0, server_context, host="127.0.0.1")
            port = listeners[0].transport_listener.socket.getsockname()[1]
            nursery.start_soon(trio.serve_listeners, survive, listeners)
            try:
                async with open_websocket(f"wss://localhost:{port}/", context) as link:
                    await link.send(b"over TLS")
                    return await link.receive()
            finally:
                nursery.cancel_scope.cancel()


async def test_a_trusted_server_is_reached_over_tls(certificate):
    context = ssl.create_default_context(cafile=str(certificate[0]))
    assert await over_tls(certificate, context) == b"over TLS"


async def test_a_server_without_trust_is_refused_and_the_reason_told(certificate):
    with pytest.RaisesGroup(pytest.RaisesExc(LinkClosed, match="no TLS: self-signed certificate")):
        await over_tls(certificate, None)
