"""What is remembered of the folders in which sessions were launched."""

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mesh_clients.cli.answers import MAX_FOLDERS, Answers, read_answers, split_groups, write_answers


def test_what_was_written_is_read(tmp_path: Path) -> None:
    given = Answers("heron", "lead", "web,night", "team", "off", "dev-team")
    data = str(tmp_path / "data")
    assert read_answers(data, "/src/web") is None
    write_answers(data, "/src/web", given)
    assert read_answers(data, "/src/web") == given
    assert read_answers(data, "/src") is None
    assert stat.S_IMODE(os.stat(data).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(f"{data}/launch.json").st_mode) == 0o600


def test_the_folders_that_were_used_last_are_kept(tmp_path: Path) -> None:
    for number in range(MAX_FOLDERS):
        write_answers(str(tmp_path), f"/{number}", Answers("x"))
    write_answers(str(tmp_path), "/0", Answers("y"))
    write_answers(str(tmp_path), "/new", Answers("z"))
    known = json.loads((tmp_path / "launch.json").read_text())
    assert len(known) == MAX_FOLDERS
    assert "/1" not in known
    assert [*known][-2:] == ["/0", "/new"]


def test_groups_are_read_as_they_are_typed() -> None:
    assert split_groups("") == []
    assert split_groups(" web/ui, night ,,web/ui @x ") == ["web/ui", "night", "@x"]


def test_launches_at_the_same_time_are_all_remembered(home: Path) -> None:
    folders = [f"/folder/{number}" for number in range(24)]
    with ThreadPoolExecutor(len(folders)) as threads:
        for done in [threads.submit(write_answers, str(home), each, Answers(name=each)) for each in folders]:
            done.result()
    assert [read_answers(str(home), each) for each in folders] == [Answers(name=each) for each in folders]
