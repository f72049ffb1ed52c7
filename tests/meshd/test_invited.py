"""How many invites a machine opens to a mesh within an hour."""

import pytest

from mesh_protocol.wire.errors import MeshError
from meshd.invited import MAX_OPENED, WITHIN_S, Opened


def test_ten_are_opened_within_any_hour_and_the_refusal_says_when_to_try_again() -> None:
    opened = Opened()
    for number in range(MAX_OPENED):
        opened.take("team", 60.0 * number)
    for now, minutes in ((540.0, 51), (WITHIN_S - 0.5, 1)):
        with pytest.raises(MeshError) as refused:
            opened.take("team", now)
        assert refused.value.code == "invites_spent"
        assert refused.value.data["minutes"] == minutes
    opened.take("team", WITHIN_S)
    with pytest.raises(MeshError):
        opened.take("team", WITHIN_S + 59.0)


def test_what_came_to_nothing_does_not_count() -> None:
    opened = Opened()
    for _ in range(3 * MAX_OPENED):
        opened.give_back(opened.take("team", 1.0))
    opened.take("team", 1.0)
