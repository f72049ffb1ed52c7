"""Which program called claude is run: never one that a project, or everybody, can put there."""

import os
from pathlib import Path

import pytest

from mesh_clients import claude_program
from mesh_clients.claude_program import candidates, find_claude, objection, project_folders
from mesh_protocol.wire.errors import MeshError


def put(folder: Path, mode: int = 0o755) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "claude"
    program.write_text("#!/bin/sh\n")
    program.chmod(mode)
    return program


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "src" / "web"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(autouse=True)
def _no_places_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claude_program, "PLACES", ("{home}/.local/bin",))


def find(tmp_path: Path, project: Path, *path: Path | str, **more: str) -> str:
    return find_claude({"HOME": str(tmp_path), "PATH": os.pathsep.join(map(str, path)), **more}, str(project))


def refused(tmp_path: Path, project: Path, *path: Path | str, **more: str) -> str:
    with pytest.raises(MeshError) as caught:
        find(tmp_path, project, *path, **more)
    assert (caught.value.code, caught.value.exit) == ("no_claude", 78)
    return caught.value.message


def test_the_first_on_the_path_is_taken(tmp_path: Path, project: Path) -> None:
    one, two = put(tmp_path / "one"), put(tmp_path / "two")
    assert find(tmp_path, project, tmp_path / "none", one.parent, two.parent) == str(one)
    assert find(tmp_path, project, two.parent, one.parent) == str(two)


def test_what_is_not_on_the_path_is_found_where_its_installer_puts_it(tmp_path: Path, project: Path) -> None:
    found = put(tmp_path / ".local" / "bin")
    assert find(tmp_path, project, "/nowhere") == str(found)


def test_where_there_is_none_it_is_said_what_to_do(tmp_path: Path, project: Path) -> None:
    assert "install Claude Code" in refused(tmp_path, project, "/nowhere")


@pytest.mark.parametrize("entry", ["", ".", "bin", "../bin"])
def test_a_folder_that_depends_on_where_one_stands_is_not_looked_into(
    tmp_path: Path, project: Path, entry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (project, project / "bin", project.parent / "bin"):
        put(folder)
    monkeypatch.chdir(project)
    assert "neither on PATH" in refused(tmp_path, project, entry)
    assert not [path for path in candidates({"PATH": entry}) if not path.startswith("/")]


def test_a_claude_of_the_repository_is_passed_over_for_another(tmp_path: Path, project: Path) -> None:
    (project.parent / ".git").mkdir()
    evil = put(project.parent / "node_modules" / ".bin")
    good = put(tmp_path / "bin")
    assert find(tmp_path, project, evil.parent, good.parent) == str(good)
    assert "lies in this project" in refused(tmp_path, project, evil.parent)


def test_a_link_into_or_out_of_the_project_is_the_projects(tmp_path: Path, project: Path) -> None:
    inside = put(project / "bin")
    outside = tmp_path / "bin"
    outside.mkdir()
    (outside / "claude").symlink_to(inside)
    assert "lies in this project" in refused(tmp_path, project, outside)
    good = put(tmp_path / "good")
    (project / "link").mkdir()
    (project / "link" / "claude").symlink_to(good)
    assert "lies in this project" in refused(tmp_path, project, project / "link")


def test_the_project_of_the_session_above_counts_too(tmp_path: Path, project: Path) -> None:
    other = tmp_path / "other"
    assert "lies in this project" in refused(
        tmp_path, project, put(other / "bin").parent, CLAUDE_PROJECT_DIR=str(other)
    )


def test_somebody_who_works_in_his_home_finds_what_is_installed_there(tmp_path: Path) -> None:
    found = put(tmp_path / "bin")
    (tmp_path / ".git").mkdir()
    for folder in (tmp_path, tmp_path.parent, Path("/")):
        assert find(tmp_path, folder, found.parent) == str(found)
    inside = tmp_path / "src"
    inside.mkdir()
    assert project_folders(str(inside), {"HOME": str(tmp_path)}) == [str(inside)]


@pytest.mark.parametrize(("mode", "why"), [(0o644, "is no program"), (0o757, "every user")])
def test_a_file_that_is_not_to_be_run(tmp_path: Path, project: Path, mode: int, why: str) -> None:
    assert why in refused(tmp_path, project, put(tmp_path / "bin", mode).parent)


def test_a_folder_that_everybody_may_write_to(tmp_path: Path, project: Path) -> None:
    program = put(tmp_path / "bin")
    program.parent.chmod(0o777)
    assert "every user" in refused(tmp_path, project, program.parent)
    program.parent.chmod(0o1777)
    assert find(tmp_path, project, program.parent) == str(program), "there only the owner can put another in its place"


def test_a_folder_called_claude_is_no_program(tmp_path: Path, project: Path) -> None:
    (tmp_path / "bin" / "claude").mkdir(parents=True)
    assert "is no program" in refused(tmp_path, project, tmp_path / "bin")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_a_program_of_another_user(tmp_path: Path, project: Path) -> None:
    program = put(tmp_path / "bin")
    os.chown(program, 12345, 12345)
    assert "belongs to another user" in objection(str(program), [])
