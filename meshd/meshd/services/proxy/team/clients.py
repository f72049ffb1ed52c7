"""Clients with a token of their own: colleagues and programs on this host that use the proxy.

A token is 256 random bits and is shown once. What is kept is its SHA-256, which needs no salt and no stretching: nobody can
search for a number of that size. It is compared in constant time.
"""

import base64
import hashlib
import hmac
from typing import Final, NamedTuple

import apsw

from mesh_protocol.io.sqlite import Database
from mesh_protocol.wire.errors import MeshError
from meshd.seams import Clock, Rng

MAX_CLIENTS: Final = 100
TOKEN_SIZE: Final = 32


class Client(NamedTuple):
    """`account` is whose credential its requests get; empty: they keep their own. `made_ms` in Unix epoch milliseconds."""

    name: str
    account: str
    made_ms: int


class _Known(NamedTuple):
    hash: bytes
    client: Client


class Clients:
    """The clients of one record; a revoked one is gone at once."""

    def __init__(self, db: Database, clock: Clock, rng: Rng) -> None:
        self._db = db
        self._clock = clock
        self._rng = rng
        self._known = _read(db.reader)

    def all(self) -> list[Client]:
        """In the order of their names."""
        return [each.client for each in self._known]

    def find(self, token: bytes) -> Client | None:
        """The client that has this token. Every one is compared, so that the time says nothing of which."""
        given = hashlib.sha256(token).digest()
        found = [each.client for each in self._known if hmac.compare_digest(each.hash, given)]
        return found[0] if found else None

    async def allow(self, name: str, account: str) -> str:
        """A new token for `name`, in the place of its old one. Raises `MeshError` `too_many` or `storage_full`."""
        if len([each for each in self._known if each.client.name != name]) >= MAX_CLIENTS:
            raise MeshError("too_many", what="clients of the proxy", limit=MAX_CLIENTS)
        token = base64.urlsafe_b64encode(self._rng(TOKEN_SIZE)).rstrip(b"=")
        row = (name, hashlib.sha256(token).digest(), account, self._clock())

        def work(tx: apsw.Connection) -> None:
            tx.execute("INSERT OR REPLACE INTO client(name, hash, account, made_ms) VALUES(?,?,?,?)", row)

        await self._db.write(work)
        self._known = _read(self._db.reader)
        return token.decode("ascii")

    async def revoke(self, name: str) -> bool:
        """Forget a client; whether there was one. What it has under way is answered to its end."""
        known = any(each.client.name == name for each in self._known)
        if known:
            await self._db.write(lambda tx: tx.execute("DELETE FROM client WHERE name=?", (name,)) and None)
            self._known = _read(self._db.reader)
        return known


def _read(db: apsw.Connection) -> list[_Known]:
    rows = db.execute("SELECT hash, name, account, made_ms FROM client ORDER BY name")
    return [_Known(bytes(row[0]), Client(*row[1:])) for row in rows]
