"""Profiles within their limits, and the names of groups."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_protocol.keys import BadEncoding
from mesh_protocol.profile import (
    MAX_GROUPS,
    MAX_PARTS,
    MAX_PROFILE,
    MAX_SESSIONS,
    GroupRole,
    Profile,
    SessionGroups,
    check_group,
    is_within,
)

ROLES = st.builds(GroupRole, name=st.text(min_size=1, max_size=16), role=st.text(max_size=16))
SESSIONS = st.builds(
    SessionGroups,
    session=st.text(min_size=1, max_size=16),
    groups=st.lists(ROLES, min_size=1, max_size=4).map(tuple),
)
PROFILES = st.builds(Profile, version=st.integers(1, 2**63 - 1), sessions=st.lists(SESSIONS, max_size=8).map(tuple))
ONE = SessionGroups("web", (GroupRole("web/ui", "lead"),))


@given(PROFILES)
def test_a_profile_is_read_back_as_it_was_written(profile):
    assert Profile.decode(profile.encode()) == profile


@given(st.binary(max_size=400))
def test_any_other_bytes_are_refused_as_such(data):
    try:
        profile = Profile.decode(data)
    except BadEncoding:
        return
    assert profile.encode() == data


@pytest.mark.parametrize(
    "change", [{"version": 0}, {"version": 2**63}, {"sessions": (ONE,) * (MAX_SESSIONS + 1)}], ids=str
)
def test_a_profile_outside_its_limits_cannot_be_built(change):
    with pytest.raises(BadEncoding):
        replace(Profile(1, (ONE,)), **change)


@pytest.mark.parametrize(
    "change",
    [{"session": ""}, {"session": "s" * 129}, {"groups": ()}, {"groups": ONE.groups * (MAX_GROUPS + 1)}],
    ids=str,
)
def test_a_session_outside_its_limits_cannot_be_built(change):
    with pytest.raises(BadEncoding):
        replace(ONE, **change)


@pytest.mark.parametrize("change", [{"name": ""}, {"name": "g" * 129}, {"role": "r" * 257}], ids=str)
def test_a_group_outside_its_limits_cannot_be_built(change):
    with pytest.raises(BadEncoding):
        replace(GroupRole("web", ""), **change)


def test_a_profile_of_too_many_bytes_is_neither_written_nor_read():
    wide = SessionGroups("web", tuple(GroupRole("g" * 128, "r" * 256) for _ in range(MAX_GROUPS)))
    with pytest.raises(BadEncoding):
        Profile(1, (wide,) * 3).encode()
    with pytest.raises(BadEncoding):
        Profile.decode(bytes(MAX_PROFILE + 1))


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("web", "web"),
        ("Web/UI", "Web/UI"),
        ("über_uns/v1.2-b", "über_uns/v1.2-b"),
        ("\uff57\uff45\uff42", "web"),
        ("1", "1"),
        (".github", ".github"),
        ("/".join("a" * MAX_PARTS), "/".join("a" * MAX_PARTS)),
        ("g" * 128, "g" * 128),
    ],
)
def test_a_groups_name_is_a_path_in_normal_form(typed, name):
    assert check_group(typed) == name
    assert check_group(name) == name


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "/",
        "web/",
        "/web",
        "web//ui",
        "web ui",
        "@web",
        "*",
        "a,b",
        "web/../ui",
        ".",
        "we\nb",
        "\u202eweb",
        "g" * 129,
        "é" * 65,
        "/".join("a" * (MAX_PARTS + 1)),
        "web\ud800",
    ],
)
def test_what_is_no_path_is_no_groups_name(typed):
    with pytest.raises(BadEncoding):
        check_group(typed)


@pytest.mark.parametrize(
    ("name", "group"),
    [("web", "web"), ("web/ui", "web"), ("web/ui/x", "web/ui"), ("WEB/ui", "Web"), ("Straße/x", "STRASSE")],
)
def test_a_group_holds_itself_and_what_is_below_it(name, group):
    assert is_within(name, group)


@pytest.mark.parametrize(
    ("name", "group"), [("web", "web/ui"), ("website", "web"), ("web-ui", "web"), ("ui/web", "web")]
)
def test_a_group_holds_nothing_else(name, group):
    assert not is_within(name, group)
