"""The inbox socket from our side: who may receive a message, and what is said when it does not get there."""

import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import trio

from meshd.claude.formats import ClaudeSession
from meshd.claude.frame import Sender, frame_message
from meshd.claude.inbox import Credentials, Inboxes, NotPushed, Pushed
from meshd.claude.marks import Mark, PushId
from meshd.processes import ProcTable

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peer credentials of Linux")

PUSH = PushId("11111111-1111-4111-9111-111111111111")
ALICE = Sender("alice", "web")
FRAMED = frame_message(ALICE, "m1", Mark("0123456789abcdef"), "hello")


@dataclass(slots=True)
class Listener:
    """What a listener got: how many connections, and the bytes of each."""

    connections: int = 0
    received: list[bytes] = field(default_factory=list)


async def read_to_end(stream: trio.SocketStream, heard: Listener) -> None:
    data = b"".join([chunk async for chunk in stream])
    heard.received.append(data)
    await stream.aclose()


async def hang_up(stream: trio.SocketStream, heard: Listener) -> None:
    await stream.aclose()


async def never_close(stream: trio.SocketStream, heard: Listener) -> None:
    await trio.sleep_forever()


@asynccontextmanager
async def listening(
    path: Path, behave: Callable[[trio.SocketStream, Listener], Awaitable[None]] = read_to_end
) -> AsyncIterator[Listener]:
    """A listener of this process at `path`, reached by a short name when the path is too long to bind."""
    heard = Listener()
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    sock = trio.socket.socket(socket.AF_UNIX)
    await sock.bind(f"/proc/self/fd/{folder}/{path.name}")
    os.close(folder)
    sock.listen()

    async def one(stream: trio.SocketStream) -> None:
        heard.connections += 1
        await behave(stream, heard)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, one, [trio.SocketListener(sock)])
        yield heard
        nursery.cancel_scope.cancel()


def folder_below(root: Path) -> Path:
    folder = root / "cc-socks"
    folder.mkdir(parents=True, mode=0o700)
    return folder


def session_at(folder: Path) -> ClaudeSession:
    """A session that claims to be this process, with its inbox in `folder`."""
    own = ProcTable().look(os.getpid())
    assert own is not None
    return ClaudeSession(
        pid=own.pid,
        session_id="11111111-2222-4333-8444-555555555555",
        proc_start=str(own.start),
        socket_path=str(folder / f"{own.pid}.sock"),
        cwd="/",
        name=None,
        kind="interactive",
        status="idle",
        status_at_ms=None,
        version="2.1.329",
        entrypoint="cli",
        peer_protocol=1,
    )


def inboxes(seconds: float = 5.0) -> Inboxes:
    return Inboxes(os.getuid(), ProcTable(), seconds=seconds)


def path_of(session: ClaudeSession) -> Path:
    assert session.socket_path is not None
    return Path(session.socket_path)


async def test_a_message_arrives_as_one_line_and_the_end_is_waited_for(tmp_path: Path) -> None:
    session = session_at(folder_below(tmp_path))
    async with listening(path_of(session)) as heard:
        assert await inboxes().push(session, PUSH, ALICE, FRAMED) == Pushed(PUSH)
        (line,) = heard.received
    assert json.loads(line)["msg_id"] == PUSH
    assert FRAMED.text in json.loads(line)["message"]["content"]


async def test_a_path_too_long_for_a_socket_address_is_reached(tmp_path: Path) -> None:
    session = session_at(folder_below(tmp_path / ("x" * 120)))
    async with listening(path_of(session)) as heard:
        assert await inboxes().push(session, PUSH, ALICE, FRAMED) == Pushed(PUSH)
        assert len(heard.received) == 1


async def test_a_probe_connects_and_writes_nothing(tmp_path: Path) -> None:
    session = session_at(folder_below(tmp_path))
    async with listening(path_of(session)) as heard:
        assert await inboxes().probe(session) is None
        assert heard.received == [b""]


async def test_a_listener_that_is_another_process_gets_no_byte(tmp_path: Path) -> None:
    folder = folder_below(tmp_path)
    session = replace(session_at(folder), pid=os.getppid(), socket_path=str(folder / f"{os.getppid()}.sock"))
    async with listening(path_of(session)) as heard:
        assert await inboxes().push(session, PUSH, ALICE, FRAMED) is NotPushed.WRONG_PROCESS
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert heard.connections == 1
        assert b"".join(heard.received) == b""


