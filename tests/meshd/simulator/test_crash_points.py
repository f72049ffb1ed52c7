"""The crash points: documented where they are, all of them reached, and a death at each of them harmless."""

import random
import re
from pathlib import Path

import apsw
import pytest

from mesh_protocol.io.sqlite import Database, InlineWorker
from meshd.store.schema import APPLICATION_ID, MIGRATIONS
from sim.crashes import BROKER, DAEMON, REACHED
from sim.faults import HONEST
from sim.run import die_at, run_seed
from world.power import PowerDisk

ROOT = Path(__file__).parent.parent.parent.parent
PLACES = {
    "meshd": ROOT / "meshd",
    "mesh_broker": ROOT / "broker",
    "mesh_protocol": ROOT / "protocol",
    "tests": ROOT,
}
CALL = re.compile(r"reached\([^)]*\)")
POINT = re.compile(r"FP-\d\d")


def documented() -> dict[str, set[str]]:
    """Point to the files that docs/crash-points.md names for it."""
    rows = re.findall(r"^\| (FP-\d\d) \| \w+ \| ([^|]+) \|", (ROOT / "docs/crash-points.md").read_text(), re.MULTILINE)
    return {point: set(re.findall(r"`([^`]+)`", places)) for point, places in rows}


def in_code() -> dict[str, set[str]]:
    """Point to the files that call `reached` with its name."""
    found: dict[str, set[str]] = {}
    for package in ("meshd", "mesh_broker", "mesh_protocol"):
        for path in (PLACES[package] / package).rglob("*.py"):
            for call in CALL.findall(path.read_text()):
                for point in POINT.findall(call):
                    found.setdefault(point, set()).add(str(path.relative_to(PLACES[package])))
    return found


def test_every_crash_point_of_the_code_is_documented_where_it_is() -> None:
    said = documented()
    for point, files in in_code().items():
        assert said.get(point) == files, f"{point} is in {files}, docs/crash-points.md says {said.get(point)}"


def test_every_documented_crash_point_is_somewhere() -> None:
    code = in_code()
    for point, files in documented().items():
        for file in files - code.get(point, set()):
            path = PLACES[file.split("/")[0]] / file
            assert point in path.read_text(), f"{file} says nothing of {point}"
    own_stories = {"FP-16", "FP-17", "FP-25"}  # a migration; the turn of an epoch; coming back from a backup
    assert set(code) - own_stories | {"FP-06"} == {*DAEMON, *BROKER}, "the simulator arms what there is"


@pytest.mark.slow
def test_an_ordinary_history_reaches_every_crash_point() -> None:
    REACHED.clear()
    all_points = {*DAEMON, *BROKER, "FP-16"}
    for seed in range(1, 9):  # a mesh without a session pushes nothing
        run_seed(seed, faults=frozenset(HONEST), length_s=600.0)
        if set(REACHED) >= all_points:
            break
    assert set(REACHED) == all_points


@pytest.mark.slow
@pytest.mark.parametrize("point", sorted({*DAEMON, *BROKER}))
def test_a_death_at_a_crash_point_loses_and_doubles_nothing(point: str) -> None:
    outcome = die_at(point, seed=1)
    assert outcome.counted["deaths"] >= 1


@pytest.mark.parametrize("lose", [False, True], ids=["kill", "power cut"])
def test_a_migration_that_is_cut_off_leaves_the_old_schema_and_is_made_at_the_next_start(
    tmp_path: Path, lose: bool
) -> None:
    disk = PowerDisk(random.Random(1))
    path = tmp_path / "mesh.db"

    def open_at(version: int, die_in: int = 0) -> Database:
        passed = 0

        def reached(point: str) -> None:
            nonlocal passed
            passed += point == "FP-16"
            if passed == die_in and die_in:
                disk.cut() if lose else disk.kill()

        return Database(
            path,
            application_id=APPLICATION_ID,
            migrations=MIGRATIONS[:version],
            worker=InlineWorker(),
            vfs=disk.name,
            reached=reached,
        )

    def version() -> int:
        connection = apsw.Connection(str(path), vfs=disk.name)
        try:
            assert connection.pragma("integrity_check") == "ok"
            return int(connection.pragma("user_version"))
        finally:
            connection.close()

    newest = len(MIGRATIONS)
    assert newest > 1
    open_at(1).close()
    for step in range(1, newest):
        with pytest.raises(apsw.Error):
            open_at(newest, die_in=1)
        disk.restore()
        assert version() == step
        open_at(step + 1).close()
    assert version() == newest
    open_at(newest).close()
    disk.close()
