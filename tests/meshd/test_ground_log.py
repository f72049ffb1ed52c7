"""Log lines: JSON, capped, rotated, and without a secret whatever is thrown at them."""

import ast
import enum
import io
import json
import logging
import os
import random
import stat
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import meshd
from mesh_protocol.keys import SigningKey
from meshd.keys.identity import Identity, StoreKey
from meshd.log import (
    LINE_BYTES,
    Body,
    Id,
    Lines,
    Log,
    Place,
    RotatingFile,
    Secret,
    Token,
    Url,
    Word,
    catch_uncaught,
    configure,
    get_logger,
)
from meshd.private_files import NotPrivate


class Code(enum.Enum):
    LOCKED = "keys_locked"
    ODD = "two words, and more"
    NUMBER = 7


@pytest.fixture
def lines() -> Iterator[list[bytes]]:
    """Every line logged during the test. The process's own logging is put back afterwards."""
    root = logging.getLogger()
    kept, level = list(root.handlers), root.level
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    caught: list[bytes] = []
    configure("debug", caught.append)
    yield caught
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    logging.captureWarnings(False)
    root.handlers[:] = kept
    root.setLevel(level)
    logging.getLogger("meshd").setLevel(logging.NOTSET)


def told(lines: list[bytes]) -> list[dict[str, object]]:
    return [json.loads(line) for line in lines]


def test_a_line_is_one_json_object_with_the_fields_given(lines: list[bytes]) -> None:
    get_logger("link").info("connected", attempt=3, took_s=0.25, ok=True, nothing=None, state=Code.LOCKED)
    (line,) = told(lines)
    assert isinstance(line.pop("t"), int)
    assert line == {
        "level": "info",
        "log": "meshd.link",
        "event": "connected",
        "attempt": 3,
        "took_s": 0.25,
        "ok": True,
        "nothing": None,
        "state": "keys_locked",
    }
    assert lines[0].endswith(b"\n")
    assert lines[0].count(b"\n") == 1


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Secret(b"hidden"), "<secret>"),
        (Body(b"x" * 123), "<body 123B>"),
        (Token("abcdefghijklmnop1234"), "…1234"),
        (Token("short"), "<secret>"),
        (Token("abcdefghijklmnop\n\x1b[1"), "<secret>"),
        (Url("wss://user:pw@broker.example:8443/px/TOKEN?q=1#f"), "broker.example"),
        (Url("https://[2001:db8::1]:1/x"), "[2001:db8::1]"),
        (Url("wss://evil@good@broker.example\\@other/"), "broker.example"),
        (Url("not a url"), "<url>"),
        (Url("https://sp ace/"), "<url>"),
        (Url("local:"), "<url>"),
        (Word("mail.send"), "mail.send"),
        (Word("a sentence with words"), "<word>"),
        (Word("line\nbreak"), "<word>"),
        (Id(bytes(range(32))), "00010203…"),
        (Place(Path("/home/ada/x")), "/home/ada/x"),
        (Code.ODD, "ODD"),
        (Code.NUMBER, "NUMBER"),
        ("plain text", "<str>"),
        (b"bytes", "<bytes>"),
        (bytearray(b"bytes"), "<bytearray>"),
        (["list"], "<list>"),
        ({"a": 1}, "<dict>"),
        (object(), "<object>"),
        (2**65, "<int>"),
        (float("nan"), "<float>"),
        (float("inf"), "<float>"),
        (Identity(SigningKey.from_seed(bytes(32)), StoreKey(bytes(32)), 1), "<Identity>"),
        (ValueError("with a secret"), "ValueError"),
    ],
)
def test_values_are_shown_by_their_type(lines: list[bytes], value: object, shown: str) -> None:
    get_logger("x").info("event", field=value)  # type: ignore[arg-type]  # what a careless caller would do
    assert told(lines)[0]["field"] == shown


