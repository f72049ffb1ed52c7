"""Whom a name means. Never a guess: an unknown or ambiguous name is refused with the candidates. Pure."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from mesh_protocol.envelope import MAX_SESSION
from mesh_protocol.ids import DeviceId, MemberId
from mesh_protocol.names import compare_form
from mesh_protocol.wire.errors import MeshError

MIN_KEY_PREFIX: Final = 8
MAX_CANDIDATES: Final = 10


class Recipient(NamedTuple):
    """A resolved target. `to` is its full name, `session` empty for the person."""

    to: str
    member: MemberId
    devices: tuple[DeviceId, ...]
    session: str


class Directory(NamedTuple):
    """What names mean in one mesh now.

    `names`: display name of each member. `devices`: their active devices. `sessions`: live and remembered session names
    by device, as far as known. `own` is this device and its member.
    """

    names: Mapping[MemberId, str]
    devices: Mapping[MemberId, Sequence[DeviceId]]
    sessions: Mapping[DeviceId, Sequence[str]]
    own_member: MemberId
    own_device: DeviceId


def resolve(directory: Directory, target: str) -> Recipient:
    """The one recipient that `target` names: PERSON, PERSON/SESSION, SESSION of this machine, or a key's beginning.

    Raises `MeshError` with `unknown_recipient` or `ambiguous_recipient`.
    """
    wanted = target.strip()
    person, slash, session = wanted.partition("/")
    found: list[Recipient] = []
    for member in _members(directory, person):
        if slash:
            found.extend(_session_of(directory, member, session))
        else:
            found.append(_person(directory, member))
    if not slash:
        found.extend(_local_sessions(directory, wanted))
    if not found:
        raise MeshError("unknown_recipient", target=target, candidates=[*_candidates(directory, wanted)])
    if len(found) > 1:
        raise MeshError("ambiguous_recipient", target=target, candidates=[r.to for r in found[:MAX_CANDIDATES]])
    return found[0]


def resolve_all(directory: Directory, targets: Iterable[str]) -> list[Recipient]:
    """The recipients of a list of names, each once; a person who is named takes his sessions along."""
    found: dict[tuple[MemberId, str], Recipient] = {}
    for target in targets:
        recipient = resolve(directory, target)
        found.setdefault((recipient.member, recipient.session), recipient)
    people = {member for member, session in found if not session}
    kept = [r for (member, session), r in found.items() if not session or member not in people]
    devices = [device for r in kept for device in r.devices]
    if len(devices) != len(set(devices)):
        raise MeshError("bad_request", what="two sessions of one machine: send each its own message")
    return kept


def _members(directory: Directory, name: str) -> list[MemberId]:
    folded = compare_form(name)
    exact = [member for member, shown in directory.names.items() if compare_form(shown) == folded]
    if exact or len(name) < MIN_KEY_PREFIX or not _is_hex(folded):
        return exact
    by_key = [member for member in directory.names if member.hex().startswith(folded)]
    by_device = [
        member
        for member, devices in directory.devices.items()
        if any(device.hex().startswith(folded) for device in devices)
    ]
    return [*dict.fromkeys([*by_key, *by_device])]


def _is_hex(text: str) -> bool:
    return all(c in "0123456789abcdef" for c in text)


def _person(directory: Directory, member: MemberId) -> Recipient:
    return Recipient(directory.names[member], member, tuple(directory.devices.get(member, ())), "")


def _session_of(directory: Directory, member: MemberId, session: str) -> list[Recipient]:
    """His devices that are known to have that session. A device never heard of may have it, so it is asked too; one that
    is known and does not have it is not."""
    devices = directory.devices.get(member, ())
    label = session
    known: list[DeviceId] = []
    for device in devices:
        own = _called(directory, device, session)
        if own is not None:
            label = own
            known.append(device)
    if not known and _may_be_session(session):
        known = [device for device in devices if device not in directory.sessions]
    return [Recipient(f"{directory.names[member]}/{label}", member, tuple(known), label)] if known else []


def _called(directory: Directory, device: DeviceId, name: str) -> str | None:
    """A device's session of that name, as the session itself writes it."""
    folded = compare_form(name)
    return next((own for own in directory.sessions.get(device, ()) if compare_form(own) == folded), None)


def _may_be_session(name: str) -> bool:
    """What no daemon calls a session is not sent into the dark: it would travel in an envelope and mean nobody there."""
    return 0 < len(name.encode()) <= MAX_SESSION and all(c.isalnum() or c in "-_." for c in name)


def _local_sessions(directory: Directory, name: str) -> list[Recipient]:
    own = _called(directory, directory.own_device, name)
    me = directory.names.get(directory.own_member, "me")
    return [] if own is None else [Recipient(f"{me}/{own}", directory.own_member, (directory.own_device,), own)]


def _candidates(directory: Directory, wanted: str) -> Sequence[str]:
    everything = list(directory.names.values())
    for member, devices in directory.devices.items():
        for device in devices:
            everything.extend(f"{directory.names[member]}/{name}" for name in directory.sessions.get(device, ()))
    near = difflib.get_close_matches(wanted, everything, n=MAX_CANDIDATES, cutoff=0.5)
    return [*dict.fromkeys([*near, *everything])][:MAX_CANDIDATES]
