"""The keys of this machine: how they are kept, opening them, and the passphrase that protects them."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from mesh_protocol.ops.keys import KeysAnswer, KeysStatus, Protect, Unlock, Unprotect
from mesh_protocol.wire.errors import MeshError
from meshd.keys.argon2 import PASSPHRASE_LIMIT, PASSPHRASE_MIN
from meshd.keys.states import KeysNotReady, KeysRefused
from meshd.local.dispatch import Call, handles

if TYPE_CHECKING:
    from meshd.app import App


@handles(KeysStatus)
async def keys_status(call: Call, request: KeysStatus) -> KeysAnswer:
    return _answer(call.app)


@handles(Unlock)
async def unlock(call: Call, request: Unlock) -> KeysAnswer:
    app = call.app
    if app.locked:
        await app.unlock(request.passphrase.encode() or None)
    return _answer(app)


@handles(Protect)
async def protect(call: Call, request: Protect) -> KeysAnswer:
    keystore, old = call.app.keystore, request.old.encode() or None
    passphrase = require_passphrase(request.passphrase)
    return await _change(call.app, lambda: keystore.protect(passphrase, old))


@handles(Unprotect)
async def unprotect(call: Call, request: Unprotect) -> KeysAnswer:
    keystore, passphrase = call.app.keystore, request.passphrase.encode()
    return await _change(call.app, lambda: keystore.unprotect(passphrase))


def require_passphrase(text: str) -> bytes:
    """A passphrase that something is to be put under, as bytes. Raises `bad_request` for one that is none."""
    passphrase = text.encode()
    if not PASSPHRASE_MIN <= len(passphrase) <= PASSPHRASE_LIMIT:
        raise MeshError(
            "bad_request", what=f"a passphrase has {PASSPHRASE_MIN} to {PASSPHRASE_LIMIT} bytes: take another"
        )
    if "\n" in text or "\r" in text or "\0" in text:
        raise MeshError("bad_request", what="a passphrase is one line: take another")
    return passphrase


async def _change(app: "App", change: Callable[[], None]) -> KeysAnswer:
    async with app.keys_changing:
        try:
            await app.seams.threads(change)
        except (KeysNotReady, KeysRefused) as error:
            raise MeshError("keys_unavailable", why=str(error)) from None
    return _answer(app)


def _answer(app: "App") -> KeysAnswer:
    report = app.keystore.report()
    return KeysAnswer(
        state="locked" if app.locked else "ready",
        keys=report.sentence,
        backend=report.backend or "",
        protected=report.protected,
        notes=[*report.notes],
    )
