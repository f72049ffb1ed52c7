"""Whom a name means. Never a guess: an unknown or ambiguous name is refused with the candidates. Pure."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from mesh_protocol.envelope import MAX_SESSION
from mesh_protocol.ids import DeviceId, MemberId
from mesh_protocol.names import compare_form
from mesh_protocol.pae import BadEncoding
from mesh_protocol.profile import SessionGroups, check_group, is_within
from mesh_protocol.wire.errors import MeshError

MIN_KEY_PREFIX: Final = 8
MAX_CANDIDATES: Final = 10
EVERYBODY: Final = "*"
GROUP: Final = "@"


class Recipient(NamedTuple):
    """A resolved target. `to` is its full name; `session` is what travels to its devices: a session's name, `@group`, `*`,
    or empty for the person."""

    to: str
    member: MemberId
    devices: tuple[DeviceId, ...]
    session: str


class Directory(NamedTuple):
    """What names mean in one mesh now.

    `names`: display name of each member. `devices`: their active devices. `sessions`: live and remembered session names
    by device, as far as known. `own` is this device and its member. `groups`: the sessions of each device that are in
    groups, as far as known, this device's too. `visible`: the live sessions here that show themselves. `writer`: the
    session here that asks, empty for the person.
    """

    names: Mapping[MemberId, str]
    devices: Mapping[MemberId, Sequence[DeviceId]]
    sessions: Mapping[DeviceId, Sequence[str]]
    own_member: MemberId
    own_device: DeviceId
    groups: Mapping[DeviceId, Sequence[SessionGroups]] = {}
    visible: Sequence[str] = ()
    writer: str = ""


class Resolved(NamedTuple):
    """A list of targets. `audience` is what of it means many, as it was written, in normal form; `wanted` names every
    target in full, so that two requests can be told to be the same one."""

    recipients: list[Recipient]
    audience: str
    wanted: tuple[str, ...]


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
        raise _unknown(directory, target)
    if len(found) > 1:
        raise MeshError("ambiguous_recipient", target=target, candidates=[r.to for r in found[:MAX_CANDIDATES]])
    return found[0]


def resolve_many(directory: Directory, target: str) -> list[Recipient] | None:
    """The recipients of `@group`, of `*`, or of the part of them that is with one person (`PERSON/@group`); one for each
    member, none for the sender alone. None: `target` means no such many.

    Raises `MeshError` with `unknown_recipient` (no session is known to be in the group) or `ambiguous_recipient`.
    """
    wanted = target.strip()
    person, _, label = wanted.rpartition("/") if wanted.endswith(f"/{EVERYBODY}") else _split_group(wanted)
    if label != EVERYBODY and not label.startswith(GROUP):
        return None
    members = _members(directory, person) if person else list(directory.names)
    if person and len(members) > 1:
        names = [f"{directory.names[member]}/{label}" for member in members]
        raise MeshError("ambiguous_recipient", target=target, candidates=[*names[:MAX_CANDIDATES]])
    if label == EVERYBODY:
        found = [_everybody_of(directory, member) for member in members]
        known = bool(members)
    else:
        label = GROUP + _group_name(directory, label[1:], target)
        found = [_group_of(directory, member, label[1:]) for member in members]
        known = any(_in_group(directory, device, label[1:]) for member in members for device in _all(directory, member))
    if not known:
        raise _unknown(directory, target)
    return [
        Recipient(f"{directory.names[member]}/{label}", member, devices, label)
        for member, devices in zip(members, found, strict=True)
        if devices
    ]


def resolve_all(directory: Directory, targets: Iterable[str]) -> Resolved:
    """The recipients of a list of names of all kinds, each once. Raises `MeshError`, also for one unknown name of many."""
    found: dict[tuple[MemberId, str], Recipient] = {}
    audience: dict[str, str] = {}
    wanted: dict[str, None] = {}
    for target in targets:
        many = resolve_many(directory, target)
        if many is not None:
            audience.setdefault(compare_form(target.strip()), target.strip())
            wanted[compare_form(target.strip())] = None
        for recipient in [resolve(directory, target)] if many is None else many:
            found.setdefault((recipient.member, compare_form(recipient.session)), recipient)
            if many is None:
                wanted[compare_form(recipient.to)] = None
    return Resolved(list(found.values()), ", ".join(audience.values()), tuple(sorted(wanted)))


def _split_group(wanted: str) -> tuple[str, str, str]:
    """PERSON/@group in its parts; a group's own name holds slashes too."""
    if wanted.startswith(GROUP) or wanted == EVERYBODY:
        return "", "", wanted
    person, slash, group = wanted.partition(f"/{GROUP}")
    return person, slash, GROUP + group if slash else wanted


