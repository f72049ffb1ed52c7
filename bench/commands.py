"""What the short commands cost a person or a session: whole processes, with a warm daemon."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.figures import Figure
from bench.install import environment
from bench.machines import Pair, ask
from bench.spawning import Program, time_programs
from mesh_clients.install.programs import HOOK, LINE

ROUNDS: Final = 60
HOT_LIMIT: Final = 1.6
SHORT_LIMIT: Final = 3.0
BARE: Final = "python3 -I -S -c pass"
PLAIN: Final = "python3 -c pass"
SESSION: Final = json.dumps(
    {
        "session_id": "6f0c3a52-9a1e-4b57-8f5c-0d6a3c1f2b4e",
        "transcript_path": "/home/ann/.claude/projects/app/6f0c3a52.jsonl",
        "cwd": "/home/ann/app",
        "hook_event_name": "UserPromptSubmit",
        "prompt": "run the tests",
        "model": {"id": "m", "display_name": "M"},
        "workspace": {"current_dir": "/home/ann/app", "project_dir": "/home/ann/app"},
    }
).encode()
"""What Claude Code gives a status line and a hook, in shape and size."""


def measure_commands(bin_folder: Path, pair: Pair) -> list[Figure]:
    """`mesh statusline`, `hook`, `peers`, `send` and `inbox` on ann's machine."""
    python, mesh = str(bin_folder / "python"), str(bin_folder / "mesh")
    env = environment(pair.ann_home)
    hot = _hot_script(bin_folder)
    write_to_ann = _writer(pair)
    times = time_programs(
        [
            Program(BARE, [python, "-I", "-S", "-c", "pass"], env),
            Program(PLAIN, [python, "-c", "pass"], env),
            Program("mesh statusline", [mesh, "statusline"], env, SESSION, b"mesh"),
            Program("mesh hook", [mesh, "hook"], env, SESSION),
            Program("hot.py statusline", [python, "-IS", "-c", LINE, hot, "statusline"], env, SESSION, b"mesh"),
            Program("hot.py hook", [python, "-IS", "-c", HOOK, hot, "hook"], env, SESSION),
            Program("mesh peers", [mesh, "peers"], env, says=b"ben"),
            Program("mesh send", [mesh, "send", "ben", "the build is green"], env, says=b"queued"),
            Program("mesh inbox", [mesh, "inbox"], env, says=b"is it green", before=write_to_ann),
        ],
        ROUNDS,
    )

    def figure(name: str, against: str, limit: float | None, note: str = "") -> Figure:
        return Figure(name, times[name] * 1000, "ms", times[against] * 1000, against, limit, note=note)

    return [
        figure("mesh statusline", BARE, HOT_LIMIT),
        figure("mesh hook", BARE, HOT_LIMIT),
        figure("hot.py statusline", BARE, HOT_LIMIT, "the form that settings files name: python -IS -c … …/hot.py"),
        figure("hot.py hook", BARE, HOT_LIMIT, "the form that settings files name: python -IS -c … …/hot.py"),
        figure("mesh peers", PLAIN, SHORT_LIMIT),
        figure("mesh send", PLAIN, SHORT_LIMIT, "with its commit to the outbox"),
        figure("mesh inbox", PLAIN, SHORT_LIMIT, "one message waits; with the acknowledgement and its commit"),
    ]


def _hot_script(bin_folder: Path) -> str:
    return str(next(bin_folder.parent.glob("lib/python*/site-packages/mesh_clients/hot.py")))


def _writer(pair: Pair) -> Callable[[], None]:
    """Puts one unread message into ann's inbox."""

    def write() -> None:
        ask(pair.to_ben, "message.send", {"to": "ann", "wait": "stored", "timeout": 10.0}, b"is it green?")

    return write
