"""The daemon itself: hello, status, doctor, stop, and subscriptions to what changes."""

from typing import Annotated

import msgspec

from mesh_protocol.op import Answer, Command, Request, Tier, op
from mesh_protocol.ops.fields import Short


class HelloAnswer(Answer, frozen=True):
    """`tier` is what the daemon found the caller to be; `session` its agent session's name, empty for none."""

    proto: list[int]
    build: str
    tier: str
    session: str


@op("hello", answer=HelloAnswer, tier=Tier.STATUS, errors=("version_mismatch",), drops_unknown=True)
class Hello(Request, frozen=True):
    """Say which protocol and build a client is; the first request of a connection."""

    proto: Annotated[list[Annotated[int, msgspec.Meta(ge=0, le=65_535)]], msgspec.Meta(min_length=2, max_length=2)]
    build: Short
    env: Annotated[dict[Short, Short], msgspec.Meta(max_length=8)] = {}
    """Of the client's environment, only what names a Claude Code session or folder."""


class MeshStatus(Answer, frozen=True):
    """One mesh at a glance. `link` is offline, connecting, greeting, online or refused; `trouble` says what stops it.

    `asking` are machines that wait for this person's yes (mesh invites); `waiting_for` whom this machine itself waits for;
    `recovery_key` is "not backed up", "backed up" or "offline" on the machine that made or restored the mesh, else empty.
    """

    mesh: str
    id: str
    name: str
    me: str
    state: str
    broker: str
    link: str
    link_since_ms: int
    trouble: str
    members: int
    online: int
    waiting_out: int
    waiting_for: str
    recovery_key: str
    asking: int


class StatusAnswer(Answer, frozen=True):
    """How the daemon is. `state` is ready or locked; `keys` says where the keys lie and how they are protected."""

    version: str
    pid: int
    home: str
    up_s: int
    state: str
    keys: str
    device: str
    unread: int
    sessions: int
    meshes: list[MeshStatus]


@op("daemon.status", answer=StatusAnswer, tier=Tier.STATUS, drops_unknown=True, command=Command("status"))
class GetStatus(Request, frozen=True):
    """Show the daemon, its meshes, and whether their brokers answer."""


class Check(Answer, frozen=True):
    """One finding. `ok` is ok, warn or bad; `fix` is a command or a sentence that mends it."""

    name: str
    ok: str
    text: str
    fix: str


class DoctorAnswer(Answer, frozen=True):
    checks: list[Check]


@op("daemon.doctor", answer=DoctorAnswer, tier=Tier.STATUS)
class Doctor(Request, frozen=True):
    """Check everything that can keep a message from arriving on this machine, and say what mends it."""


class StopAnswer(Answer, frozen=True):
    pid: int


@op("daemon.stop", answer=StopAnswer, tier=Tier.USER)
class Stop(Request, frozen=True):
    """Stop the daemon; what is queued stays and goes out at the next start."""


class SubscribeAnswer(Answer, frozen=True):
    """Events follow as notifications `event {n, kind, data}`; `n` starts at `next` and has no gaps for this subscriber.

    A subscriber that is too slow gets `event` of kind `lagged` whose data says how many it missed.
    """

    next: int


@op("events.subscribe", answer=SubscribeAnswer, tier=Tier.STATUS)
class Subscribe(Request, frozen=True):
    """Be told of changes: message, inbox, presence, link, mesh, session."""

    kinds: Annotated[list[Short], msgspec.Meta(max_length=16)] = []
