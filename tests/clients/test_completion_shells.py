"""Completion in the shells themselves: typed on a terminal, ended with the Tab key, with the names that the daemon has."""

import shutil
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from terminal_kit.screen import Terminal

from client_kit.answers import result
from client_kit.scripted import Scripted

START = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
LOAD = {
    "bash": "PS1='$ '; bind 'set bell-style none'; source <(mesh completion bash)",
    "zsh": "PS1='$ '; autoload -Uz compinit; compinit -u -D; source <(mesh completion zsh)",
    "fish": "function fish_prompt; echo '$ '; end; set -g fish_autosuggestion_enabled 0; mesh completion fish | source",
}
SHELLS = pytest.mark.parametrize(
    "shell",
    [
        pytest.param("bash", marks=pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")),
        pytest.param("zsh", marks=pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")),
        pytest.param("fish", marks=pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")),
    ],
)
CLEAR = "\x15"
"""Ctrl-U empties the line in all three."""
LOOKS = 40
"""Looks at the screen, of which those that find nothing new take 0.05 s, before the key is pressed again."""

COMPLETED = {
    "mesh vers": "mesh version",
    "mesh outbox c": "mesh outbox cancel",
    "mesh send b": "mesh send bob/web",
    "mesh send bob/web,an": "mesh send bob/web,anna",
    "mesh send @w": "mesh send @web/ui",
    "mesh send anna,@w": "mesh send anna,@web/ui",
    "mesh mode push --session w": "mesh mode push --session web",
    "mesh send anna hi --priority=ne": "mesh send anna hi --priority=next",
    "mesh send anna 'two words' --priority ne": "mesh send anna 'two words' --priority next",
}


@pytest.fixture
def prompt(shell: str, scripted: Scripted, environ: dict[str, str], tmp_path: Path) -> Iterator[Terminal]:
    """The shell at its prompt, with our completion and a daemon that runs."""
    peers = ("bob/web", "anna", "x;touch owned", "$(touch owned)", "`touch owned`", "a\x1b[31mred")
    scripted.on_request["peer.list"] = result({"peers": [{"to": name} for name in peers]})
    scripted.on_request["group.list"] = result({"members": [{"group": "web/ui"}]})
    scripted.on_request["session.list"] = result({"sessions": [{"session": "web"}]})
    scripted.start()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "mesh").symlink_to(Path(sys.executable).with_name("mesh"))
    place = {**environ, "PATH": f"{tmp_path / 'bin'}:{environ['PATH']}"}
    with Terminal(START[shell], place, columns=120, rows=40, cwd=tmp_path) as terminal:
        terminal.keys(f"{LOAD[shell]}; echo rea''dy\r")
        terminal.until(lambda: "ready" in terminal.lines and last(terminal) == "$", "the prompt")
        yield terminal
    assert not (tmp_path / "owned").exists()


def press_tab(terminal: Terminal, condition: Callable[[], bool], what: str) -> None:
    """Press it until `condition` holds: the daemon has 80 ms to name what it knows, which a loaded machine may miss."""
    looks = count()

    def holds() -> bool:
        if not condition() and next(looks) % LOOKS == 0:
            terminal.keys("\t")
        return condition()

    terminal.until(holds, what)


def last(terminal: Terminal) -> str:
    """The row that is being typed on, if it is the last one."""
    return terminal.lines[-1] if terminal.lines else ""


@SHELLS
def test_the_tab_key_ends_the_word(prompt: Terminal) -> None:
    for typed, completed in COMPLETED.items():
        prompt.keys(typed)
        prompt.until(lambda wanted=typed: last(prompt) == f"$ {wanted}", typed)
        press_tab(prompt, lambda wanted=completed: last(prompt) == f"$ {wanted}", completed)
        prompt.keys(CLEAR)
        prompt.until(lambda: last(prompt) == "$", "an empty line")


@SHELLS
def test_what_a_shell_would_act_on_is_not_among_the_names_it_lists(prompt: Terminal) -> None:
    prompt.keys("mesh send ")
    press_tab(prompt, lambda: "bob/web" in prompt.text and "anna" in prompt.text, "both names")
    assert "owned" not in prompt.text
    assert "red" not in prompt.text


@SHELLS
def test_where_no_daemon_runs_the_line_stays_as_it_is(prompt: Terminal, scripted: Scripted) -> None:
    scripted.stop()
    prompt.keys(f"mesh send b\t{CLEAR}echo still h''ere\r")
    prompt.until(lambda: "still here" in prompt.lines, "the next command")
    assert "bob" not in prompt.text
    assert not any("rror" in line or "Traceback" in line for line in prompt.lines)
