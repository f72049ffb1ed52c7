"""Whom on this machine an arriving message means. The sender names groups as he last heard of them; who is in them here
is decided here, when the message arrives.
"""

from typing import NamedTuple

from mesh_protocol.names import compare_form
from meshd.groups import Groups
from meshd.inbox import Address
from meshd.mesh import Mesh
from meshd.sessions import Session, Sessions
from meshd.targets import EVERYBODY, GROUP

PART = ","
"""Stands between the parts of a label; no name holds it."""


def join_labels(labels: list[str]) -> str:
    """One label for all that a message means on one device, each part once; the person, who has none, first."""
    return PART.join(sorted(dict.fromkeys(part for label in labels for part in label.split(PART)), key=bool))


class Writer(NamedTuple):
    """Who on this machine wrote a message: a session, or with an empty name the person."""

    session: str


def addresses(
    sessions: Sessions, groups: Groups, mesh: Mesh, label: str, exclude: Writer | None = None
) -> list[Address]:
    """Everybody here whom `label` means, each once; never empty.

    A part of it is empty (the person), a session's name, `@group` or `*`: the person and each visible live session.
    `exclude` wrote it here, and is not told by a group or `*` what he said himself; None: it came from another machine.
    What a part means nobody for waits in the person's inbox, and is said not to be known.
    """
    found: dict[tuple[str, str], Address] = {}
    for part in label.split(PART):
        for new in _of_part(sessions, groups, mesh, part, exclude):
            place = (new.session_key, "" if new.session_key or new.known else new.name)
            same = found.get(place, new)
            found[place] = same._replace(person=same.person or new.person, name=same.name or new.name)
    return _told_apart(_with_one_copy(list(found.values())))


def _of_part(sessions: Sessions, groups: Groups, mesh: Mesh, part: str, exclude: Writer | None) -> list[Address]:
    writer = exclude.session if exclude is not None else ""
    if part == EVERYBODY:
        here = [_session(s) for s in sessions.in_mesh(mesh.id) if s.visible and not _is(s, writer)]
        his_own = exclude is not None and not writer
        return here if his_own and here else [Address("", True, True, EVERYBODY), *here]
    if part.startswith(GROUP):
        takers = [_session(s) for s in groups.takers(mesh) if groups.includes(s, part[1:]) and not _is(s, writer)]
        return takers or [Address("", True, False, part)]
    address = sessions.address(mesh, part, writer)
    session = sessions.get(address.session_key) if part else None
    return [address._replace(name=session.name if session is not None else part)]


def _with_one_copy(found: list[Address]) -> list[Address]:
    """The person gets it once: as his own if he is meant himself, else beside the first that it could not be brought to."""
    his = [each for each in found if each.person]
    copy = next((each for each in his if each.known and not each.session_key), his[0] if his else None)
    return [each if each is copy else each._replace(person=False) for each in found]


def _told_apart(found: list[Address]) -> list[Address]:
    """No two under one name: a session that is back and one that ended may be called the same."""
    taken: set[str] = set()
    result: list[Address] = []
    for each in found:
        name = f"{each.name}~{each.session_key[:4]}" if each.name in taken else each.name
        taken.add(name)
        result.append(each._replace(name=name))
    return result


def _session(session: Session) -> Address:
    return Address(session.key, False, True, session.name)


def _is(session: Session, name: str) -> bool:
    return bool(name) and compare_form(session.name) == compare_form(name)
