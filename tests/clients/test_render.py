"""What reaches a terminal: aligned, local, and without anything that could deceive its reader."""

import io
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh_clients import render


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("plain", "plain"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("red\x1b[31m alert\x07", "red[31m alert"),
        ("over\rwritten", "over\nwritten"),
        ("back\x08space\x7f", "backspace"),
        ("\x9b31mC1", "31mC1"),
        ("abc\u202edcba\u202c", "abcdcba"),
        ("zero\u200bwidth\ufeff\u2060", "zerowidth"),
        ("sep\u2028arated", "sep\narated"),
        ("\U000e0041tag", "tag"),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),
    ],
)
def test_a_peers_text_cannot_move_the_cursor_or_turn_the_reading_direction(text: str, clean: str) -> None:
    assert render.clean_text(text) == clean


@settings(deadline=None)
@given(st.text())
def test_no_control_or_format_character_is_left(text: str) -> None:
    clean = render.clean_text(text)
    assert not {char for char in clean if unicodedata.category(char) in {"Cc", "Cf", "Cs"}} - set("\n\t\u200c\u200d")
    assert render.clean_text(clean) == clean
    assert "\n" not in render.clean_line(text)


def test_columns_line_up_also_with_wide_and_combining_characters() -> None:
    lines = render.columns([["bob", "x"], ["\u6f22\u5b57", "y"], ["e\u0301a", "z"]], ["TO", "S"], 0)
    assert lines == ["TO    S", "bob   x", "\u6f22\u5b57  y", "e\u0301a    z"]


def test_the_last_column_is_cut_at_the_terminals_width() -> None:
    lines = render.columns([["bob", "a long summary of work"]], ["TO", "SUMMARY"], 12)
    assert lines[1] == "bob  a long…"
    assert all(render.cells(line) <= 12 for line in lines)
    assert render.columns([["bob", "x" * 500]], ["TO", "SUMMARY"], 0)[1].endswith("x" * 500)


@settings(deadline=None)
@given(st.text(max_size=30), st.integers(2, 20))
def test_a_cut_text_never_exceeds_its_width(text: str, width: int) -> None:
    clean = render.clean_line(text)
    assert render.cells(render.cut(clean, width)) <= max(width, 1)


def test_values_are_shown_as_people_read_them() -> None:
    assert render.show_value("online", True) == "yes"
    assert render.show_value("seen_ms", 0) == ""
    assert render.show_value("names", ["a", "b\x1b"]) == "a, b"
    assert render.show_value("count", 0) == "0"
    assert render.show_value("gone", None) == ""
    assert len(render.show_value("seen_ms", 1_790_000_000_000)) == len("2026-09-21 14:13:20")
    assert render.show_time(2**80).endswith(" ms")
    assert [render.show_span(s) for s in (5, 65, 7200, 200_000)] == ["5 s", "1 min", "2 h", "2 d"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_nothing_is_emphasised_where_that_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert render.emphasise("x", Terminal()) == "\x1b[1mx\x1b[0m"
    assert render.emphasise("x", io.StringIO()) == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert render.emphasise("x", Terminal()) == "x"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert render.emphasise("x", Terminal()) == "x"


def test_a_terminal_that_lacks_a_letter_shows_a_question_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    render.say("gr\u00fcn \U0001f600")
    import sys

    sys.stdout.flush()
    assert raw.getvalue() == b"gr?n ?\n"


@pytest.mark.parametrize(
    ("head", "text", "width", "lines"),
    [
        ("ok  ", "one two three", 0, ["ok  one two three"]),
        ("ok  ", "one two three", 17, ["ok  one two three"]),
        ("ok  ", "one two three", 16, ["ok  one two", "    three"]),
        ("ok  ", "one two three", 8, ["ok  one", "    two", "    three"]),
        ("ok  ", "one two three", 4, ["ok  one two three"]),
        ("", "会議室 会議", 7, ["会議室", "会議"]),
        ("  --json   ", "", 10, ["  --json"]),
    ],
)
def test_a_text_is_broken_between_words_beside_its_head(head: str, text: str, width: int, lines: list[str]) -> None:
    assert render.fold(head, text, width) == lines
