"""What can stand between the daemon and its keys, and the sentences that say so."""

from dataclasses import dataclass
from typing import Literal

from meshd.refusal import StartRefused

BackendName = Literal["file", "keyring"]
KeyCondition = Literal["none", "ready", "locked", "unavailable", "damaged"]


class KeysNotReady(Exception):
    """The identity exists and cannot be had now. The daemon serves status only; nothing new is ever made."""


class KeysLocked(KeysNotReady):
    """A passphrase or an unlocked keyring is missing."""


class KeysUnavailable(KeysNotReady):
    """What holds the identity cannot be reached at all (no D-Bus in this login, no Secret Service)."""


class WrongPassphrase(KeysNotReady):
    """The passphrase does not open the key file. A changed file cannot be told from a wrong passphrase."""


class KeysRefused(Exception):
    """The request itself makes no sense here; the text says which would."""


class KeysDamaged(StartRefused):
    """Key files contradict each other or are gone. The daemon stops and explains; it never makes a second identity."""


@dataclass(frozen=True, slots=True)
class KeyReport:
    """For `mesh status` and `mesh doctor`."""

    condition: KeyCondition
    backend: BackendName | None
    protected: bool
    """By a passphrase or by the login keyring."""
    sentence: str
    """As in "keys: file, unprotected"."""
    notes: tuple[str, ...] = ()
