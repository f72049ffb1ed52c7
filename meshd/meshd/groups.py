"""Groups of sessions: which ones the sessions of this machine are in, and which ones others said theirs are in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import apsw

from mesh_protocol.ids import DeviceId, MeshId
from mesh_protocol.names import compare_form
from mesh_protocol.pae import BadEncoding
from mesh_protocol.profile import (
    MAX_GROUPS,
    MAX_PROFILE,
    MAX_SESSIONS,
    GroupRole,
    Profile,
    SessionGroups,
    check_group,
    is_within,
)
from mesh_protocol.wire.errors import MeshError
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.sessions import Session, Sessions
from meshd.store import groups as store
from meshd.store.groups import MemberRow
from meshd.targets import may_be_session

ABSENT_MS: Final = 3 * 24 * 3600 * 1000
"""A session that ended stays in its groups for so long, over a weekend: what is sent meanwhile waits for its return."""
PROFILE_HEAD: Final = 8 + 3 * 16
"""Bytes of a profile beside its sessions."""


class Heard(NamedTuple):
    """The newest profile of another device; `at_ms` is when it was made, but never later than it came."""

    at_ms: int
    profile: Profile


@dataclass(slots=True, eq=False)
class Groups:
    """Membership by session key, and what was heard. `changed` is told when others should be told."""

    node: Node
    sessions: Sessions
    changed: Callable[[], None]
    _own: dict[str, dict[str, GroupRole]] = field(default_factory=dict)
    """By session key, then by the group's compare form."""
    _heard: dict[MeshId, dict[DeviceId, Heard]] = field(default_factory=dict)

    def restore(self) -> None:
        """Take up the membership of every session that is remembered, and forget that of the others."""
        gone: set[str] = set()
        for row in store.read_members(self.node.db.reader):
            if self.sessions.get(row.session_key) is None:
                gone.add(row.session_key)
            else:
                own = self._own.setdefault(row.session_key, {})
                own[compare_form(row.name)] = GroupRole(row.name, row.role)
        if gone:
            self.node.db.submit(lambda tx: store.forget_members(tx, gone))

    # This machine's sessions.

    def of(self, session: Session) -> tuple[GroupRole, ...]:
        """The groups a session is in, in the order in which it joined them."""
        return tuple(self._own.get(session.key, {}).values())

    def includes(self, session: Session, group: str) -> bool:
        """Whether a session is in a group or below it."""
        return any(is_within(each.name, group) for each in self.of(session))

    def takers(self, mesh: Mesh, *, hidden: bool = False) -> list[Session]:
        """The sessions of this machine that a group may mean: visible ones that live or ended lately, the living first;
        of several called the same, the first. `hidden`: those that hide themselves too."""
        since = self.node.now() - ABSENT_MS
        found: dict[str, Session] = {}
        for session in sorted(self.sessions.all(), key=lambda s: (not s.alive, -s.started_ms)):
            home = self.sessions.mesh_of(session)
            lately = session.alive or session.ended_ms > since
            if home is not None and home.id == mesh.id and lately and (hidden or session.visible):
                found.setdefault(compare_form(session.name), session)
        return list(found.values())

    def own_rows(self, mesh: Mesh, *, hidden: bool = False) -> tuple[SessionGroups, ...]:
        """What this machine's profile says, sorted by name. What would make it too large is left out, the sessions that
        ended longest ago first. `hidden`: also of sessions that hide themselves, which is told nobody else."""
        if not any(self._own.values()):  # asked at every message that is sent
            return ()
        rows: list[SessionGroups] = []
        room = MAX_PROFILE - PROFILE_HEAD
        for session in self.takers(mesh, hidden=hidden):
            groups = self.of(session)
            if not groups:
                continue
            row = SessionGroups(session.name, groups)
            room -= len(row.encode()) + 8
            if room < 0 or len(rows) == MAX_SESSIONS:
                break
            rows.append(row)
        return tuple(sorted(rows, key=lambda row: row.session))

    async def join(self, session: Session, group: GroupRole) -> None:
        """Put a session into a group, or give it another role there. Raises `MeshError` when it is in too many."""
        own = self._own.setdefault(session.key, {})
        form = compare_form(group.name)
        before = own.get(form)
        if before is None and len(own) >= MAX_GROUPS:
            raise MeshError("bad_request", what=f"a session can be in {MAX_GROUPS} groups: leave one first")
        row = MemberRow(session.key, group.name, group.role, self.node.now())
        instead_of = before.name if before is not None else ""
        own[form] = group
        await self._keep(lambda tx: store.put_member(tx, row, instead_of), own, form, before)

    async def leave(self, session: Session, name: str) -> bool:
        """Take a session out of a group; false when it is not in it."""
        own = self._own.get(session.key, {})
        form = compare_form(name)
        before = own.pop(form, None)
        if before is None:
            return False
        await self._keep(lambda tx: store.drop_member(tx, session.key, before.name), own, form, before)
        return True

    async def _keep(
        self, work: Callable[[apsw.Connection], None], own: dict[str, GroupRole], form: str, before: GroupRole | None
    ) -> None:
        """Store a change that is made here already, whatever becomes of who asked for it; undo it if that fails."""
        after = own.get(form)

        def settle() -> None:
            if not pending.succeeded and own.get(form) is after:
                if before is None:
                    own.pop(form, None)
                else:
                    own[form] = before
            self.node.events.publish("groups")
            self.changed()

        pending = self.node.db.submit(work)
        pending.settled(settle)
        await pending.wait()

    # The others.

    def hear(self, mesh: MeshId, device: DeviceId, heard: Heard) -> None:
        """Take in a profile that is stored, unless a newer one is here. Of it counts what is called as an honest daemon
        calls sessions and groups: names are shown to agents among the candidates for a mistyped one."""
        of_mesh = self._heard.setdefault(mesh, {})
        known = of_mesh.get(device)
        if known is None or known.profile.version < heard.profile.version:
            of_mesh[device] = heard._replace(profile=_sound(heard.profile))
            self.node.events.publish("groups")

    def forget(self, mesh: MeshId) -> None:
        """The mesh is left."""
        self._heard.pop(mesh, None)

    def heard(self, mesh: Mesh, device: DeviceId) -> Heard | None:
        """The newest profile of another device that is here; None: it never said anything of groups."""
        return self._heard.get(mesh.id, {}).get(device)

    def known(self, mesh: Mesh) -> dict[DeviceId, Sequence[SessionGroups]]:
        """The sessions that are in groups, as far as this machine knows, by active device."""
        found: dict[DeviceId, Sequence[SessionGroups]] = {self.node.device: self.own_rows(mesh)}
        for device, heard in self._heard.get(mesh.id, {}).items():
            if mesh.state.is_active(device):
                found[device] = heard.profile.sessions
        return found

    def listed(self, mesh: Mesh, device: DeviceId) -> Sequence[SessionGroups]:
        """Those of one device for the eyes of whoever sits here: also those of this machine that hide themselves."""
        if device == self.node.device:
            return self.own_rows(mesh, hidden=True)
        heard = self.heard(mesh, device)
        return heard.profile.sessions if heard is not None else ()


def _sound(profile: Profile) -> Profile:
    """A profile without names that no honest daemon gives."""
    rows: list[SessionGroups] = []
    for row in profile.sessions:
        groups = tuple(group for group in row.groups if _is_group(group.name))
        if groups and may_be_session(row.session):
            rows.append(SessionGroups(row.session, groups))
    return Profile(profile.version, tuple(rows))


def _is_group(name: str) -> bool:
    try:
        return check_group(name) == name
    except BadEncoding:
        return False
