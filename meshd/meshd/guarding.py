"""The guard: with it on, the guarded verbs want a proof of who calls, once for each connection.

A passphrase is stretched by Argon2id in a child process and compared in constant time; a token of 32 random bytes is known
by its SHA-256 only. A try at the passphrase is counted on the disk before it is judged, so that a daemon that is killed
meanwhile gives none away, and after a few in a row each one has to wait.
"""

import base64
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, NamedTuple

import apsw
import trio

from mesh_protocol.op import Operation
from mesh_protocol.ops.guard import TOKENS
from mesh_protocol.pae import CryptoError
from mesh_protocol.wire.errors import MeshError
from meshd.keys.states import KeysNotReady
from meshd.node import Node
from meshd.store import guard as store
from meshd.store.guard import GuardRow, TokenRecord

SALT_SIZE: Final = 16
TOKEN_SIZE: Final = 32
TOKEN_PREFIX: Final = "mesh_"  # noqa: S105 - what a token begins with, so that scanners of repositories find one
FREE_TRIES: Final = 3
MAX_WAIT_MS: Final = 60_000
"""Between two tries, however many failed: whoever guesses a thousand a day gets nowhere, and nobody is locked out for long."""
DAY_MS: Final = 24 * 3600 * 1000
OPENER: Final = "guard.open"
PASSPHRASE_ONLY: Final = frozenset({"guard.on", "guard.off", "token.create"})
"""A token does not do for these: it could make itself last for ever."""


class Proof(NamedTuple):
    """What a connection has proved: by the passphrase that was set as number `serial`, or by a token (its id)."""

    serial: int
    token: str = ""


@dataclass(slots=True, eq=False)
class Gate:
    """Of one connection: what its client has proved so far."""

    proof: Proof | None = None


