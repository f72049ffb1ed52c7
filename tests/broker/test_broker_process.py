"""The broker as a program: its ready line, its files, its signals and its exit statuses."""

import datetime
import ipaddress
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from broker_kit.people import START_MS, Device, envelope
from broker_kit.process import Process, connected, made_mesh, running
from mesh_protocol.broker_api import AcceptAnswer, MailSend, Stats, StatsAnswer
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.wire.errors import RemoteError

FAR_MS = START_MS + 10 * 365 * 86_400_000


async def test_it_says_it_is_ready_serves_and_ends_with_0_when_asked_to(tmp_path: Path) -> None:
    with running(tmp_path / "data") as process:
        url = process.ready()
        assert url.startswith("ws://127.0.0.1:")
        async with connected(url) as side:
            await made_mesh(side, Device("ann"))
            process.signal(signal.SIGTERM)
            assert "1001" in await side.closed()
        assert await process.ended() == 0


async def test_its_folder_and_files_are_its_users_alone_and_the_token_is_never_said(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(data) as process:
        process.ready()
        assert data.stat().st_mode & 0o777 == 0o700
        for path in data.iterdir():
            assert path.stat().st_mode & 0o077 == 0, path
        token = (data / "admission-token").read_text().strip()
        assert len(token) >= 32
        assert str(data / "admission-token") in process.log.read_text()
        assert token not in process.log.read_text()


async def test_key_token_and_meshes_outlive_a_restart(tmp_path: Path) -> None:
    ann = Device("ann")
    with running(tmp_path / "data") as process:
        async with connected(process.ready()) as side:
            mesh = await made_mesh(side, ann)
        token = (tmp_path / "data" / "admission-token").read_bytes()
        process.signal(signal.SIGINT)
        assert await process.ended() == 0
    with running(tmp_path / "data") as process:
        async with connected(process.ready()) as side:
            assert side.challenge.broker_key == mesh.broker_key
            await side.hello(mesh.id, ann.key)
        assert (tmp_path / "data" / "admission-token").read_bytes() == token


async def test_what_was_asked_before_the_end_is_answered_and_kept(tmp_path: Path) -> None:
    ann = Device("ann")
    with running(tmp_path / "data") as process:
        async with connected(process.ready()) as side:
            mesh = await made_mesh(side, ann)
            bodies = [envelope(mesh, ann, ann, n, expires_ms=FAR_MS) for n in range(60)]
            calls = [await side.connection.begin("mail.send", {"mesh": mesh.id}, body) for body in bodies]
            process.signal(signal.SIGTERM)
            accepted, refused = 0, list[str]()
            for call in calls:
                try:
                    await call.reply(5)
                    accepted += 1
                except RemoteError as error:
                    refused.append(error.code)
                except LinkClosed:
                    pass
        assert set(refused) <= {"shutting_down"}
        assert await process.ended() == 0
    with running(tmp_path / "data") as process:
        async with connected(process.ready()) as side:
            await side.hello(mesh.id, ann.key)
            assert (await side.call(Stats(mesh=mesh.id), StatsAnswer)).mailbox_rows >= accepted


async def test_a_second_broker_on_the_same_folder_says_so_and_leaves(tmp_path: Path) -> None:
    with running(tmp_path / "data") as first:
        first.ready()
        second = Process(tmp_path / "data")
        try:
            assert second.wait() == 75
            assert "another broker runs" in second.log.read_text()
        finally:
            second.close()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["run"],
        ["run", "--listen", "nowhere", "--data", "x"],
        ["run", "--listen", "h:99999", "--data", "x"],
        ["run", "--listen", "h:1", "--data", "x", "--limit", "speed=3"],
        ["run", "--listen", "h:1", "--data", "x", "--limit", "member_rate=9999"],
        ["run", "--listen", "h:1", "--data", "x", "--limit", "member_rate"],
        ["run", "--listen", "h:1", "--data", "x", "--tls-cert", "only.pem"],
        ["run", "--listen", "h:1", "--data", "x", "--trusted-proxy", "not a network"],
    ],
    ids=lambda arguments: " ".join(arguments) or "nothing",
)
def test_wrong_arguments_are_refused_with_one_line(arguments: list[str], tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "mesh_broker", *arguments], capture_output=True, text=True, cwd=tmp_path, timeout=20
    )
    assert found.returncode == 2
    assert "mesh-broker" in found.stderr
    assert "Traceback" not in found.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("trouble", ["open-key", "short-key", "open-folder", "foreign-database", "port", "certificate"])
