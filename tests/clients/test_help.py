"""`mesh help`: commands of one word and two, topics, and the manual page, all from the same tables."""

import re
import shutil
import subprocess

import pytest

from client_kit.programs import mesh
from mesh_clients.cli import own
from mesh_clients.cli.manual import escape, write_manual
from mesh_clients.cli.table import VERBS
from mesh_clients.cli.topics import STATUSES, TOPICS
from mesh_protocol.wire.errors import CODES


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_is_told(environ: dict, topic: str) -> None:
    done = mesh(environ, "help", topic)
    assert (done.returncode, done.stderr) == (0, b"")
    about, said, pairs = TOPICS[topic]
    lines = done.stdout.decode().splitlines()
    assert lines[0] == f"{topic}: {about}"
    assert said in lines
    assert all(any(line.startswith(f"  {left}") for line in lines) for left, _ in pairs)


def test_no_topic_hides_a_command() -> None:
    words = {name.partition(" ")[0] for name in (*VERBS, *own.VERBS)}
    assert not {*TOPICS, "man"} & words


def test_the_exit_statuses_are_those_of_the_errors() -> None:
    assert {0, 130, *(kind.exit for kind in CODES.values())} == STATUSES.keys()


def test_the_first_word_of_two_lists_the_second(environ: dict) -> None:
    done = mesh(environ, "help", "group")
    assert done.returncode == 0
    assert [line.split("  ")[1] for line in done.stdout.decode().splitlines()] == [
        "mesh group join",
        "mesh group leave",
        "mesh group list",
    ]


def test_what_is_neither_is_refused_with_the_nearest(environ: dict) -> None:
    done = mesh(environ, "help", "sned")
    assert done.returncode == 2
    assert b"did you mean send?" in done.stderr


def test_the_overview_names_the_topics(environ: dict) -> None:
    assert f"mesh help TOPIC: {', '.join(TOPICS)}".encode() in mesh(environ, "help").stdout


def test_the_manual_page_has_every_command_and_every_topic(environ: dict) -> None:
    page = mesh(environ, "help", "man").stdout.decode()
    assert page == write_manual()
    assert page.startswith('.TH MESH 1 "" "meshd ')
    told = set(re.findall(r"^\\fBmesh ([^\\]+)\\fR", page, re.MULTILINE))
    assert told == {name for _, names in own.ORDER for name in names}
    assert all(f".SH {name.upper()}:" in page for name in TOPICS)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (".TH x", "\\&.TH x"),
        ("'*'", "\\(aq*\\(aq"),
        ("a\\b", "a\\eb"),
        ("--json", "\\-\\-json"),
        ("`x`", "\\(gax\\(ga"),
    ],
)
def test_no_text_is_taken_for_a_command_of_roff(text: str, written: str) -> None:
    assert escape(text) == written


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_groff_reads_the_page_without_a_complaint() -> None:
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z"], input=write_manual().encode(), capture_output=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")
