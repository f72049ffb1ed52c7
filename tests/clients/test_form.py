"""The wizard's form without a terminal: keys in, lines out."""

import pytest

from mesh_clients.cli import wizard
from mesh_clients.cli.answers import Answers
from mesh_clients.cli.form import CANCEL, SUBMIT, Form, Row
from mesh_clients.render import cells
from mesh_clients.terminal import Style, next_key

PLAIN = Style({"TERM": "xterm", "NO_COLOR": "1"}, encoding="utf-8", terminal=True)
MESH = {"mesh": "team", "me": "ann", "default": True}
TEMPLATES = [
    {"template": "dev-team", "about": "builders and testers", "groups": ["eng", "qa"], "roles": [], "facts": []}
]


NOTHING = Answers()


def form(flags: Answers = NOTHING, known: Answers = NOTHING, meshes: tuple[dict, ...] = (MESH,)) -> Form:
    return wizard.build_form(flags, known, meshes, TEMPLATES, "/home/ann/web")


def type_text(form: Form, text: str) -> None:
    for letter in text:
        assert form.press(letter) == ""


def labels(form: Form) -> list[str]:
    return [row.label for row in form.visible()]


def test_return_takes_what_is_there() -> None:
    asked = form()
    assert asked.press("enter") == SUBMIT
    assert wizard.read_form(asked, Answers()).answers == Answers(name="web", mode="push")


def test_what_is_typed_is_answered() -> None:
    asked = form()
    asked.press("clear")
    type_text(asked, "heron!")
    asked.press("erase")
    for key in ("down", "right", "down"):
        asked.press(key)
    type_text(asked, "lead")
    asked.press("down")
    type_text(asked, "web/ui, night")
    asked.press("down")
    asked.press("2")
    assert asked.press("enter") == SUBMIT
    assert wizard.read_form(asked, Answers()).answers == Answers(
        "heron", "lead", "web/ui,night", "", "inbox", "dev-team"
    )


def test_only_what_is_missing_is_asked() -> None:
    assert labels(form()) == ["Name", "Template", "Role", "Groups", "Messages"]
    assert labels(form(Answers(name="x", mode="off"))) == ["Template", "Role", "Groups"]
    assert labels(form(Answers(name="x", template="dev-team"))) == ["Role", "Messages"]
    given = Answers("x", "lead", "web", "team", "off", "dev-team")
    assert labels(form(given)) == []
    assert wizard.read_form(form(given), given).answers == given


def test_without_a_mesh_one_can_be_made_or_joined() -> None:
    asked = form(meshes=())
    assert labels(asked)[:3] == ["Mesh", "Its name", "Name"]
    asked.press("right")
    assert labels(asked)[:3] == ["Mesh", "Link", "Name"]
    assert asked.press("enter") == ""
    assert "mesh://" in asked.trouble
    type_text(asked, "mesh://join/x")
    shown = "\n".join(asked.lines(80, 24, PLAIN)[0])
    assert "•" in shown
    assert "join/x" not in shown
    assert asked.press("enter") == SUBMIT
    wanted = wizard.read_form(asked, Answers())
    assert (wanted.start, wanted.link, wanted.mesh_name) == ("join", "mesh://join/x", "")
    asked.press("up")
    asked.press("3")
    assert labels(asked)[:2] == ["Mesh", "Name"]


def test_of_several_meshes_one_is_chosen() -> None:
    asked = form(meshes=(MESH, {"mesh": "other", "me": "ann", "default": False}))
    asked.press("up")
    asked.press("right")
    assert wizard.read_form(asked, Answers()).answers.mesh == "other"


def test_what_was_answered_before_is_offered() -> None:
    asked = form(known=Answers("heron", "lead", "night", "", "off", "dev-team"))
    assert asked.press("enter") == SUBMIT
    assert wizard.read_form(asked, Answers()).answers == Answers("heron", "lead", "night", "", "off", "dev-team")


def test_what_was_remembered_and_is_no_more_is_not_offered() -> None:
    asked = form(known=Answers("heron", mode="loud", template="circus"))
    assert asked.press("enter") == SUBMIT
    assert wizard.read_form(asked, Answers()).answers == Answers("heron", mode="push")


@pytest.mark.parametrize("name", ["", "two words", "a/b", "x" * 33])
def test_a_name_that_is_none_is_said_at_its_row(name: str) -> None:
    asked = form()
    asked.press("clear")
    for letter in name[:32]:
        asked.press(letter)
    if len(name) > 32:
        asked.press("down")
        asked.rows[0].value = name
    assert asked.press("enter") == ""
    lines = asked.lines(80, 24, PLAIN)[0]
    assert any("1 to 32 letters" in line for line in lines)
    assert "❯ Name" in "\n".join(lines)
    asked.press("up")
    assert asked.trouble == ""


