"""The closed list of error codes, each with the user's text and the exit status of a command that ends with it.

A refusal that a caller can cause is one of these; anything else is a bug and surfaces as ``internal``. The text says
what to do next. Places in braces are filled from the error's data, so the same data serves a person and a program.
Loads with the standard library alone: the clients use it.
"""

from __future__ import annotations

from mesh_protocol.wire.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

    from mesh_protocol.wire.codec import JsonValue

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
BAD_DATA: Final = 65
UNAVAILABLE: Final = 69
TRY_LATER: Final = 75
NOT_ALLOWED: Final = 77
CONFIG: Final = 78


class Kind(NamedTuple):
    """What a code means to a person: `text` with places in braces, and the exit status."""

    exit: int
    text: str


CODES: Final[Mapping[str, Kind]] = {
    # The call itself.
    "bad_request": Kind(USAGE, "{what}"),
    "unknown_method": Kind(USAGE, "{method} is not a method this daemon knows; run mesh down && mesh up if it is old"),
    "unknown_field": Kind(USAGE, "{method} has no field {field}"),
    "newer_client": Kind(TRY_LATER, "this command is newer than the running daemon: run mesh down && mesh up"),
    "version_mismatch": Kind(TRY_LATER, "client speaks protocol {client}, daemon {daemon}: run mesh down && mesh up"),
    "cancelled": Kind(FAILED, "the call was cancelled"),
    "busy": Kind(TRY_LATER, "too many calls at once; try again in {retry_after} s"),
    "timeout": Kind(TRY_LATER, "{what} did not happen within {seconds} s; it goes on in the background"),
    "internal": Kind(FAILED, "the daemon failed at this call (a bug): its log names {reference}"),
    # Rights and keys.
    "not_allowed": Kind(NOT_ALLOWED, "{why}"),
    "guarded": Kind(NOT_ALLOWED, "an agent may not do this: run it yourself in a terminal: {command}"),
    "guard_asks": Kind(NOT_ALLOWED, "mesh guard is on: {command} asks for its passphrase on a terminal; {script}"),
    "wrong_passphrase": Kind(NOT_ALLOWED, "that is not the passphrase of mesh guard: nothing was done"),
    "bad_token": Kind(
        NOT_ALLOWED, "this token was never made here, was revoked or has expired: make another (mesh token create)"
    ),
    "keys_locked": Kind(TRY_LATER, "the keys are locked: run mesh unlock"),
    "keys_unavailable": Kind(CONFIG, "{why}"),
    # Meshes.
    "no_mesh": Kind(CONFIG, "no mesh yet: run mesh new NAME, or mesh join URL"),
    "unknown_mesh": Kind(USAGE, "no mesh is called {mesh} here; you have: {meshes}"),
    "ambiguous_mesh": Kind(USAGE, "{what} is in several meshes: {meshes}; name one with --mesh"),
    "mesh_local_only": Kind(CONFIG, "only this machine can reach {mesh}: make one with mesh new NAME --broker URL"),
    "name_taken": Kind(USAGE, "the name {name} is taken in this mesh: choose another with --name"),
    "bad_name": Kind(USAGE, "{name} cannot be a name: 1 to 32 letters, digits, or - _ ."),
    "bad_group": Kind(
        USAGE, "{name} cannot be a group: a path such as web/ui, of letters, digits, or - _ ., at most 128 bytes"
    ),
    # Invites.
    "bad_invite": Kind(BAD_DATA, "{why}"),
    "invite_unknown": Kind(BAD_DATA, "the mesh knows no such invite: ask for a new one (mesh invite)"),
    "invite_used": Kind(BAD_DATA, "this invite was used already: ask for a new one (mesh invite)"),
    "invite_expired": Kind(BAD_DATA, "this invite expired {when}: ask for a new one (mesh invite)"),
    "invite_closed": Kind(BAD_DATA, "this invite was closed: ask for a new one (mesh invite)"),
    "invite_denied": Kind(NOT_ALLOWED, "whoever may let you in said no: ask them, and for a new invite (mesh invite)"),
    "invites_spent": Kind(
        TRY_LATER,
        "this machine opened {limit} invites to {mesh} within an hour: try again in {minutes} min, or let several in by one"
        " (mesh invite --uses N)",
    ),
    # Linking a device.
    "bad_link": Kind(BAD_DATA, "{why}"),
    "link_unknown": Kind(
        BAD_DATA, "nobody waits behind this link any more: run mesh device link again on a machine that is in the mesh"
    ),
    "link_used": Kind(
        BAD_DATA, "another machine has used this link: run mesh device link again, and show the new link to nobody else"
    ),
    "link_ended": Kind(FAILED, "the machines are not linked: {why}; start again with mesh device link"),
    "words_differ": Kind(
        NOT_ALLOWED,
        "the words differ, so somebody else may have answered, and nothing was linked: run mesh device link again",
    ),
    "bad_backup": Kind(BAD_DATA, "{why}"),
    "already_member": Kind(FAILED, "this machine is already in {mesh}"),
    # Recipients and messages.
    "unknown_recipient": Kind(USAGE, "nobody here is called {target}; there are: {candidates}"),
    "ambiguous_recipient": Kind(USAGE, "{target} could be {candidates}: name one"),
    "not_found": Kind(FAILED, "there is no {what} {id}"),
    "ambiguous_id": Kind(USAGE, "{id} begins several ids: {candidates}; give more of it"),
    "too_large": Kind(BAD_DATA, "{what} is {size} bytes, the limit is {limit}"),
    "idempotency_conflict": Kind(
        BAD_DATA, "the idempotency key {key} was used for another request; nothing was changed"
    ),
    "outbox_full": Kind(TRY_LATER, "{waiting} messages wait for the broker, the limit is {limit}: see mesh doctor"),
    "out_of_turn": Kind(TRY_LATER, "an earlier message to the same device was refused; this one waits behind it"),
    "mailbox_full": Kind(TRY_LATER, "the recipient's mailbox at the broker is full; the message waits here"),
    "no_session": Kind(FAILED, "this command belongs to no agent session of this machine: {hint}"),
    "peer_changed": Kind(
        NOT_ALLOWED,
        "the keys of {peer} changed, or others signed them in for him, so nothing was sent: run mesh verify {peer}",
    ),
    "number_differs": Kind(
        FAILED,
        "these are not the numbers of {peer} now; compare again (mesh verify {peer}), and do not trust him so far",
    ),
    # Broker.
    "broker_unreachable": Kind(UNAVAILABLE, "the broker {url} does not answer: {why}; see mesh doctor"),
    "broker_refused": Kind(NOT_ALLOWED, "the broker {url} refused: {why}"),
    "admission_needed": Kind(NOT_ALLOWED, "the broker wants its admission token for a new mesh: --broker URL#TOKEN"),
    "unknown_on_broker": Kind(BAD_DATA, "the broker does not know this mesh"),
    "chain_conflict": Kind(TRY_LATER, "the membership changed meanwhile"),
    "chain_invalid": Kind(BAD_DATA, "the membership chain is not valid: {why}"),
    "broker_rollback": Kind(
        BAD_DATA, "the broker serves an older or another history of {mesh}: sending stopped; run mesh doctor"
    ),
    "clone": Kind(NOT_ALLOWED, "another daemon uses this machine's key, or its disk was restored: run mesh doctor"),
    "rate_limited": Kind(TRY_LATER, "too fast; try again in {retry_after} s"),
    "unknown_device": Kind(FAILED, "the mesh knows no such device"),
    "bad_envelope": Kind(BAD_DATA, "{why}"),
    # This machine.
    "no_daemon": Kind(UNAVAILABLE, "no daemon runs: {why}"),
    "bad_settings": Kind(CONFIG, "{path} {why}: mend it or move it away; it was left as it is"),
    "no_claude": Kind(CONFIG, "no claude program can be run: {why}; install Claude Code, or put it on PATH"),
    "already_running": Kind(TRY_LATER, "a daemon runs already: pid {pid}, home {home}, version {version}"),
    "storage_full": Kind(
        TRY_LATER, "the disk is full: free some space; nothing was lost, and what is stored can be read"
    ),
    "port_taken": Kind(TRY_LATER, "the port {port} of this machine cannot be used ({why}): give another with --port"),
    "too_many": Kind(FAILED, "there are {limit} {what} already, and no more are kept: remove one first"),
    "service_off": Kind(FAILED, "the {service} is off: run mesh {service} on"),
    "account_failed": Kind(FAILED, "the login of {account} gives no token: {why}; nothing was kept"),
    "audit_broken": Kind(BAD_DATA, "the audit is not what was written, first at entry {entry}: {why}"),
    "shutting_down": Kind(TRY_LATER, "the daemon is stopping: try again in a moment"),
}


