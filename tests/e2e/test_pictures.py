"""What a person sees of peers, inbox, status line and doctor, as pictures of a real terminal on real daemons.

The pictures lie in tests/snapshots; a failed run shows the picture and the screen.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from terminal_kit.screen import Terminal, check_picture

from homes import MESH, Home, open_broker, open_home, wait_until

pytestmark = pytest.mark.slow

WIDE = 400
"""So that no path's length decides where a line is broken."""
GLANCE = {
    "model": {"display_name": "Opus 5.5"},
    "cost": {"total_cost_usd": 1.5},
    "context_window": {"used_percentage": 42},
}
"""What Claude Code tells its status line."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def broker(folder: Path) -> Iterator[str]:
    with open_broker(folder) as url:
        yield url


class People(NamedTuple):
    """In one mesh. Alice has read what the others wrote to her, carol has not."""

    alice: Home
    bob: Home
    carol: Home


@pytest.fixture(scope="module")
def people(folder: Path, broker: str) -> Iterator[People]:
    tool = folder / "bin/claude"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho 2.1.329\n")
    tool.chmod(0o755)
    with open_home(folder, "alice") as alice, open_home(folder, "bob") as bob, open_home(folder, "carol") as carol:
        for home in (alice, bob, carol):
            home.environ |= {"PATH": str(tool.parent), "MESH_KEYS": "file"}
        alice.json("new", "team", "--name", "alice", "--broker", broker)
        for name, home in (("bob", bob), ("carol", carol)):
            link = alice.json("invite")["url"]
            home.run("join", "-", "--name", name, "--wait", "60", text=f"{link}\n")
        homes = (alice, bob, carol)
        wait_until(lambda: all(len(home.json("peers")["peers"]) == 3 for home in homes))
        bob.json(
            "send",
            "alice",
            "The tests pass again.\nSecond line, with \x1b[31mcolour\x1b[0m and a tab\t.",
            "--wait",
            "stored",
        )
        carol.json("send", "alice", "Lunch? " * 12 + "会議室で", "--wait", "stored")
        alice.json("inbox")
        for text in ("one", "two"):
            bob.json("send", "carol", text, "--wait", "stored")
        wait_until(lambda: "3/3 online" in carol.run("statusline", "--layout", "full").stdout)
        yield People(*homes)


@pytest.fixture
def alice(people: People) -> Home:
    return people.alice


def picture(
    name: str, home: Home, *command: str | Path, columns: int, masks: list[tuple[str, str]] | None = None
) -> str:
    """Run a command on a terminal so wide and compare what is seen. Returns all that it wrote."""
    folder = re.escape(str(home.folder))
    with Terminal(command, home.environ, columns=columns, rows=60, cwd=home.folder) as terminal:
        terminal.ends()
        check_picture(name, terminal.lines, [(folder, "/HOME"), *(masks or [])])
        return terminal.written.decode()


@pytest.mark.parametrize("columns", [80, 40])
def test_peers(alice: Home, columns: int) -> None:
    picture(f"peers-{columns}", alice, MESH, "peers", columns=columns)


@pytest.mark.parametrize("columns", [80, 40])
def test_inbox(alice: Home, columns: int) -> None:
    written = picture(f"inbox-{columns}", alice, MESH, "inbox", "--all", columns=columns)
    assert "\x1b[31m" not in written


@pytest.mark.parametrize("layout", ["full", "short", "minimal"])
def test_status_line(people: People, layout: str) -> None:
    """In ever narrower places, each on a row of its own."""
    script = (
        f"for columns in 0 80 70 60 50 40 30 20 10 4; do echo '{json.dumps(GLANCE)}' |"
        f" COLUMNS=$columns {MESH} statusline --layout {layout}; echo; done"
    )
    picture(f"statusline-{layout}", people.carol, "/bin/sh", "-c", script, columns=100)


def test_status_line_without_a_daemon(alice: Home) -> None:
    nobody = Home(alice.folder, "nobody")
    picture("statusline-no-daemon", nobody, MESH, "statusline", columns=80)


DOCTOR = [
    (r"pid \d+", "pid N"),
    (r"\d+ MiB free", "N MiB free"),
    (r"\d+ of \d{3,}", "N of N"),
    (r"the last [0-9a-f]{16}", "the last ################"),
    (r"ws://127\.0\.0\.1:\d+", "ws://BROKER"),
]


def test_doctor_where_little_is_wrong(alice: Home) -> None:
    picture("doctor", alice, MESH, "doctor", columns=WIDE, masks=DOCTOR)


def test_doctor_without_a_daemon_and_with_settings_that_cannot_be_read(alice: Home, folder: Path) -> None:
    broken = Home(folder / "broken", "broken")
    (broken.folder / ".claude").mkdir(parents=True)
    (broken.folder / ".claude/settings.json").write_text("{")
    broken.environ["PATH"] = "/nowhere"
    picture("doctor-broken", broken, MESH, "doctor", "--no-start", columns=WIDE, masks=DOCTOR)


def test_with_no_color_nothing_is_bold(alice: Home) -> None:
    for setting in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        with Terminal([MESH, "doctor"], {**alice.environ, **setting}, columns=120) as terminal:
            terminal.ends()
            assert terminal.is_plain
            assert b"\x1b" not in terminal.written
    with Terminal([MESH, "doctor"], alice.environ, columns=120) as terminal:
        terminal.ends()
        assert not terminal.is_plain


def test_help_of_a_command(alice: Home) -> None:
    picture("help-send", alice, MESH, "send", "--help", columns=80)


def test_a_topic_of_help(alice: Home) -> None:
    picture("help-receipts", alice, MESH, "help", "receipts", columns=80)
