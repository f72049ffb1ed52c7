"""A broker's refusal in our own words: its code may be believed, its text is a stranger's and is never shown."""

from typing import Final

from mesh_protocol.keys import CryptoError
from mesh_protocol.wire.codec import CodecError, JsonValue
from mesh_protocol.wire.errors import MeshError, RemoteError

KNOWN: Final = frozenset(
    {
        "admission_needed",
        "bad_envelope",
        "chain_conflict",
        "chain_invalid",
        "clone",
        "invite_closed",
        "invite_denied",
        "invite_expired",
        "invite_unknown",
        "invite_used",
        "link_unknown",
        "link_used",
        "rate_limited",
        "shutting_down",
        "too_large",
        "unknown_on_broker",
        "version_mismatch",
    }
)
"""What a broker may say that means to a person what our own text for it says."""
OTHERS: Final = {
    "storage_full": "its disk is full: whoever runs it must free some space",
    "not_allowed": "it says that this machine is not in the mesh any more, or may not do this",
    "busy": "it has too much to do: try again later",
    "internal": "it failed at this call",
}
MAX_QUOTED: Final = 120


OUT: Final = frozenset({"broker_refused", "not_allowed", "unknown_on_broker"})
"""What a broker says to a device that the mesh does not have any more: the record of that it serves to members only."""


def is_out(error: BaseException) -> bool:
    """Whether this is how a broker turns away a device that is no member."""
    return isinstance(error, RemoteError) and error.code in OUT


def is_turned_out(error: BaseException) -> bool:
    """Whether a broker that has the mesh turns this machine away from it, as it does with who was removed."""
    return isinstance(error, RemoteError) and error.code in OUT - {"unknown_on_broker"}


def own_words(error: RemoteError, url: str) -> MeshError:
    """The refusal of the broker at `url` as an error of our own list."""
    if error.code in KNOWN:
        return MeshError(error.code, **{name: _plain_value(value) for name, value in error.data.items()})
    why = OTHERS.get(error.code)
    if why is None and error.code == "broker_refused":
        why = _plain(str(error.data.get("why", "")))
    return MeshError("broker_refused", url=url, why=why or f"{_plain(error.code)}, which this build does not know")


def not_genuine(error: CryptoError | CodecError, url: str) -> MeshError:
    """What the broker at `url` said does not hold."""
    return MeshError("broker_refused", url=url, why=f"what it says cannot be trusted: {error}")


def _plain_value(value: JsonValue) -> JsonValue:
    return value if isinstance(value, int | float) else _plain(str(value))


def _plain(text: str) -> str:
    """Printable characters on one line: no escapes, no bidirectional marks, and not many."""
    return "".join(c for c in text[: 4 * MAX_QUOTED] if c.isprintable())[:MAX_QUOTED]