class MeshError(Exception):
    """A refusal with a code of `CODES`. `data` holds what the text names, as plain JSON values."""

    def __init__(self, code: str, /, **data: JsonValue) -> None:
        kind = CODES[code]  # an undeclared code is a bug of the raiser, and says so at once
        self.code = code
        self.data: dict[str, JsonValue] = data
        self.message = kind.text.format_map(_Places(data))
        super().__init__(f"{code}: {self.message}")

    @property
    def exit(self) -> int:
        return CODES[self.code].exit


class _Places(dict[str, "JsonValue"]):
    """Fills a text's places; one that the raiser did not give reads as a dash rather than hiding the whole error."""

    def __missing__(self, key: str) -> str:
        return "-"

    def __getitem__(self, key: str) -> JsonValue:
        value = super().__getitem__(key) if key in self else self.__missing__(key)
        return ", ".join(map(str, value)) if isinstance(value, list) else value


class RemoteError(MeshError):
    """An error that came over the wire. A code this side does not know (a newer peer's) keeps its text."""

    def __init__(self, code: str, message: str, data: dict[str, JsonValue]) -> None:
        Exception.__init__(self, f"{code}: {message}")
        self.code = code
        self.message = message
        self.data = data

    @property
    def exit(self) -> int:
        kind = CODES.get(self.code)
        return kind.exit if kind is not None else FAILED
