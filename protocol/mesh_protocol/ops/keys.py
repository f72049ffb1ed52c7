"""The keys of this machine."""

from typing import Annotated

import msgspec

from mesh_protocol.op import Answer, Command, Request, Tier, op


class KeysAnswer(Answer, frozen=True):
    """`keys` says where the keys lie and how they are protected."""

    state: str
    keys: str


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

    passphrase: Annotated[str, msgspec.Meta(max_length=1024)] = ""
    """Empty: the login keyring has been unlocked meanwhile."""
