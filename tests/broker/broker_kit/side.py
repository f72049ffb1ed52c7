"""The other side of a connection: calls, answers, and what the broker says unasked."""

from collections import deque
from collections.abc import Sequence
from typing import TypeVar

import pytest
import trio

from broker_kit.people import Mesh, seeded
from mesh_protocol.broker_api import Challenge, Hello, HelloAnswer, MailResume, ResumeAnswer, TipAnswer
from mesh_protocol.broker_chain import ChainAppend
from mesh_protocol.chain import Record
from mesh_protocol.hello import (
    BrokerHello,
    ClientHello,
    admission_proof,
    sign_client_hello,
    transcript_hash,
    verify_broker_hello,
)
from mesh_protocol.ids import MeshId
from mesh_protocol.io.connection import Call, Connection
from mesh_protocol.io.link import Link
from mesh_protocol.keys import SigningKey
from mesh_protocol.op import Answer, Request, operation_of, read_answer, write_params
from mesh_protocol.pae import lst, unlst
from mesh_protocol.seals import EpochSeal
from mesh_protocol.wire.errors import RemoteError
from mesh_protocol.wire.rpc import NotificationReceived

PATIENCE = 5.0
"""Seconds that anything may take here before its test fails."""

A = TypeVar("A", bound=Answer)


def append_body(records: Sequence[Record], seals: Sequence[EpochSeal] = ()) -> bytes:
    """The body of `chain.append`."""
    return lst(lst(*(record.encode() for record in records)), lst(*(seal.encode() for seal in seals)))


