"""Accounts at the API that this host's clients share: a key, or a login whose token is renewed. Sealed under the store key.

A client with an account sends whatever it likes as its credential; what goes on is the account's, and nothing of it ever goes
back to the client.
"""

import re
import ssl
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Final, NamedTuple

import apsw
import msgspec
import trio

from mesh_protocol.io.sqlite import Database
from mesh_protocol.wire.errors import MeshError
from meshd.columns import open_column, seal_column
from meshd.log import get_logger
from meshd.seams import Seams
from meshd.services.proxy.guards import Refusal
from meshd.services.proxy.heads import Credential
from meshd.services.proxy.settings import parse_upstream
from meshd.services.proxy.team.renewal import CannotRenew, Grant, renew

log = get_logger("proxy")

MAX_ACCOUNTS: Final = 50
EARLY_MS: Final = 60_000
"""A login's token is renewed so long before it ends."""
AGAIN_MS: Final = 10_000
"""After so long a renewal that failed is tried again: until then nobody waits for an endpoint that is away."""
_HOST: Final = re.compile(r"[a-z0-9-]{1,32}\.localhost\Z")
KEY: Final = "key"
LOGIN: Final = "login"


class Account(NamedTuple):
    """`host` (empty: none) is a name of this listener by which a client without a token of its own chooses the account.
    `token_url` and `client_id` are a login's: where and as whom its token is renewed."""

    name: str
    kind: str
    host: str
    token_url: str
    client_id: str
    made_ms: int


class Accounts:
    """The accounts of one record, and their credentials while the daemon runs."""

    def __init__(
        self, db: Database, seams: Seams, store_key: bytes, make_context: Callable[[], ssl.SSLContext]
    ) -> None:
        self._db = db
        self._seams = seams
        self._store_key = store_key
        self._make_context = make_context
        self._accounts = _read(db.reader)
        self._locks: dict[str, trio.Lock] = {}
        self._failed_ms: dict[str, int] = {}
        """When renewing a login last failed."""

    def all(self) -> list[Account]:
        """In the order of their names."""
        return [*self._accounts.values()]

    def hosts(self) -> dict[str, str]:
        """The account that each name of the listener stands for."""
        return {each.host: each.name for each in self.all() if each.host}

    async def add(self, account: Account, secret: str) -> None:
        """Keep an account with its key, or with the refresh token of its login, which is used at once to see that it holds.

        Raises `MeshError`: `bad_request`, `account_failed`, `too_many` or `storage_full`.
        """
        others = [each for each in self.all() if each.name != account.name]
        if len(others) >= MAX_ACCOUNTS:
            raise MeshError("too_many", what="accounts of the proxy", limit=MAX_ACCOUNTS)
        if account.host and not _HOST.match(account.host):
            raise MeshError("bad_request", what="such a name is one word before .localhost: work.localhost")
        if account.host and any(each.host == account.host for each in others):
            raise MeshError("bad_request", what=f"{account.host} is another account's name of the listener")
        _require_header(secret)
        async with self._lock(account.name):
            if account.kind == KEY:
                await self._keep(account, Grant(access=secret))
                return
            try:
                await self._renewed(account, secret)
            except CannotRenew as error:
                raise MeshError("account_failed", account=account.name, why=str(error)) from None

    async def remove(self, name: str) -> bool:
        """Forget an account and its secret; whether there was one."""
        async with self._lock(name):  # or a renewal under way would bring it back
            known = name in self._accounts
            if known:
                await self._db.write(lambda tx: tx.execute("DELETE FROM account WHERE name=?", (name,)) and None)
                self._accounts = _read(self._db.reader)
                self._db.cut_log()
        return known

    async def credential(self, name: str) -> Credential | Refusal:
        """What an account's requests carry now; a login is renewed a minute before its end, once for all who wait."""
        async with self._lock(name):
            account = self._accounts.get(name)
            if account is None:
                return _refused(f"the account {name} is gone: mesh proxy allow gives the client another")
            grant = self._open(account)
            now = self._seams.clock()
            if account.kind == LOGIN and grant.until_ms - now < EARLY_MS:
                if not 0 <= now - self._failed_ms.get(name, -AGAIN_MS) < AGAIN_MS:
                    try:
                        grant = await self._renewed(account, grant.refresh)
                    except (CannotRenew, MeshError) as error:
                        log.warning("a login could not be renewed", error=error)
                        self._failed_ms[name] = self._seams.clock()
                if grant.until_ms <= now:
                    return _refused(f"the login of {name} could not be renewed: mesh proxy account {name}")
        if account.kind == KEY:
            return Credential(b"x-api-key", grant.access.encode("latin-1"))
        return Credential(b"authorization", b"Bearer " + grant.access.encode("latin-1"), beta=b"oauth-2025-04-20")

    def _lock(self, name: str) -> trio.Lock:
        """One at a time changes an account, and uses up its refresh token."""
        return self._locks.setdefault(name, trio.Lock())

    async def _renewed(self, account: Account, refresh: str) -> Grant:
        # Kept before it is used, and whoever stops meanwhile: the old refresh token may be void from now on.
        with trio.CancelScope(shield=True):
            new = await self._ask(account, refresh)
            await self._keep(account, new)
        self._failed_ms.pop(account.name, None)
        return new

    async def _ask(self, account: Account, refresh: str) -> Grant:
        url = parse_upstream(account.token_url)
        context = self._make_context() if url.tls else None
        ask = partial(renew, url, account.client_id, refresh, self._seams.clock, context)
        return await self._seams.threads(ask)

    async def _keep(self, account: Account, grant: Grant) -> None:
        row = account.name.encode()
        sealed = seal_column(self._store_key, "account", "secret", row, msgspec.json.encode(grant), self._seams.rng(24))
        await self._db.write(
            lambda tx: tx.execute("INSERT OR REPLACE INTO account VALUES(?,?,?,?,?,?,?)", (*account, sealed)) and None
        )
        self._accounts = _read(self._db.reader)

    def _open(self, account: Account) -> Grant:
        row = self._db.reader.execute("SELECT secret FROM account WHERE name=?", (account.name,)).fetchone()
        sealed = bytes(row[0]) if row is not None else b""
        plain = open_column(self._store_key, "account", "secret", account.name.encode(), sealed)
        return msgspec.json.decode(plain, type=Grant)


def _require_header(secret: str) -> None:
    if not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise MeshError("bad_request", what="that is no key and no token: one line of printable characters")


def _refused(text: str) -> Refusal:
    return Refusal(HTTPStatus.UNAUTHORIZED, "authentication_error", text)


def _read(db: apsw.Connection) -> dict[str, Account]:
    rows = db.execute("SELECT name, kind, host, token_url, client_id, made_ms FROM account ORDER BY name")
    return {row[0]: Account(*row) for row in rows}
