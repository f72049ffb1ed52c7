"""Fitting a line into a width: what is said shorter first, what goes first, and that it is never too wide or empty."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.fitting import Part, clean, cut, dim, fit, width

PARTS = [
    Part(100, ("mesh team", "team")),
    Part(40, ("bob, carol, dave", "bob +2")),
    Part(60, ("4/5 online", "4/5")),
    Part(85, ("2 unread",)),
    Part(20, ("$0.25",)),
]


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (0, "mesh team · bob, carol, dave · 4/5 online · 2 unread · $0.25"),
        (60, "mesh team · bob, carol, dave · 4/5 online · 2 unread · $0.25"),
        (59, "mesh team · bob +2 · 4/5 online · 2 unread · $0.25"),
        (49, "mesh team · bob +2 · 4/5 · 2 unread · $0.25"),
        (42, "team · bob +2 · 4/5 · 2 unread · $0.25"),
        (37, "team · bob +2 · 4/5 · 2 unread"),
        (29, "team · 4/5 · 2 unread"),
        (20, "team · 2 unread"),
        (14, "team"),
        (4, "team"),
        (3, "te…"),
        (1, "…"),
    ],
)
def test_the_least_important_is_shortened_first_and_goes_first(columns: int, line: str) -> None:
    assert fit(PARTS, columns) == line


TEXT = st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp")), min_size=1, max_size=12)
SAID = st.lists(
    st.builds(Part, st.integers(0, 9), st.lists(TEXT, min_size=1, max_size=3).map(tuple)), min_size=1, max_size=6
)


@given(SAID, st.integers(1, 80))
def test_whatever_is_said_it_is_neither_empty_nor_wider_than_its_place(parts: list[Part], columns: int) -> None:
    line = fit(parts, columns)
    assert line
    assert width(line) <= columns


@given(SAID)
def test_without_a_width_everything_is_said_in_full(parts: list[Part]) -> None:
    assert fit(parts, 0) == " · ".join(part.forms[0] for part in parts)


def test_a_style_takes_no_place_and_is_not_cut_in_two() -> None:
    assert width(dim("bob")) == 3
    assert fit([Part(1, (dim("bob"),))], 3) == dim("bob")
    assert cut(dim("bobby"), 4) == "bob…"


def test_wide_letters_take_two_columns_and_marks_none() -> None:
    assert width("会議") == 4
    assert width("e\u0301") == 1
    assert cut("会議室", 5) == "会議…"
    assert cut("会議室", 4) == "会…"


def test_a_strangers_word_can_neither_move_the_cursor_nor_hide_nor_fill_the_line() -> None:
    assert clean("a\x1b[2Jb\u202ec\nd\u200be", 20) == "a[2Jbcde"
    assert clean("abcdef", 4) == "abc…"