class Side:
    """The other end of a connection: calls, and notifications as they come."""

    challenge: Challenge

    def __init__(self, link: Link) -> None:
        self._link = HaltingLink(link)
        self.connection = Connection(self._link, notified=self._notified, failed=self._failed)
        self.ended: str | None = None
        self._heard: dict[str, deque[NotificationReceived]] = {}
        self._news = trio.Event()

    async def run(self) -> None:
        self.ended = await self.connection.run()
        self._wake()

    def _notified(self, event: NotificationReceived) -> None:
        self._heard.setdefault(event.method, deque()).append(event)
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = trio.Event()

    def _failed(self, method: str, error: BaseException) -> str:
        raise AssertionError(f"{method} failed") from error

    def stop_reading(self) -> None:
        """Take nothing from the link any more; sending goes on."""
        self._link.going = trio.Event()

    def read_on(self) -> None:
        """Read again."""
        self._link.going.set()

    async def heard(self, method: str) -> NotificationReceived:
        """The next notification of this kind."""
        with trio.fail_after(PATIENCE):
            while not self._heard.get(method):
                assert self.ended is None, f"the connection ended: {self.ended}"
                await self._news.wait()
        return self._heard[method].popleft()

    def waiting(self, method: str) -> int:
        """Notifications of this kind that nobody asked for yet."""
        return len(self._heard.get(method, ()))

    async def closed(self) -> str:
        """Wait for the end of the connection; why it ended."""
        with trio.fail_after(PATIENCE):
            await self.connection.wait_closed()
        return self.connection.closed or ""

    async def call(self, request: Request, kind: type[A], body: bytes = b"") -> A:
        """Call, and read the answer."""
        return (await self.call_with_body(request, kind, body))[0]

    async def call_with_body(self, request: Request, kind: type[A], body: bytes = b"") -> tuple[A, bytes]:
        reply = await self.connection.call(
            operation_of(type(request)).method, write_params(request), body, seconds=PATIENCE
        )
        return read_answer(kind, reply.result), reply.body

    async def begin(self, request: Request, body: bytes = b"") -> Call:
        """Send a request; its answer is asked for later."""
        return await self.connection.begin(operation_of(type(request)).method, write_params(request), body)

    async def items(self, request: Request, kind: type[A], max_items: int = 4096) -> list[bytes]:
        """Call, and read the items of the answer's body."""
        _, body = await self.call_with_body(request, kind)
        return unlst(body, max_items=max_items)

    async def refusal(self, request: Request, body: bytes = b"") -> str:
        """The code with which a call is refused."""
        with pytest.raises(RemoteError) as caught:
            await self.connection.call(
                operation_of(type(request)).method, write_params(request), body, seconds=PATIENCE
            )
        return caught.value.code

    def hello_request(
        self,
        mesh_id: MeshId,
        key: SigningKey,
        *,
        generation: int = 1,
        invite: bool = False,
        create: bool = False,
        meet: bool = False,
        token: bytes = b"",
        signer: SigningKey | None = None,
        ver: tuple[int, int] = (1, 1),
    ) -> tuple[Hello, ClientHello]:
        hello = ClientHello(
            self.challenge.broker_key, mesh_id, key.public, self.challenge.challenge, seeded("nonce"), *ver, generation
        )
        sig = sign_client_hello(hello, key) if signer is None else signer.sign(hello.bytes())
        request = Hello(
            mesh=mesh_id,
            device=key.public,
            nonce=hello.nonce,
            ver_min=ver[0],
            ver_max=ver[1],
            generation=generation,
            sig=sig,
            invite=invite,
            create=create,
            meet=meet,
            admission=admission_proof(token, hello) if token else b"",
        )
        return request, hello

    async def hello(
        self,
        mesh_id: MeshId,
        key: SigningKey,
        *,
        generation: int = 1,
        invite: bool = False,
        meet: bool = False,
        create: Mesh | None = None,
        token: bytes = b"",
    ) -> HelloAnswer:
        """The mutual hello, the broker's half verified."""
        request, hello = self.hello_request(
            mesh_id, key, generation=generation, invite=invite, create=create is not None, meet=meet, token=token
        )
        body = lst(*(record.encode() for record in create.records[:2])) if create is not None else b""
        answer = await self.call(request, HelloAnswer, body)
        verify_broker_hello(
            BrokerHello(transcript_hash(hello, request.sig), answer.version, answer.session_id, answer.server_ms),
            answer.sig,
            client_hello=hello,
            client_signature=request.sig,
        )
        return answer

    async def append(self, mesh: Mesh, *records: Record, seals: Sequence[EpochSeal] = ()) -> TipAnswer:
        """Append to the chain, here and there."""
        body = append_body(records, seals)
        answer = await self.call(ChainAppend(mesh=mesh.id, previous=mesh.head), TipAnswer, body)
        mesh.records.extend(records)
        return answer

    async def invite(self, mesh: Mesh, secret: bytes, uses: int = 1, **expiry: int) -> Record:
        """Open an invite; its record."""
        record = mesh.open_invite(secret, uses, **expiry)
        await self.append(mesh, record)
        return record

    async def resume(self, mesh: Mesh, acked: int = 0, sacks: "list[list[int]] | None" = None) -> ResumeAnswer:
        return await self.call(MailResume(mesh=mesh.id, acked=acked, sacks=sacks or []), ResumeAnswer)

    async def mail(self, count: int) -> "list[tuple[int, bytes]]":
        """The next `count` envelopes with their numbers."""
        found = [await self.heard("mail") for _ in range(count)]
        return [(int(str(event.params["mseq"])), event.body) for event in found]


class HaltingLink:
    """A link whose reader may stop."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.whole = link.whole
        self.going = trio.Event()
        self.going.set()

    async def send(self, frame: bytes) -> None:
        await self._link.send(frame)

    async def receive(self) -> bytes:
        data = await self._link.receive()
        await self.going.wait()
        return data

    async def aclose(self) -> None:
        await self._link.aclose()


class CapturedLink:
    """A link that keeps a copy of every byte."""

    def __init__(self, link: Link, kept: list[bytes]) -> None:
        self._link = link
        self._kept = kept
        self.whole = link.whole

    async def send(self, frame: bytes) -> None:
        self._kept.append(frame)
        await self._link.send(frame)

    async def receive(self) -> bytes:
        data = await self._link.receive()
        self._kept.append(data)
        return data

    async def aclose(self) -> None:
        await self._link.aclose()
