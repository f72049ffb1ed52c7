"""The wizard on a real terminal: what it looks like, and that the terminal is given back whatever ends it."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from terminal_kit.screen import Terminal, check_picture

from client_kit.answers import result
from client_kit.programs import MESH
from client_kit.scripted import Scripted

TEAM = {"mesh": "team", "me": "ann", "default": True, "state": "joined", "link": "online"}
LAB = TEAM | {"mesh": "lab", "default": False}
TEMPLATES = [
    {"template": "dev-team", "about": "builders and testers of one product", "groups": ["eng", "qa"], "roles": []},
    {"template": "ops-incident", "about": "something is broken", "groups": ["oncall"], "roles": ["observer", "ic"]},
]
READY = {"name": "web", "role": "", "groups": [], "mesh": "team", "mode": "push", "template": ""}
CLAUDE = '#!/bin/sh\necho "claude has the terminal"\nstty -a | grep -o " -*echo\\b"\n'


class Place:
    """A project, a claude on the PATH, and a scripted daemon."""

    def __init__(self, root: Path, environ: dict[str, str], daemon: Scripted) -> None:
        self.daemon = daemon
        self.project = root / "src" / "web"
        self.project.mkdir(parents=True)
        (root / "bin").mkdir()
        (root / "bin" / "claude").write_text(CLAUDE)
        (root / "bin" / "claude").chmod(0o755)
        (root / ".claude.json").write_text('{"mcpServers": {"mesh": {}}}')
        self.environ = environ | {"PATH": f"{root}/bin:/usr/bin:/bin"}

    def launch(self, *arguments: str, columns: int = 80, rows: int = 24, **more: str) -> Terminal:
        command = [*MESH, "launch", *arguments]
        return Terminal(command, self.environ | more, columns=columns, rows=rows, cwd=self.project)

    @property
    def announced(self) -> list[dict[str, object]]:
        return [dict(each.params) for each in self.daemon.requests if each.method == "launch.prepare"]


@pytest.fixture
def place(tmp_path: Path, environ: dict[str, str], scripted: Scripted) -> Place:
    scripted.on_request["mesh.list"] = result({"meshes": [TEAM]})
    scripted.on_request["mesh.new"] = result({"id": "ab", "mesh": "crew", "me": "ann", "broker": "local:"})
    scripted.on_request["launch.templates"] = result({"templates": TEMPLATES})
    scripted.on_request["launch.prepare"] = result(READY)
    scripted.start()
    return Place(tmp_path, environ, scripted)


@pytest.mark.parametrize("columns", [80, 40])
def test_pictures_of_the_wizard(place: Place, columns: int) -> None:
    with place.launch(columns=columns) as terminal:
        terminal.shows("Ctrl-C cancel")
        check_picture(f"wizard-{columns}", terminal.lines)
        terminal.keys("\x1b[B3")
        terminal.shows("ops-incident")
        check_picture(f"wizard-template-{columns}", terminal.lines)
        terminal.keys("\x03")
        assert terminal.ends() == 130


@pytest.mark.parametrize("columns", [80, 40])
def test_pictures_of_the_wizard_where_there_is_no_mesh(place: Place, columns: int) -> None:
    place.daemon.on_request["mesh.list"] = result({"meshes": []})
    with place.launch(columns=columns) as terminal:
        terminal.shows("Ctrl-C cancel")
        check_picture(f"wizard-no-mesh-{columns}", terminal.lines)
        terminal.keys("\x1b[C")
        terminal.shows("Link")
        terminal.keys("\x1b[Bmesh://join/hushed")
        terminal.shows("•" * 18)
        check_picture(f"wizard-join-{columns}", terminal.lines)
        assert b"hushed" not in terminal.written
        terminal.keys("\x03")
        assert terminal.ends() == 130


def test_a_terminal_that_is_not_utf_8_is_shown_ascii(place: Place) -> None:
    with place.launch(LANG="de_DE.ISO-8859-1") as terminal:
        terminal.shows("Ctrl-C cancel")
        assert terminal.text.isascii()
        check_picture("wizard-ascii", terminal.lines)


def test_a_picture_of_the_wizard_where_claude_code_was_not_set_up(place: Place, tmp_path: Path) -> None:
    (tmp_path / ".claude.json").unlink()
    with place.launch() as terminal:
        terminal.shows("mesh install was not run")
        check_picture("wizard-not-set-up", terminal.lines)


def test_no_color_means_none(place: Place) -> None:
    with place.launch(NO_COLOR="1") as terminal:
        terminal.shows("Ctrl-C cancel")
        assert terminal.is_plain
    with place.launch() as terminal:
        terminal.shows("Ctrl-C cancel")
        assert not terminal.is_plain


def test_what_is_answered_is_announced_and_the_screen_is_claudes(place: Place) -> None:
    with place.launch("--mode", "off") as terminal:
        terminal.shows("Ctrl-C cancel")
        terminal.keys("\x7f\x7f\x7fheron\t3\tic\r")
        terminal.shows("claude has the terminal")
        assert terminal.ends() == 0
        assert terminal.is_as_before()
        assert terminal.lines == ["mesh: ann/web, in team", "claude has the terminal", " echo"]
    assert place.announced == [{"name": "heron", "template": "ops-incident", "role": "ic", "mode": "off"}]


def test_a_mesh_is_made_when_it_is_asked_for(place: Place) -> None:
    place.daemon.on_request["mesh.list"] = result({"meshes": []})
    with place.launch() as terminal:
        terminal.shows("Ctrl-C cancel")
        terminal.keys("\x1b[B\x15crew\r")
        assert terminal.ends() == 0
    made = [each.params for each in place.daemon.requests if each.method == "mesh.new"]
    assert [each["name"] for each in made] == ["crew"]
    assert place.announced == [{"name": "web", "mode": "push", "mesh": "crew"}]


def test_one_of_several_meshes_is_chosen(place: Place) -> None:
    place.daemon.on_request["mesh.list"] = result({"meshes": [TEAM, LAB]})
    with place.launch() as terminal:
        terminal.shows("Ctrl-C cancel")
        terminal.keys("\x1b[A2\r")
        assert terminal.ends() == 0
    assert place.announced == [{"name": "web", "mode": "push", "mesh": "lab"}]


def test_a_mistake_is_said_and_can_be_mended(place: Place) -> None:
    with place.launch() as terminal:
        terminal.shows("Ctrl-C cancel")
        terminal.keys("/\r")
        terminal.shows("1 to 32 letters")
        check_picture("wizard-mistake", terminal.lines)
        terminal.keys("\x7f\r")
        assert terminal.ends() == 0
    assert place.announced == [{"name": "web", "mode": "push"}]


@pytest.mark.parametrize(
    "arguments",
    [("-y",), ("--", "--resume", "ID"), ("--", "-p", "hello"), ("--json",)],
)
def test_nothing_is_asked_where_nothing_may_be(place: Place, arguments: tuple[str, ...]) -> None:
    with place.launch(*arguments) as terminal:
        assert terminal.ends() == 0
        assert "claude has the terminal" in terminal.text
        assert "Ctrl-C cancel" not in terminal.written.decode()


def test_in_the_same_folder_nothing_is_asked_twice(place: Place) -> None:
    with place.launch() as terminal:
        terminal.shows("Ctrl-C cancel")
        terminal.keys("x\r")
        assert terminal.ends() == 0
    with place.launch() as terminal:
        assert terminal.ends() == 0
    assert place.announced == [{"name": "webx", "mode": "push"}] * 2
    with place.launch("--ask") as terminal:
        terminal.shows("webx")
        terminal.shows("Ctrl-C cancel")


def interrupt(terminal: Terminal) -> None:
    terminal.keys("\x03")


def escape(terminal: Terminal) -> None:
    terminal.keys("\x1b")


def hang_up(terminal: Terminal) -> None:
    terminal.send(signal.SIGHUP)


def terminate(terminal: Terminal) -> None:
    terminal.send(signal.SIGTERM)


@pytest.mark.parametrize(
    ("end", "status"),
    [(interrupt, 130), (escape, 130), (hang_up, -signal.SIGHUP), (terminate, -signal.SIGTERM)],
)
def test_whatever_ends_it_the_terminal_is_as_before_and_nothing_was_done(
    place: Place, end: Callable[[Terminal], None], status: int
) -> None:
    with place.launch() as terminal:
        terminal.shows("Ctrl-C cancel")
        terminal.keys("x")
        terminal.shows("webx")
        assert not terminal.is_as_before()
        end(terminal)
        assert terminal.ends() == status
        assert terminal.is_as_before()
        assert terminal.lines == []
    assert place.announced == []
    assert not (place.daemon.home / "launch.json").exists()


def test_a_bug_gives_the_terminal_back_too(environ: dict[str, str]) -> None:
    program = (
        "from mesh_clients.terminal import Terminal\n"
        "with Terminal() as terminal:\n"
        "    terminal.draw(['one', 'two'], [3, 3])\n"
        "    terminal.key()\n"
        "    raise ZeroDivisionError\n"
    )
    with Terminal([sys.executable, "-c", program], environ) as terminal:
        terminal.shows("two")
        assert not terminal.is_as_before()
        terminal.keys("x")
        assert terminal.ends() == 1
        assert terminal.is_as_before()
        assert "two" not in terminal.lines
        assert "ZeroDivisionError" in terminal.text


def test_a_window_that_changes_is_drawn_anew(place: Place) -> None:
    with place.launch() as terminal:
        terminal.shows("move")
        terminal.resize(40, 24)
        terminal.until(lambda: "move" not in terminal.text and "Ctrl-C cancel" in terminal.text, "the narrow form")
        terminal.keys("\x03")
        terminal.ends()
        assert terminal.is_as_before()


@pytest.mark.parametrize("term", ["dumb", ""])
def test_where_the_cursor_cannot_be_moved_a_line_is_asked_at_a_time(place: Place, term: str) -> None:
    with place.launch("--role", "lead", "--groups", "night", TERM=term) as terminal:
        terminal.shows("Name [web]:")
        terminal.keys("two words\r")
        terminal.shows("1 to 32 letters")
        terminal.keys("heron\r")
        terminal.shows("Template [none]:")
        terminal.keys("7\r")
        terminal.shows("One of these numbers")
        terminal.keys("2\r")
        terminal.shows("Messages [pushed")
        terminal.keys("\r")
        assert terminal.ends() == 0
        assert b"\x1b" not in terminal.written
    (announced,) = place.announced
    assert announced == {
        "name": "heron",
        "role": "lead",
        "groups": ["night"],
        "template": "dev-team",
        "mode": "push",
    }


def test_the_end_of_input_is_no_answer(place: Place) -> None:
    with place.launch(TERM="dumb") as terminal:
        terminal.shows("Name [web]:")
        terminal.keys("\x04")
        assert terminal.ends() == 130
    assert place.announced == []


def test_output_that_goes_elsewhere_is_not_drawn_into(place: Place, tmp_path: Path) -> None:
    """With standard output in a file there is nobody who sees a form."""
    out = tmp_path / "out"
    script = f"{' '.join(map(str, MESH))} launch > {out}"
    with Terminal(["/bin/sh", "-c", script], place.environ, cwd=place.project) as terminal:
        assert terminal.ends() == 0
    assert out.read_text().startswith("claude has the terminal")