def test_an_exception_shows_its_type_and_place_and_no_text(lines: list[bytes]) -> None:
    try:
        try:
            raise ValueError("canary-1")
        except ValueError as inner:
            raise ExceptionGroup("canary-2", [KeyError("canary-3"), inner]) from inner
    except ExceptionGroup as error:
        get_logger("x").error("failed", error=error)
    line = lines[0].decode()
    assert "canary" not in line
    shown = json.loads(line)["error"]
    assert shown.startswith("ExceptionGroup at test_ground_log.py:")
    assert "KeyError" in shown
    assert "from ValueError" in shown


def test_an_endless_chain_of_exceptions_ends(lines: list[bytes]) -> None:
    error = ValueError("x")
    error.__cause__ = error
    get_logger("x").error("failed", error=error)
    assert len(lines[0]) < 1000


class Careless:
    """Everything about it is the secret."""

    def __init__(self, canary: str) -> None:
        self.canary = canary

    def __repr__(self) -> str:
        return self.canary

    __str__ = __repr__


def plantings(canary: str) -> list[object]:
    """The ways a secret reaches a log call."""
    raw = canary.encode()
    return [
        canary,
        raw,
        bytearray(raw),
        memoryview(raw),
        [canary],
        (raw,),
        {canary: canary},
        {canary},
        Careless(canary),
        Path("/x") / canary,
        int.from_bytes(raw, "big"),
        Secret(canary),
        Body(raw),
        Token(canary),
        Url(f"https://{canary}:{canary}@broker.example/{canary}?{canary}#{canary}"),
        Word(f"{canary} {canary}"),
        ValueError(canary),
        OSError(2, canary, canary),
        UnicodeDecodeError("utf-8", raw, 0, 1, canary),
        type("Enumlike", (), {"value": canary, "__repr__": lambda self: canary})(),
    ]


def test_none_of_a_thousand_canaries_reaches_a_line(lines: list[bytes]) -> None:
    root = logging.getLogger()
    root.handlers[:] = [each for each in root.handlers if isinstance(each, Lines)]  # not the tests' own capture
    rng = random.Random(1)
    log = get_logger("canary")
    library = logging.getLogger("somelibrary.client")
    planted: list[str] = []
    while len(planted) < 1000:
        canary = "canary" + "".join(rng.choices("ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789", k=26))
        planted.append(canary)
        for value in plantings(canary):
            log.info("something happened", value=value)  # type: ignore[arg-type]
        library.warning("sent %s to %r", canary, {"password": canary})
        library.warning(f"formatted {canary}")
        try:
            raise RuntimeError(canary)
        except RuntimeError:
            library.exception("failed with %s", canary)
        try:
            json.loads(canary)
        except ValueError as error:
            log.error("bad input", error=error)
    text = b"".join(lines).decode().replace("\\u2026", "…")
    assert len(lines) == 1000 * (len(plantings("x" * 20)) + 4)
    for canary in planted:
        assert canary not in text
        assert canary.encode().hex() not in text
        # A token may show its last four characters and nothing more.
        assert canary[6:14] not in text
        assert canary[-5:] not in text


def test_uncaught_exceptions_and_warnings_become_lines_without_text(lines: list[bytes]) -> None:
    catch_uncaught()
    thread = threading.Thread(target=lambda: (_ for _ in ()).throw(ValueError("canary-thread")))
    thread.start()
    thread.join(10)
    sys.excepthook(ValueError, ValueError("canary-main"), None)

    class Broken:
        def __del__(self) -> None:
            raise ValueError("canary-destructor")

    broken = Broken()
    del broken
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("canary-warning", UserWarning, stacklevel=1)
    events = [line["event"] for line in told(lines)]
    assert events == [
        "uncaught exception in a thread",
        "uncaught exception",
        "exception in a destructor",
        "library record",
    ]
    assert b"canary" not in b"".join(lines)