def test_the_letter_k_is_a_letter_where_text_is_typed_and_nothing_else() -> None:
    asked = form()
    asked.press("k")
    assert asked.chosen("name") == "webk"
    asked.press("down")
    asked.press("k")
    assert asked.chosen("template") == ""


def test_a_key_without_a_meaning_does_nothing() -> None:
    asked = form()
    for key in ("", "first", "resized"):
        assert asked.press(key) == ""
    assert asked.chosen("name") == "web"
    assert asked.press("cancel") == CANCEL


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
@pytest.mark.parametrize("rows", [3, 6, 9, 24])
@pytest.mark.parametrize("note", ["", "worth knowing " * 10])
def test_a_form_fits_its_window(columns: int, rows: int, note: str) -> None:
    asked = form(known=Answers("鷺" * 16, "r" * 64, "g" * 300), meshes=())
    asked.note = note
    for _ in range(8):
        lines, widths = asked.lines(columns, rows, PLAIN)
        assert [cells(line) for line in lines] == widths
        assert max(widths) < columns
        assert len(lines) < rows
        assert any("❯" in line for line in lines), "the row that is being changed is seen"
        asked.press("down")


def test_a_text_is_no_longer_than_its_row_takes() -> None:
    row = Row("x", "X", limit=3)
    asked = Form("t", "p", [row])
    type_text(asked, "abcd")
    assert row.value == "abc"


# What a terminal shows.


@pytest.mark.parametrize(
    ("environ", "encoding", "expected"),
    [
        ({}, "utf-8", True),
        ({"LANG": "C.UTF-8"}, "UTF-8", True),
        ({"LANG": "en_GB.utf8"}, "utf-8", True),
        ({"LANG": "C"}, "utf-8", True),
        ({"LANG": "de_DE.ISO-8859-1"}, "utf-8", False),
        ({"LC_ALL": "ja_JP.eucJP", "LANG": "C.UTF-8"}, "utf-8", False),
        ({"LANG": "C.UTF-8"}, "latin-1", False),
        ({}, "ascii", False),
    ],
)
def test_letters_beyond_ascii_are_used_where_they_can_be_seen(
    environ: dict[str, str], encoding: str, expected: bool
) -> None:
    style = Style(environ | {"TERM": "xterm"}, encoding=encoding, terminal=True)
    signs = [value for value in vars(style).values() if isinstance(value, str)]
    assert all(sign.isascii() for sign in signs) is not expected
    assert signs
    assert style.cut("a long text", 8).isascii() is not expected


@pytest.mark.parametrize(
    ("environ", "terminal", "painted"),
    [
        ({"TERM": "xterm"}, True, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
        ({}, True, False),
        ({"TERM": "xterm"}, False, False),
    ],
)
def test_colours_are_used_where_they_are_wanted(environ: dict[str, str], terminal: bool, painted: bool) -> None:
    style = Style(environ, encoding="utf-8", terminal=terminal)
    for paint in (style.bold, style.faint, style.good, style.accent, style.warn):
        assert (paint("x") != "x") is painted
        assert paint("") == ""


@pytest.mark.parametrize("width", [0, 1, 2, 3, 5, 100])
def test_what_is_cut_fits(width: int) -> None:
    for encoding in ("utf-8", "ascii"):
        style = Style({}, encoding=encoding, terminal=False)
        for text in ("", "plain text", "鷺" * 10, "e\u0301" * 10):
            assert cells(style.cut(text, width)) <= width


# Keys.


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"a\xc3\xa4\xe9\xb7\xba", ["a", "ä", "鷺"]),
        (b"\x1b[A\x1b[B\x1bOC\x1b[D\x1b[Z", ["up", "down", "right", "left", "up"]),
        (b"\r\n\t\x7f\x08\x15\x04", ["enter", "enter", "down", "erase", "erase", "clear", "cancel"]),
        (b"\x1b[15~x\x1b[1;5Cy\x1bz", ["", "x", "", "y", ""]),
        (b"\x01\xff\x80a", ["", "", "", "a"]),
        ("\u202e\u200b".encode(), ["", ""]),
    ],
)
def test_keys_are_told_apart(data: bytes, keys: list[str]) -> None:
    found = []
    while (key := next_key(data)) is not None:
        found.append(key[0])
        data = key[1]
    assert (found, data) == (keys, b"")


@pytest.mark.parametrize("data", [b"", b"\x1b", b"\x1b[", b"\x1b[1;5", b"\x1bO", b"\xc3", b"\xe9\xb7"])
def test_half_a_key_waits_for_the_rest(data: bytes) -> None:
    assert next_key(data) is None
