"""QR codes in the terminal: the right form, with room around it, and what they say is what was asked for."""

import pytest
import segno

from meshd.qr import QUIET, draw_code

CODE = "mesh://verify/1#" + "Ab3_" * 20
FINDER = ["#######", "#.....#", "#.###.#", "#.###.#", "#.###.#", "#.....#", "#######"]
HALVES = {" ": "..", "▀": "#.", "▄": ".#", "█": "##"}


def modules(drawn: str) -> list[str]:
    """The drawing as rows of `#` and `.`, as many as there are columns."""
    rows: list[str] = []
    for line in drawn.split("\n"):
        rows += ["".join(HALVES[char][half] for char in line) for half in (0, 1)]
    return rows[: len(rows[0])]


def test_the_drawing_is_a_square_with_its_three_marks_and_room_around() -> None:
    rows = modules(draw_code(CODE))
    size = len(rows) - 2 * QUIET
    assert (len(rows), {len(row) for row in rows}, size) == (49, {49}, 41)
    inner = [row[QUIET:-QUIET] for row in rows[QUIET:-QUIET]]
    for outside in (*rows[:QUIET], *rows[-QUIET:]):
        assert set(outside) == {"."}
    assert {row[:QUIET] + row[-QUIET:] for row in rows} == {"." * 2 * QUIET}
    assert [row[:7] for row in inner[:7]] == FINDER
    assert [row[-7:] for row in inner[:7]] == FINDER
    assert [row[:7] for row in inner[-7:]] == FINDER
    assert [row[-7:] for row in inner[-7:]] != FINDER


@pytest.mark.parametrize("content", [CODE, CODE.swapcase(), "x"])
def test_every_module_is_where_the_library_puts_it(content: str) -> None:
    code = segno.make(content, error="m", micro=False, boost_error=False)
    rows = modules(draw_code(content))
    assert [[char == "#" for char in row] for row in rows] == [
        [bool(module) for module in row] for row in code.matrix_iter(border=QUIET)
    ]


def test_another_content_is_another_drawing() -> None:
    assert draw_code(CODE) != draw_code(CODE[:-1] + "4")