def test_the_daemons_stderr_holds_json_lines_even_when_it_crashes() -> None:
    script = (
        "import logging\n"
        "from meshd.log import *\n"
        "configure('info', write_stderr); catch_uncaught()\n"
        "get_logger('x').info('started', pid=1)\n"
        "get_logger('x').debug('not shown')\n"
        "logging.getLogger('trio').info('not shown')\n"
        "raise RuntimeError('canary')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=30, check=False)
    assert done.returncode == 1
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == ["started", "uncaught exception"]
    assert b"canary" not in done.stderr + done.stdout


@pytest.mark.parametrize("filler", ["x", "é", "\U0001f600", '"', "\n", "\x1b"])
def test_a_line_never_passes_eight_kibibytes_and_stays_json(lines: list[bytes], filler: str) -> None:
    fields = {f"f{number}": Place(Path(filler * 5000)) for number in range(40)}
    get_logger("x").info("event", **fields)
    logging.getLogger("meshd").info(filler * 100_000)
    get_logger(filler * 3000).info(filler * 3000)
    for line in lines:
        assert len(line) <= LINE_BYTES
        assert line.isascii()
        assert line.count(b"\n") == 1
        json.loads(line)
    assert isinstance(told(lines)[0]["cut"], int)


def test_a_field_cannot_take_the_place_of_a_lines_own(lines: list[bytes]) -> None:
    get_logger("x").info("event", level=Word("fake"), t=1, log=Word("other"))
    line = told(lines)[0]
    assert (line["level"], line["log"], line["event"]) == ("info", "meshd.x", "event")
    assert line["field_level"] == "fake"


def test_a_sink_that_fails_loses_the_line_and_not_the_program(lines: list[bytes]) -> None:
    def broken(line: bytes) -> None:
        raise OSError("no space")

    handlers = configure("info", broken, lines.append)
    get_logger("x").info("event")
    assert handlers[0].lost == 1
    assert len(lines) == 1


def test_a_level_silences_what_is_below(lines: list[bytes]) -> None:
    configure("error", lines.append)
    log = get_logger("x")
    log.debug("no")
    log.info("no")
    log.warning("no")
    log.error("yes")
    assert [line["event"] for line in told(lines)] == ["yes"]


def test_files_rotate_at_their_limit_and_are_private(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    before = os.umask(0)
    try:
        sink = RotatingFile(tmp_path, "meshd.log", limit=100, files=3)
        for number in range(20):
            sink(f"{number:039d}\n".encode())
        sink.close()
        sink.close()
    finally:
        os.umask(before)
    assert {path.name for path in tmp_path.iterdir()} == {"meshd.log", "meshd.log.1", "meshd.log.2"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    assert all(path.stat().st_size <= 100 for path in tmp_path.iterdir())
    newest = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    numbers = [int(line) for content in reversed(newest) for line in content.splitlines()]
    assert numbers == list(range(14, 20))
    again = RotatingFile(tmp_path, "meshd.log", limit=100, files=3)
    again(b"more\n")
    again.close()
    assert (tmp_path / "meshd.log").read_bytes().endswith(b"more\n")


def test_a_planted_log_file_is_not_written_through(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "meshd.log").symlink_to(tmp_path / "victim")
    with pytest.raises(NotPrivate):
        RotatingFile(tmp_path, "meshd.log")
    assert not (tmp_path / "victim").exists()


def test_every_event_in_the_daemon_is_a_literal() -> None:
    """An event built from values would carry them past the redaction."""
    found = []
    for path in Path(meshd.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner = node.func.value
            named = isinstance(owner, ast.Name) and owner.id in ("log", "_log", "LOG")
            if named and node.func.attr in ("debug", "info", "warning", "error"):
                literal = node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)
                if not literal or len(node.args) > 1:
                    found.append(f"{path.name}:{node.lineno}")
    assert found == []


def test_a_logger_is_reached_by_standard_logging_as_well(caplog: pytest.LogCaptureFixture) -> None:
    """Tests that fail on an unexpected error record see these records too, already redacted."""
    with caplog.at_level(logging.ERROR, logger="meshd"):
        log = get_logger("x")
        assert isinstance(log, Log)
        log.error("failed", value=Secret("s"))
    (record,) = caplog.records
    assert record.getMessage() == "failed"
    assert record.__dict__["mesh_fields"] == {"value": "<secret>"}
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.emit(record)
    assert stream.getvalue() == "failed\n"
