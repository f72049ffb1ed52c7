"""The broker inside another program: through memory, as this machine, with its files and its key."""

import importlib
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio

from broker_kit.people import Device, envelope, new_mesh
from broker_kit.side import Side
from mesh_broker.app import open_embedded
from mesh_broker.folder import FolderTaken
from mesh_broker.keyfile import BadKeyFile, load_key, load_token
from mesh_protocol.broker_api import CHALLENGE, AcceptAnswer, Challenge, MailSend
from mesh_protocol.io.memory import EmbeddedBroker, EmbeddedBrokerModule
from mesh_protocol.op import read_answer

FAR_MS = 10**14


async def enter(nursery: trio.Nursery, broker: EmbeddedBroker) -> Side:
    side = Side(broker.connect())
    nursery.start_soon(side.run)
    side.challenge = read_answer(Challenge, (await side.heard(CHALLENGE)).params)
    assert side.challenge.broker_key == broker.public_key
    return side


def load_by_name() -> EmbeddedBrokerModule:
    module: EmbeddedBrokerModule = importlib.import_module("mesh_broker.app")
    return module


async def test_a_daemon_loads_it_by_name_and_meshes_without_a_token(tmp_path: Path) -> None:
    opened: AbstractAsyncContextManager[EmbeddedBroker] = load_by_name().open_embedded(tmp_path / "broker")
    ann = Device("ann")
    async with opened as broker, trio.open_nursery() as nursery:
        side = await enter(nursery, broker)
        mesh = new_mesh(ann, broker.public_key)
        await side.hello(mesh.id, ann.key, create=mesh)
        await side.resume(mesh)
        sent = envelope(mesh, ann, ann, 1, expires_ms=FAR_MS)
        await side.call(MailSend(mesh=mesh.id, again=True), AcceptAnswer, sent)
        assert await side.mail(1) == [(1, sent)]
        nursery.cancel_scope.cancel()
    async with open_embedded(tmp_path / "broker") as broker, trio.open_nursery() as nursery:
        side = await enter(nursery, broker)
        await side.hello(mesh.id, ann.key, generation=2)
        await side.resume(mesh)
        assert await side.mail(1) == [(1, sent)]
        nursery.cancel_scope.cancel()


async def test_its_end_ends_its_connections(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        async with open_embedded(tmp_path / "broker") as broker:
            side = await enter(nursery, broker)
        await side.closed()


async def test_two_do_not_share_a_folder(tmp_path: Path) -> None:
    async with open_embedded(tmp_path / "broker"):
        with pytest.raises(FolderTaken):
            async with open_embedded(tmp_path / "broker"):
                pass


async def test_what_the_daemon_raises_inside_comes_out(tmp_path: Path) -> None:
    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with open_embedded(tmp_path / "broker"):
            raise ZeroDivisionError


# The two secrets.


def test_secrets_are_made_once_private_and_read_back(tmp_path: Path) -> None:
    first = load_key(tmp_path, lambda size: b"k" * size)
    assert load_key(tmp_path, lambda size: b"x" * size).public == first.public
    token, made = load_token(tmp_path, lambda size: b"t" * size)
    assert (load_token(tmp_path, lambda size: b"x" * size), made) == ((token, False), True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["admission-token", "broker.key"]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in tmp_path.iterdir())


@pytest.mark.parametrize("trouble", ["mode", "link", "short", "folder"])
def test_a_secret_that_is_not_private_or_not_whole_is_refused(tmp_path: Path, trouble: str) -> None:
    path = tmp_path / "broker.key"
    match trouble:
        case "mode":
            path.write_bytes(bytes(32))
            path.chmod(0o640)
        case "link":
            (tmp_path / "elsewhere").write_bytes(bytes(32))
            (tmp_path / "elsewhere").chmod(0o600)
            path.symlink_to(tmp_path / "elsewhere")
        case "short":
            path.write_bytes(bytes(10))
            path.chmod(0o600)
        case "folder":
            path.mkdir(mode=0o700)
    with pytest.raises(BadKeyFile):
        load_key(tmp_path, lambda size: bytes(size))