class Guard:
    """The guard of a daemon whose keys are open. `stretch` blocks; `store.guard` holds what must survive."""

    def __init__(self, node: Node, stretch: Callable[[bytes, bytes], bytes]) -> None:
        self._node = node
        self._stretch = stretch
        self._one = trio.Lock()
        self._serial = 0
        self._row: GuardRow | None = None
        self.tokens: dict[str, TokenRecord] = {}

    def restore(self) -> None:
        self._row = store.read_guard(self._node.db.reader)
        self.tokens = {token.id: token for token in store.read_tokens(self._node.db.reader)}

    @property
    def since_ms(self) -> int:
        """When it was switched on; 0: it is off."""
        return 0 if self._row is None else self._row.since_ms

    @property
    def on(self) -> bool:
        return self._row is not None

    def admits(self, gate: Gate, operation: Operation) -> bool:
        """Whether a caller who may use the guarded verbs has proved enough for this one now."""
        proof = gate.proof
        if self._row is None or operation.method == OPENER:
            return True
        if proof is None or proof.serial != self._serial:
            return False
        if not proof.token:
            return True
        token = self.tokens.get(proof.token)
        return token is not None and self._node.now() < token.expires_ms and operation.method not in PASSPHRASE_ONLY

    # The passphrase.

    async def switch_on(self, passphrase: str, proof: Proof | None) -> Proof:
        """Set the passphrase; for another one than is set, who calls has proved that one. Raises `keys_unavailable`, or
        `not_allowed` when somebody set one meanwhile."""
        node = self._node
        async with self._one:
            if self._row is not None and (proof is None or proof.serial != self._serial):
                raise MeshError(
                    "not_allowed", why="somebody else has just set a passphrase: run mesh guard on once more"
                )
            salt = node.seams.rng(SALT_SIZE)
            stretched = await self._stretched(passphrase, salt)
            since = self._row.since_ms if self._row is not None else node.now()
            row = GuardRow(node.seal("guard", "sealed", b"guard", salt + stretched), since)
            await node.db.write(lambda tx: store.put_guard(tx, row))
            self._row = row
            self._serial += 1
            return Proof(self._serial)

    async def switch_off(self) -> None:
        """With all tokens."""
        async with self._one:
            await self._node.db.write(store.drop_guard)
            self._row = None
            self._serial += 1
            self.tokens.clear()

    async def try_passphrase(self, passphrase: str) -> Proof:
        """Raises `wrong_passphrase`, `rate_limited` after too many tries, `keys_unavailable`, `service_off`."""
        node = self._node
        async with self._one:
            row = self._require_on()
            now = node.now()
            # A clock that was set back says nothing of how long ago it was; but no wait is longer than the longest.
            since = now - row.last_ms if now >= row.last_ms - MAX_WAIT_MS else MAX_WAIT_MS
            left = _wait_ms(row.tries) - max(0, since)
            if left > 0:
                raise MeshError("rate_limited", retry_after=-(-left // 1000))
            await self._count(row.tries + 1, now)
            try:
                salt_and_key = node.open("guard", "sealed", b"guard", row.sealed)
            except CryptoError:
                raise MeshError("keys_unavailable", why="what mesh guard keeps was changed on the disk") from None
            stretched = await self._stretched(passphrase, salt_and_key[:SALT_SIZE])
            if not hmac.compare_digest(stretched, salt_and_key[SALT_SIZE:]):
                raise MeshError("wrong_passphrase")
            await self._count(0, now)
            return Proof(self._serial)

    async def _count(self, tries: int, now: int) -> None:
        row = self._require_on()
        await self._node.db.write(lambda tx: store.set_tries(tx, tries, now))
        self._row = row._replace(tries=tries, last_ms=now)

    async def _stretched(self, passphrase: str, salt: bytes) -> bytes:
        try:
            return await self._node.seams.threads(lambda: self._stretch(passphrase.encode(), salt))
        except KeysNotReady as error:
            raise MeshError("keys_unavailable", why=str(error)) from None

    def _require_on(self) -> GuardRow:
        if self._row is None:
            raise MeshError("service_off", service="guard")
        return self._row

    # Tokens.

    async def create_token(self, name: str, days: int) -> tuple[TokenRecord, str]:
        """A new token, and its secret, which is nowhere kept. Raises `service_off` or `too_many`."""
        node = self._node
        async with self._one:
            self._require_on()
            if len(self.tokens) >= TOKENS:
                raise MeshError("too_many", limit=TOKENS, what="tokens")
            secret = TOKEN_PREFIX + base64.urlsafe_b64encode(node.seams.rng(TOKEN_SIZE)).decode().rstrip("=")
            now = node.now()
            token = TokenRecord(node.seams.rng(4).hex(), name, _hash(secret), now, now + days * DAY_MS)

            def work(tx: apsw.Connection) -> None:
                store.put_token(tx, token)

            await node.db.write(work)
            self.tokens[token.id] = token
            return token, secret

    async def try_token(self, secret: str) -> Proof:
        """Raises `bad_token` for one that was never made, was revoked or has expired, and `service_off`."""
        self._require_on()
        given, now = _hash(secret), self._node.now()
        found = [token for token in self.tokens.values() if hmac.compare_digest(token.hash, given)]
        if not found or now >= found[0].expires_ms:
            raise MeshError("bad_token")
        token = found[0]._replace(used_ms=now)
        await self._node.db.write(lambda tx: store.set_used(tx, token.id, now))
        if token.id not in self.tokens:  # revoked meanwhile
            raise MeshError("bad_token")
        self.tokens[token.id] = token
        return Proof(self._serial, token.id)

    async def revoke_token(self, wanted: str) -> TokenRecord:
        """Raises `not_found`."""
        token = self.tokens.get(wanted)
        if token is None:
            raise MeshError("not_found", what="token", id=wanted)
        await self._node.db.write(lambda tx: store.drop_token(tx, wanted))
        self.tokens.pop(wanted, None)
        return token


def _hash(secret: str) -> bytes:
    return sha256(secret.encode()).digest()


def _wait_ms(tries: int) -> int:
    """How long after so many failed tries the next one has to wait: 1, 2, 4 seconds and so on."""
    return 0 if tries < FREE_TRIES else min(MAX_WAIT_MS, 1_000 << min(tries - FREE_TRIES, 10))
