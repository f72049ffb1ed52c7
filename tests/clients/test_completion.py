"""`mesh completion`: what could stand at the end of a line."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from client_kit.answers import result
from client_kit.programs import mesh
from client_kit.scripted import Scripted

PEERS = {"peers": [{"to": name} for name in ("bob", "bob/web", "anna", "x;rm -rf", "-rf", "$(id)", "a\x1b[31m")]}


def words(environ: dict, line: str, shell: str = "fish") -> list[str]:
    ran = mesh(environ, "completion", shell, f"--line={line}")
    assert (ran.returncode, ran.stderr) == (0, b"")
    return [each.partition("\t")[0] for each in ran.stdout.decode().splitlines()]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mesh sta", {"status", "statusline"}),
        ("mesh --json un", {"unban", "unblock", "uninstall", "unlock"}),
        ("mesh gr", {"grant", "grants", "group"}),
        ("mesh group ", {"join", "leave", "list"}),
        ("mesh outbox c", {"cancel"}),
        ("mesh install --n", {"--no-service", "--no-start"}),
        ("mesh send bob hi --priority ", {"now", "next", "low"}),
        ("mesh send bob hi --priority=ne", {"--priority=next"}),
        ("mesh completion ", {"bash", "zsh", "fish"}),
        ("mesh help upd", set()),
        ("mesh help un", {"unban", "unblock", "unlock", "uninstall"}),
        ("mesh help rec", {"receipts"}),
        ("mesh help ma", {"man"}),
        ("mesh statusline --layout ", {"full", "short", "minimal"}),
        ("mesh nonsense ", set()),
        ("mesh send 'an open quote", set()),
        ("mesh", set()),
        ("", set()),
    ],
)
def test_words_of_the_table_are_offered(environ: dict, home: Path, line: str, expected: set[str]) -> None:
    assert set(words(environ, line)) == expected
    assert os.listdir(home) == [], "no daemon is started"


def test_every_flag_of_every_command_is_offered(environ: dict) -> None:
    assert {"--wait", "--priority", "--json", "--mesh"} <= {*words(environ, "mesh send -")}


def test_live_names_are_offered_where_they_belong(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["peer.list"] = result(PEERS)
    scripted.on_request["group.list"] = result({"members": [{"group": "web/ui"}, {"group": "web/ui"}]})
    scripted.on_request["session.list"] = result({"sessions": [{"session": "web"}]})
    scripted.on_request["mesh.list"] = result({"meshes": [{"mesh": "team"}]})
    scripted.start()
    assert words(environ, "mesh send ") == ["bob", "bob/web", "anna"], "what a shell would act on is left out"
    assert words(environ, "mesh send bob,an") == ["bob,anna"]
    assert words(environ, "mesh send bob,@") == ["bob,@web/ui"]
    assert words(environ, "mesh send --priority now b") == ["bob", "bob/web"]
    assert words(environ, "mesh send bob ") == []
    assert words(environ, "mesh group join w") == ["web/ui"]
    assert words(environ, "mesh group join web --session ") == ["web"]
    assert words(environ, "mesh mode push --session w") == ["web"]
    assert words(environ, "mesh peers --mesh ") == ["team"]


def test_a_daemon_that_does_not_answer_holds_nobody_up(scripted: Scripted, environ: dict) -> None:
    scripted.start()
    assert words(environ, "mesh send ") == [], "it comes back though nothing is ever answered"
    assert scripted.requests, "it did ask"


def test_each_shell_gets_words_in_its_own_form(scripted: Scripted, environ: dict) -> None:
    assert mesh(environ, "completion", "zsh", "--line=mesh vers").stdout == b"version:Print the version.\n"
    assert mesh(environ, "completion", "fish", "--line=mesh vers").stdout == b"version\tPrint the version.\n"
    assert words(environ, "mesh send bob hi --priority=ne", "bash") == ["next"]
    scripted.on_request["group.list"] = result({"members": [{"group": "web/ui"}]})
    scripted.start()
    assert words(environ, "mesh send bob,@we", "bash") == ["@web/ui"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_printed_for_each_shell(environ: dict, shell: str) -> None:
    script = mesh(environ, "completion", shell).stdout.decode()
    assert f"completion {shell} --line=" in script
    if shutil.which(shell):
        assert subprocess.run([shell, "-n", "-c", script]).returncode == 0