async def test_what_cannot_work_is_said_in_one_line_with_status_78(tmp_path: Path, trouble: str) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    arguments: list[str] = []
    listen = "127.0.0.1:0"
    with socket.socket() as taken:
        match trouble:
            case "open-key":
                (data / "broker.key").write_bytes(bytes(32))
                (data / "broker.key").chmod(0o644)
            case "short-key":
                (data / "broker.key").write_bytes(bytes(31))
                (data / "broker.key").chmod(0o600)
            case "open-folder":
                data.chmod(0o777)
            case "foreign-database":
                (data / "broker.db").write_bytes(b"SQLite format 3\x00" + bytes(52) + b"\x00\x00\x00\x07" + bytes(4024))
            case "port":
                taken.bind(("127.0.0.1", 0))
                taken.listen()
                listen = f"127.0.0.1:{taken.getsockname()[1]}"
            case "certificate":
                (tmp_path / "bad.pem").write_text("not a certificate")
                arguments = ["--tls-cert", str(tmp_path / "bad.pem"), "--tls-key", str(tmp_path / "bad.pem")]
        process = Process(data, arguments, listen)
        try:
            assert process.wait() == 78, process.log.read_text()
            lines = [line for line in process.log.read_text().splitlines() if not line.startswith("{")]
            assert len(lines) == 1
            assert lines[0].startswith("mesh-broker: ")
        finally:
            process.close()


async def test_a_database_that_breaks_under_it_ends_it_with_70(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(data) as process:
        async with connected(process.ready()) as side:
            mesh = await made_mesh(side, Device("ann"))
            for path in (data / "broker.db", data / "broker.db-wal"):
                size = path.stat().st_size
                with path.open("r+b") as file:
                    file.write(b"\xa5" * size)
            with trio.move_on_after(15):
                for n in range(10_000):
                    try:
                        body = envelope(mesh, mesh.owner, mesh.owner, n, expires_ms=FAR_MS)
                        await side.call(MailSend(mesh=mesh.id, again=True), AcceptAnswer, body)
                    except RemoteError:
                        pass
                    except LinkClosed:
                        break
        assert await process.ended() == 70
        assert "database failed" in process.log.read_text()


async def test_out_of_files_it_turns_new_connections_away_and_recovers(tmp_path: Path) -> None:
    with running(tmp_path / "data") as process:
        url = process.ready()
        async with connected(url) as side:
            mesh = await made_mesh(side, Device("ann"))
            used = len(os.listdir(f"/proc/{process.pid}/fd"))
            soft, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (used + 1, hard))
            host, _, port = url.removeprefix("ws://").rpartition(":")
            crowd = [await trio.open_tcp_stream(host, int(port)) for _ in range(4)]
            with trio.fail_after(10):
                while "out-of-files" not in process.log.read_text():
                    await trio.sleep(0.02)
            await side.call(Stats(mesh=mesh.id), StatsAnswer)
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (soft, hard))
            for stream in crowd:
                await trio.aclose_forcefully(stream)
            async with connected(url) as other:
                await other.hello(mesh.id, mesh.owner.key)


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    cert_path, key_path = folder / "cert.pem", folder / "key.pem"
    cert_path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_path, key_path


async def test_with_a_certificate_it_speaks_wss_and_takes_a_renewed_one(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "first")
    trusting = ssl.create_default_context(cafile=str(cert))
    with running(tmp_path / "data", "--tls-cert", str(cert), "--tls-key", str(key)) as process:
        url = process.ready()
        assert url.startswith("wss://")
        async with connected(url, trusting) as side:
            mesh = await made_mesh(side, Device("ann"))
            bodies = [envelope(mesh, mesh.owner, mesh.owner, n, text="x" * 60_000, expires_ms=FAR_MS) for n in range(5)]
            for body in bodies:
                await side.call(MailSend(mesh=mesh.id, again=True), AcceptAnswer, body)
            await side.resume(mesh)
            assert [body for _, body in await side.mail(5)] == bodies
            with pytest.raises(LinkClosed):
                async with connected(url.replace("wss", "ws")):
                    pass
            certificate(tmp_path, "second")
            renewed = ssl.create_default_context(cafile=str(cert))
            process.signal(signal.SIGHUP)
            with trio.fail_after(10):
                while "certificate-reloaded" not in process.log.read_text():
                    await trio.sleep(0.02)
            async with connected(url, renewed) as other:
                await other.hello(mesh.id, mesh.owner.key)
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0