async def test_a_listener_of_another_user_gets_no_byte(tmp_path: Path) -> None:
    session = session_at(folder_below(tmp_path))
    strangers = replace(inboxes(), credentials=lambda sock: Credentials(os.getpid(), os.getuid() + 1))
    async with listening(path_of(session)) as heard:
        assert await strangers.push(session, PUSH, ALICE, FRAMED) is NotPushed.WRONG_PROCESS
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert b"".join(heard.received) == b""


async def test_a_pid_that_was_given_to_another_process_gets_no_byte(tmp_path: Path) -> None:
    session = replace(session_at(folder_below(tmp_path)), proc_start="1")
    async with listening(path_of(session)) as heard:
        assert await inboxes().push(session, PUSH, ALICE, FRAMED) is NotPushed.SESSION_GONE
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert b"".join(heard.received) == b""


async def test_a_folder_open_to_others_is_not_used(tmp_path: Path) -> None:
    folder = folder_below(tmp_path)
    session = session_at(folder)
    folder.chmod(0o710)
    async with listening(path_of(session)) as heard:
        assert await inboxes().push(session, PUSH, ALICE, FRAMED) is NotPushed.UNSAFE_FOLDER
        assert heard.connections == 0


async def test_a_linked_folder_is_not_used(tmp_path: Path) -> None:
    real = folder_below(tmp_path / "real")
    (tmp_path / "cc-socks").symlink_to(real)
    async with listening(path_of(session_at(real))) as heard:
        found = await inboxes().push(session_at(tmp_path / "cc-socks"), PUSH, ALICE, FRAMED)
        assert found is NotPushed.UNSAFE_FOLDER
        assert heard.connections == 0


async def test_another_users_folder_is_not_used(tmp_path: Path) -> None:
    session = session_at(folder_below(tmp_path))
    others = Inboxes(os.getuid() + 1, ProcTable())
    assert await others.push(session, PUSH, ALICE, FRAMED) is NotPushed.UNSAFE_FOLDER


@pytest.mark.parametrize("name", ["x.sock", "cc-socks/1.sock", "cc-socks/../cc-socks/{pid}.sock"])
async def test_a_path_that_claude_would_not_use_is_refused(tmp_path: Path, name: str) -> None:
    folder_below(tmp_path)
    session = session_at(tmp_path)
    path = f"{tmp_path}/{name.format(pid=session.pid)}"
    assert await inboxes().push(replace(session, socket_path=path), PUSH, ALICE, FRAMED) is NotPushed.BAD_PATH


async def test_a_session_without_an_inbox_is_told_apart(tmp_path: Path) -> None:
    session = session_at(tmp_path / "cc-socks")
    assert await inboxes().push(replace(session, socket_path=None), PUSH, ALICE, FRAMED) is NotPushed.NO_INBOX
    assert await inboxes().push(session, PUSH, ALICE, FRAMED) is NotPushed.NO_INBOX
    folder_below(tmp_path)
    assert await inboxes().push(session, PUSH, ALICE, FRAMED) is NotPushed.NO_INBOX
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path_of(session)))
    assert await inboxes().push(session, PUSH, ALICE, FRAMED) is NotPushed.NO_INBOX
    path_of(session).unlink()
    path_of(session).write_text("no socket")
    assert await inboxes().probe(session) is NotPushed.NO_INBOX


async def test_a_version_whose_inbox_is_not_known_is_not_written_to(tmp_path: Path) -> None:
    session = replace(session_at(folder_below(tmp_path)), version="9.0.0", peer_protocol=2)
    async with listening(path_of(session)) as heard:
        assert await inboxes().push(session, PUSH, ALICE, FRAMED) is NotPushed.NOT_SUPPORTED
        assert heard.connections == 0


async def test_a_connection_that_breaks_after_the_write_leaves_it_open_whether_it_arrived(tmp_path: Path) -> None:
    session = session_at(folder_below(tmp_path))
    large = frame_message(ALICE, "m1", Mark("0123456789abcdef"), "x" * 8000)
    big = replace(large, text=large.text * 200)  # more than a socket buffer holds, so that the write meets the close
    async with listening(path_of(session), hang_up):
        assert await inboxes().push(session, PUSH, ALICE, big) is NotPushed.UNCONFIRMED


async def test_a_listener_that_never_closes_is_left_in_time(tmp_path: Path) -> None:
    session = session_at(folder_below(tmp_path))
    async with listening(path_of(session), never_close):
        assert await inboxes(0.05).push(session, PUSH, ALICE, FRAMED) is NotPushed.UNCONFIRMED
        assert await inboxes(0.05).probe(session) is NotPushed.NO_INBOX
