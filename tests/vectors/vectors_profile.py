"""Vectors of what a device tells of its sessions' groups."""

from mesh_protocol.pae import lst, u64
from mesh_protocol.profile import MAX_GROUPS, GroupRole, Profile, SessionGroups
from vectors_shown import MAX, Json


def profile_json(profile: Profile) -> Json:
    return {
        "version": profile.version,
        "sessions": [
            {"session": each.session, "groups": [{"name": g.name, "role": g.role} for g in each.groups]}
            for each in profile.sessions
        ],
    }


def make_profile() -> Json:
    web = SessionGroups("web", (GroupRole("web/ui", "lead"), GroupRole("on-call", "")))
    docs = SessionGroups("docs-2", (GroupRole("früh/über_sicht.1", "hört zu 😀"),))
    profiles = {
        "a session in two groups": Profile(1, (web,)),
        "two sessions": Profile(1_790_000_000_000, (web, docs)),
        "no groups any more, greatest version": Profile(MAX, ()),
        "the longest names": Profile(2, (SessionGroups("s" * 128, (GroupRole("g" * 128, "r" * 256),)),)),
        "as many groups as a session has": Profile(
            3, (SessionGroups("web", tuple(GroupRole(f"g{n}", "") for n in range(MAX_GROUPS))),)
        ),
    }
    good = Profile(1, (web,)).encode()
    group, session = web.groups[0].encode(), web.encode()
    refused = {
        "nothing": b"",
        "one byte cut": good[:-1],
        "one byte appended": good + b"\0",
        "version 0": lst(u64(0), lst(session)),
        "a version of seven bytes": lst(bytes(7), lst(session)),
        "a field more": lst(u64(1), lst(session), b""),
        "a session without groups": lst(u64(1), lst(lst(b"web", lst()))),
        "a session without a name": lst(u64(1), lst(lst(b"", lst(group)))),
        "a session's name too long": lst(u64(1), lst(lst(b"s" * 129, lst(group)))),
        "a group without a name": lst(u64(1), lst(lst(b"web", lst(lst(b"", b""))))),
        "a group's name too long": lst(u64(1), lst(lst(b"web", lst(lst(b"g" * 129, b""))))),
        "a role too long": lst(u64(1), lst(lst(b"web", lst(lst(b"g", b"r" * 257))))),
        "a name that is not UTF-8": lst(u64(1), lst(lst(b"\xff", lst(group)))),
        "too many groups": lst(u64(1), lst(lst(b"web", lst(*[group] * (MAX_GROUPS + 1))))),
    }
    return {
        "profiles": [
            {"name": name, "decoded": profile_json(profile), "hex": profile.encode().hex()}
            for name, profile in profiles.items()
        ],
        "refused": [{"why": why, "hex": data.hex()} for why, data in refused.items()],
    }
