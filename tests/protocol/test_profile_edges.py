"""Profiles and names of groups at their edges."""

import pytest

from mesh_protocol.pae import BadEncoding, lst, u64
from mesh_protocol.profile import MAX_PARTS, MAX_PROFILE, GroupRole, Profile, SessionGroups, check_group


def sessions(count):
    return tuple(SessionGroups(f"{number:03}", (GroupRole("g" * 100, "r" * 200),)) for number in range(count))


def test_a_profile_above_32_kib_is_neither_written_nor_read_though_its_parts_are_few():
    most = MAX_PROFILE // len(lst(sessions(1)[0].encode()))
    assert Profile.decode(Profile(1, sessions(most)).encode()).sessions == sessions(most)
    with pytest.raises(BadEncoding):
        Profile(1, sessions(256)).encode()
    with pytest.raises(BadEncoding):
        Profile.decode(lst(u64(1), lst(*(each.encode() for each in sessions(256)))))


def test_the_name_of_a_group_has_eight_parts_at_the_most_none_of_dots_alone():
    for name in ("X", "x.", ".x", "/".join("abcdefgh"), "n" * 128):
        assert check_group(name) == name
    for name in (".", "..", "a/..", "a//b", "/a", "a/", "/".join("abcdefghi"), "n" * 129, ""):
        with pytest.raises(BadEncoding):
            check_group(name)
    assert MAX_PARTS == 8
