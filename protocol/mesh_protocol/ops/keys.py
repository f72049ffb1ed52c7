"""The keys of this machine."""

from typing import Annotated

import msgspec

from mesh_protocol.op import Answer, Command, Request, Tier, op

Passphrase = Annotated[str, msgspec.Meta(max_length=1024)]


class KeysAnswer(Answer, frozen=True):
    """`keys` says where the keys lie and how they are protected, `notes` what else a person should know of them.

    `state` is ready or locked; `backend` keyring, file or empty; `protected`: by a passphrase or the login keyring.
    """

    state: str
    keys: str
    backend: str
    protected: bool
    notes: list[str]


@op("keys.status", answer=KeysAnswer, tier=Tier.AGENT, drops_unknown=True, command=Command("keys status"))
class KeysStatus(Request, frozen=True):
    """Show where the keys of this machine lie and how they are protected."""


@op(
    "keys.unlock",
    answer=KeysAnswer,
    tier=Tier.USER,
    guarded=True,
    audited=(),
    errors=("keys_unavailable",),
    command=Command("unlock", hidden=frozenset({"passphrase"})),
    payload="passphrase",
)
class Unlock(Request, frozen=True):
    """Open the keys of a daemon that started while they were locked."""

    passphrase: Passphrase = ""
    """Empty: the login keyring has been unlocked meanwhile."""


@op(
    "keys.protect",
    answer=KeysAnswer,
    tier=Tier.USER,
    guarded=True,
    audited=(),
    errors=("keys_unavailable",),
    command=Command("keys protect", hidden=frozenset({"passphrase", "old"})),
    payload="passphrase",
)
class Protect(Request, frozen=True):
    """Put the keys that lie in a file under a passphrase, or under another one.

    After the next start the daemon needs it: mesh unlock asks for it, or the service is given it (docs/keys.md).
    """

    passphrase: Passphrase
    old: Passphrase = ""
    """The one that protects them now; empty where none does."""


@op(
    "keys.unprotect",
    answer=KeysAnswer,
    tier=Tier.USER,
    guarded=True,
    audited=(),
    errors=("keys_unavailable",),
    command=Command("keys unprotect", hidden=frozenset({"passphrase"})),
    payload="passphrase",
)
class Unprotect(Request, frozen=True):
    """Take the passphrase of the keys away: from then on they are as safe as an ssh key without one."""

    passphrase: Passphrase
