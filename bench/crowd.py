"""Devices of one mesh at a broker, spoken for by this process: what a broker can take, without daemons in the way."""

import os
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import trio

from bench.connections import fail, first_records
from mesh_protocol.broker_api import MAIL_ACK
from mesh_protocol.chain import AddMember, Record, make_record, mesh_id_of
from mesh_protocol.envelope import Outer
from mesh_protocol.ids import DeviceId, MemberId, MeshId, MsgId
from mesh_protocol.io.connection import Connection
from mesh_protocol.keys import SigningKey
from mesh_protocol.pae import lst
from mesh_protocol.wire.rpc import NotificationReceived, Params
from meshd.link.driver import connect_url, open_greeting
from meshd.link.greeting import CALL_S, Greeting, say_hello

SENDERS: Final = 16
IN_FLIGHT: Final = 32
CIPHERTEXT: Final = 512 + 16
"""Bytes of the ciphertext of a text of some 200."""
FAR_MS: Final = 1 << 45
APPEND_AT_ONCE: Final = 50
BIND: Final = 200_000


@dataclass(slots=True)
class Crowd:
    """A mesh with `devices`; the first one made it. Keys are of this run alone."""

    url: str
    keys: list[SigningKey]
    records: list[Record]
    starts: int = 1
    """A device's generation must rise with each of its starts: here all share one count."""

    @property
    def mesh(self) -> MeshId:
        return mesh_id_of(self.records[0])

    @property
    def devices(self) -> list[DeviceId]:
        return [key.public for key in self.keys]

    async def grow(self, count: int) -> None:
        """Have `count` devices in the mesh."""
        async with self.entered(0) as greeting:
            while len(self.keys) < count:
                new: list[Record] = []
                for _ in range(min(APPEND_AT_ONCE, count - len(self.keys))):
                    key = SigningKey.from_seed(os.urandom(32))
                    body = AddMember(MemberId(os.urandom(16)), "member", key.public, os.urandom(80), b"").encode()
                    last = new[-1] if new else self.records[-1]
                    new.append(make_record(last, "add_member", body, self.keys[0], self.mesh))
                    self.keys.append(key)
                params: Params = {"mesh": self.mesh, "previous": self.records[-1].hash}
                sent = lst(lst(*(record.encode() for record in new)), lst())
                await greeting.connection.call("chain.append", params, sent, seconds=CALL_S)
                self.records.extend(new)

    @asynccontextmanager
    async def entered(self, number: int, **mail: "trio.MemorySendChannel[int]") -> AsyncIterator[Greeting]:
        """A connection of one device, after its hello. `mail` gets the numbers of what is pushed."""

        def notified(event: NotificationReceived) -> None:
            if event.method == "mail" and mail:
                seq = event.params["mseq"]
                assert isinstance(seq, int)
                mail["mail"].send_nowait(seq)

        self.starts += 1
        async with open_greeting(connect_url, self.url, fail, notified) as greeting:
            await say_hello(greeting, self.mesh, self.keys[number], generation=self.starts, nonce=os.urandom(32))
            yield greeting

    def envelopes(self, sender: int, count: int, to: Sequence[DeviceId], chance: random.Random) -> list[bytes]:
        """Envelopes of one device to random others; what is in them is noise, which a broker cannot tell."""
        return [
            Outer(
                self.mesh, self.keys[sender].public, chance.choice(to), MsgId(os.urandom(16)), 1, "next", FAR_MS, 1,
                os.urandom(32), os.urandom(CIPHERTEXT),
            ).encode()
            for _ in range(count)
        ]  # fmt: skip

    async def send(self, count: int, to: Sequence[DeviceId]) -> float:
        """Seconds that `count` envelopes of 16 connections take until the last one is accepted."""
        senders = min(SENDERS, len(self.keys))
        chance = random.Random(count)
        sets = [self.envelopes(number, count // senders, to, chance) for number in range(senders)]
        async with AsyncExitStack() as stack:
            links = [await stack.enter_async_context(self.entered(number)) for number in range(senders)]
            began = trio.current_time()
            async with trio.open_nursery() as nursery:
                for link, own in zip(links, sets, strict=True):
                    nursery.start_soon(_pipeline, link.connection, self.mesh, own)
            return trio.current_time() - began

    async def drain(self, number: int, count: int) -> float:
        """Seconds until one device was handed `count` envelopes of its mailbox, each batch acknowledged."""
        put, get = trio.open_memory_channel[int](BIND)
        async with self.entered(number, mail=put) as greeting:
            began = trio.current_time()
            params: Params = {"mesh": self.mesh, "acked": 0, "sacks": []}
            await greeting.connection.call("mail.resume", params, seconds=CALL_S)
            for done in range(1, count + 1):
                seq = await get.receive()
                if done % 64 == 0 or done == count:
                    await greeting.connection.notify(MAIL_ACK, {"mesh": self.mesh, "acked": seq, "sacks": []})
            return trio.current_time() - began


async def make_crowd(url: str, count: int) -> Crowd:
    """A new mesh of `count` devices at the broker."""
    async with open_greeting(connect_url, url, fail, lambda _: None) as greeting:
        key = SigningKey.from_seed(os.urandom(32))
        records = first_records(key, url, greeting.challenge.broker_key)
        crowd = Crowd(url, [key], records)
        await say_hello(greeting, crowd.mesh, key, generation=1, nonce=os.urandom(32), create=records)
    await crowd.grow(count)
    return crowd


async def _pipeline(connection: Connection, mesh: MeshId, envelopes: Sequence[bytes]) -> None:
    window = trio.Semaphore(IN_FLIGHT)

    async def one(body: bytes) -> None:
        await connection.call("mail.send", {"mesh": mesh, "again": True}, body, seconds=60)
        window.release()

    async with trio.open_nursery() as nursery:
        for body in envelopes:
            await window.acquire()
            nursery.start_soon(one, body)
