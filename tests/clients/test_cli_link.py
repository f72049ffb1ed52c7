"""`mesh device link` and `mesh device join`: the steps as they are shown, the words, and what a no or a Ctrl-C does."""

import json
import os
import signal
import subprocess
from typing import Any

import pytest

from client_kit.answers import result
from client_kit.programs import MESH, mesh
from client_kit.scripted import Scripted
from mesh_protocol.wire.errors import MeshError

ID = "0123456789abcdef"
OFFER: dict[str, Any] = {"id": ID, "mesh": "team", "url": "mesh://link/1?x", "qr": "█▀\n▄ ", "expires_ms": 1}
STEP: dict[str, Any] = {"id": ID, "mesh": "team", "state": "waiting", "words": [], "device": ""}
SHOWN = {**STEP, "state": "words", "words": ["acme", "adrift", "kiwi", "zulu"], "device": "ab" * 32}
DONE = {**SHOWN, "state": "done"}


def script(scripted: Scripted, *steps: dict[str, Any]) -> None:
    """The daemon's answers: what `link.wait` gives one after the other, the last one again and again."""
    left = list(steps)
    scripted.on_request["link.open"] = result(OFFER)
    scripted.on_request["link.join"] = result(STEP)
    scripted.on_request["link.wait"] = lambda talker, request: result(left.pop(0) if len(left) > 1 else left[0])(
        talker, request
    )
    scripted.on_request["link.confirm"] = result(DONE)
    scripted.start()


def confirmed(scripted: Scripted) -> list[object]:
    return [request.params["same"] for request in scripted.requests if request.method == "link.confirm"]


@pytest.mark.parametrize(
    ("told", "same"),
    [
        (b"acme adrift kiwi zulu\n", True),
        (b" ACME  adrift kiwi zulu", True),
        (b"acme adrift kiwi\n", False),
        (b"", False),
    ],
)
def test_without_a_terminal_the_words_of_the_other_machine_are_read(
    scripted: Scripted, environ: dict, told: bytes, same: bool
) -> None:
    script(scripted, STEP, SHOWN)
    done = mesh(environ, "device", "link", text=told)
    out = done.stdout.decode()
    assert out.startswith("mesh://link/1?x\n█▀\n▄ \n")
    assert "acme adrift kiwi zulu" in out
    assert confirmed(scripted) == [same]


def test_every_step_is_a_document_of_its_own(scripted: Scripted, environ: dict) -> None:
    script(scripted, STEP, SHOWN)
    done = mesh(environ, "device", "link", "--json", text=b"acme adrift kiwi zulu\n")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [OFFER, SHOWN, DONE]


def test_the_new_machine_shows_the_words_and_waits_for_the_yes(scripted: Scripted, environ: dict) -> None:
    script(scripted, STEP, SHOWN, {**SHOWN, "state": "entering"}, DONE)
    done = mesh(environ, "device", "join", "-", text=b"mesh://link/1?secret\n")
    out = done.stdout.decode()
    assert "Four words:   acme adrift kiwi zulu\nWaiting for the yes on your other machine" in out
    assert out.endswith("This machine is yours in team now. Who is there: mesh peers --mesh team\n")
    joins = [request.params for request in scripted.requests if request.method == "link.join"]
    assert joins == [{"url": "mesh://link/1?secret"}]


def test_what_ends_it_is_said_and_is_the_exit_status(scripted: Scripted, environ: dict) -> None:
    script(scripted, STEP)
    said = MeshError("link_ended", why="it took too long").message
    scripted.on_request["link.wait"] = lambda talker, request: talker.refuse(request, "link_ended", said)
    done = mesh(environ, "device", "join", "mesh://link/1?x")
    assert (done.returncode, b"it took too long" in done.stderr) == (1, True)


@pytest.mark.parametrize("words", [("device", "link"), ("device", "join", "mesh://link/1?x")])
def test_ctrl_c_gives_the_attempt_up(scripted: Scripted, environ: dict, words: tuple[str, ...]) -> None:
    script(scripted, STEP)
    scripted.on_request["link.wait"] = lambda talker, request: os.kill(running.pid, signal.SIGINT)
    scripted.on_request["link.end"] = result({**STEP, "state": "failed"})
    running = subprocess.Popen([*MESH, *words], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    running.communicate(timeout=60)
    assert running.returncode == 130
    assert scripted.requests[-1].method == "link.end"
    assert scripted.requests[-1].params == {"id": ID}
