"""A daemon that listens and then cannot serve, because of its keys or its database: what it said reaches its person."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from client_kit.programs import mesh


def keys_gone(home: Path) -> None:
    shutil.rmtree(home / "keys")


def keys_damaged(home: Path) -> None:
    (home / "keys" / "backend").write_bytes(b"\x00\xff")


def database_damaged(home: Path) -> None:
    (home / "mesh.db").write_bytes(os.urandom(4096))


def database_of_a_newer_version(home: Path) -> None:
    database = sqlite3.connect(home / "mesh.db")
    database.execute("PRAGMA user_version=999")
    database.close()


CAUSES = pytest.mark.parametrize(
    ("damage", "says"),
    [
        (keys_gone, "but its keys are gone; restore "),
        (keys_damaged, "/keys/backend is damaged"),
        (database_damaged, "/mesh.db: this file is not a database"),
        (database_of_a_newer_version, "this file has version 999, this program knows up to"),
    ],
)


@CAUSES
def test_why_it_cannot_start_is_said_by_every_command(
    environ: dict, home: Path, damage: Callable[[Path], None], says: str
) -> None:
    assert mesh(environ, "new", "team").returncode == 0
    assert mesh(environ, "down").returncode == 0
    damage(home)
    for words in (["status"], ["status"], ["up"], ["new", "another"]):
        done = mesh(environ, *words)
        assert (done.returncode, says in done.stderr.decode()) == (69, True), (words, done.stderr)
        assert b"went away" not in done.stderr
    checks = json.loads(mesh(environ, "doctor", "--json").stdout)["checks"]
    (daemon,) = [check for check in checks if check["name"] == "daemon"]
    assert (daemon["ok"], says in daemon["text"]) == ("bad", True), daemon