def _group_name(directory: Directory, typed: str, target: str) -> str:
    try:
        return check_group(typed)
    except BadEncoding:
        raise _unknown(directory, target) from None


def _group_of(directory: Directory, member: MemberId, group: str) -> tuple[DeviceId, ...]:
    """The devices of a member that have a session in the group, beside the one that asks."""
    return tuple(
        device
        for device in _all(directory, member)
        if any(
            device != directory.own_device or compare_form(name) != compare_form(directory.writer)
            for name in _in_group(directory, device, group)
        )
    )


def _everybody_of(directory: Directory, member: MemberId) -> tuple[DeviceId, ...]:
    """All devices of a member; this one only if anybody but the one who asks is there."""
    others = [name for name in directory.visible if compare_form(name) != compare_form(directory.writer)]
    here = bool(directory.writer or others)
    return tuple(device for device in _all(directory, member) if device != directory.own_device or here)


def _in_group(directory: Directory, device: DeviceId, group: str) -> list[str]:
    """The sessions of a device that are in a group or below it."""
    rows = directory.groups.get(device, ())
    return [row.session for row in rows if any(is_within(each.name, group) for each in row.groups)]


def _all(directory: Directory, member: MemberId) -> Sequence[DeviceId]:
    return directory.devices.get(member, ())


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
    return Recipient(directory.names[member], member, tuple(_all(directory, member)), "")


def _session_of(directory: Directory, member: MemberId, session: str) -> list[Recipient]:
    """His devices that are known to have that session. A device never heard of may have it, so it is asked too; one that
    is known and does not have it is not."""
    devices = _all(directory, member)
    label = session
    known: list[DeviceId] = []
    for device in devices:
        own = _called(directory, device, session)
        if own is not None:
            label = own
            known.append(device)
    if not known and may_be_session(session):
        known = [device for device in devices if device not in directory.sessions]
    return [Recipient(f"{directory.names[member]}/{label}", member, tuple(known), label)] if known else []


def _called(directory: Directory, device: DeviceId, name: str) -> str | None:
    """A device's session of that name, as the session itself writes it."""
    folded = compare_form(name)
    return next((own for own in directory.sessions.get(device, ()) if compare_form(own) == folded), None)


def may_be_session(name: str) -> bool:
    """What no daemon calls a session is not sent into the dark: it would travel in an envelope and mean nobody there."""
    return 0 < len(name.encode()) <= MAX_SESSION and all(c.isalnum() or c in "-_." for c in name)


def _local_sessions(directory: Directory, name: str) -> list[Recipient]:
    own = _called(directory, directory.own_device, name)
    me = directory.names.get(directory.own_member, "me")
    return [] if own is None else [Recipient(f"{me}/{own}", directory.own_member, (directory.own_device,), own)]


def _unknown(directory: Directory, target: str) -> MeshError:
    return MeshError("unknown_recipient", target=target, candidates=[*_candidates(directory, target.strip())])


def _candidates(directory: Directory, wanted: str) -> Sequence[str]:
    """The nearest names first; who asks for a group is told of groups first."""
    people = list(directory.names.values())
    for member, devices in directory.devices.items():
        for device in devices:
            people.extend(f"{directory.names[member]}/{name}" for name in directory.sessions.get(device, ()))
    rows = [row for rows in directory.groups.values() for row in rows]
    groups = [*dict.fromkeys(GROUP + group.name for row in rows for group in row.groups)]
    everything = [*groups, *people] if wanted.startswith(GROUP) else [*people, *groups]
    near = difflib.get_close_matches(wanted, everything, n=MAX_CANDIDATES, cutoff=0.5)
    return [*dict.fromkeys([*near, *everything])][:MAX_CANDIDATES]
