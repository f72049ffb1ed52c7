"""The scripted daemon leaves nothing open: an unclosed socket of one test is an error in another."""

import gc
import socket
from pathlib import Path

import pytest

from client_kit.scripted import Scripted


def test_a_scripted_daemon_that_stops_closes_what_it_has_just_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unclosed: list[str] = []
    monkeypatch.setattr("sys.unraisablehook", lambda found: unclosed.append(str(found.exc_value)))
    gc.freeze()  # what the tests before have left is not looked through twenty times
    for _ in range(20):
        daemon = Scripted(tmp_path)
        daemon.start()
        callers = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(3)]
        for caller in callers:
            caller.connect(str(daemon.path))
        daemon.stop()
        for caller in callers:
            caller.close()
        del daemon
        gc.collect()
    gc.unfreeze()
    assert unclosed == []
