"""Where things are, and what is refused on the way there."""

import os
import stat
from pathlib import Path

import pytest

from meshd.paths import SocketPlace, prepare, record_where, resolve
from meshd.private_files import NotPrivate, open_directory, read_file, write_file

UID = os.geteuid()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_mesh_home_holds_everything() -> None:
    paths = resolve({"MESH_HOME": "/x", "HOME": "/home/ada", "XDG_RUNTIME_DIR": "/run/user/1"}, "linux", 1)
    assert paths.data == Path("/x")
    assert paths.lock == Path("/x/daemon.lock")
    assert paths.where == Path("/x/run/where")
    assert paths.config == Path("/x/config.toml")
    assert paths.runtime is None


def test_without_mesh_home_the_platforms_own_places_serve() -> None:
    linux = resolve({"HOME": "/home/ada", "XDG_RUNTIME_DIR": "/run/user/1"}, "linux", 1)
    assert linux.data == Path("/home/ada/.local/share/meshd")
    assert linux.lock.parent == linux.data
    assert linux.where == linux.data / "run" / "where"
    assert linux.runtime == Path("/run/user/1")
    macos = resolve({"HOME": "/Users/ada"}, "darwin", 1)
    assert macos.data == Path("/Users/ada/Library/Application Support/meshd")
    assert resolve({"MESH_HOME": "", "HOME": "/home/ada"}, "linux", 1).data == linux.data


def test_a_relative_home_is_taken_from_the_working_directory_or_refused() -> None:
    assert resolve({"MESH_HOME": "here"}, "linux", 1, cwd="/home/ada").data == Path("/home/ada/here")
    assert resolve({"MESH_HOME": "/there"}, "linux", 1, cwd="/home/ada").data == Path("/there")
    with pytest.raises(NotPrivate, match="absolute"):
        resolve({"MESH_HOME": "here"}, "linux", 1)


@pytest.mark.parametrize("environ", [{}, {"HOME": ""}, {"HOME": "relative"}, {"MESH_HOME": "/a\nb"}, {"HOME": "/a\nb"}])
def test_an_unusable_environment_is_refused_with_one_line(environ: dict[str, str]) -> None:
    with pytest.raises(NotPrivate) as caught:
        resolve(environ, "linux", 1)
    assert "MESH_HOME" in str(caught.value) or "HOME" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 78


def test_every_directory_is_born_0700_whatever_the_umask(home: Path) -> None:
    before = os.umask(0)
    try:
        paths = resolve({"MESH_HOME": str(home / "deep" / "er")}, "linux", UID)
        place = prepare(paths)
    finally:
        os.umask(before)
    for path in (home, home / "deep", paths.data, paths.run, paths.keys, paths.logs):
        assert mode(path) == 0o700
    assert place == SocketPlace(paths.run, through_descriptor=False)
    assert prepare(paths) == place


def test_the_socket_goes_to_the_runtime_directory_and_where_says_so(tmp_path: Path) -> None:
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    paths = resolve({"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(runtime)}, "linux", UID)
    place = prepare(paths)
    assert place.path == runtime / "meshd" / "sock"
    assert mode(runtime / "meshd") == 0o700
    record_where(paths, place)
    assert paths.where.read_bytes() == os.fsencode(place.path) + b"\n"
    assert mode(paths.where) == 0o600


@pytest.mark.parametrize("kind", ["missing", "another user's", "writable by others", "a file", "a link"])
def test_a_runtime_directory_that_is_not_ours_is_passed_over(tmp_path: Path, kind: str) -> None:
    runtime = tmp_path / "runtime"
    uid = UID
    if kind == "a file":
        runtime.touch()
    elif kind == "a link":
        (tmp_path / "real").mkdir(mode=0o700)
        runtime.symlink_to(tmp_path / "real")
    elif kind != "missing":
        runtime.mkdir(mode=0o700)
    if kind == "writable by others":
        runtime.chmod(0o777)
    if kind == "another user's":
        uid = UID + 1
    paths = resolve({"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(runtime)}, "linux", uid)
    assert prepare(paths).directory == paths.run
    assert not (runtime / "meshd").exists()


def test_a_planted_link_in_our_runtime_directory_is_refused(tmp_path: Path) -> None:
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    (tmp_path / "trap").mkdir(mode=0o700)
    (runtime / "meshd").symlink_to(tmp_path / "trap")
    paths = resolve({"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(runtime)}, "linux", UID)
    with pytest.raises(NotPrivate, match="symbolic link"):
        prepare(paths)
    assert list((tmp_path / "trap").iterdir()) == []


@pytest.mark.parametrize("name", ["", "run", "keys", "logs"])
def test_a_planted_link_in_the_place_of_a_directory_is_refused(home: Path, tmp_path: Path, name: str) -> None:
    trap = tmp_path / "trap"
    trap.mkdir(mode=0o700)
    if name:
        home.mkdir(mode=0o700)
    (home / name if name else home).symlink_to(trap)
    with pytest.raises(NotPrivate, match="symbolic link") as caught:
        prepare(resolve({"MESH_HOME": str(home)}, "linux", UID))
    assert "\n" not in str(caught.value)
    assert list(trap.iterdir()) == []


def test_a_dangling_link_and_a_file_are_refused(home: Path) -> None:
    home.symlink_to("/nonexistent/place")
    with pytest.raises(NotPrivate):
        prepare(resolve({"MESH_HOME": str(home)}, "linux", UID))
    home.unlink()
    home.touch()
    with pytest.raises(NotPrivate, match="cannot open"):
        prepare(resolve({"MESH_HOME": str(home)}, "linux", UID))


@pytest.mark.parametrize("loose", [0o750, 0o705, 0o770, 0o777])
def test_a_directory_open_to_others_is_refused_with_the_command_that_mends_it(home: Path, loose: int) -> None:
    home.mkdir()
    (home / "config.toml").touch()
    home.chmod(loose)
    with pytest.raises(NotPrivate, match=f"chmod 700 {home}"):
        prepare(resolve({"MESH_HOME": str(home)}, "linux", UID))
    assert mode(home) == loose


def test_an_empty_directory_that_only_we_could_write_is_made_private(home: Path) -> None:
    home.mkdir()
    home.chmod(0o755)
    prepare(resolve({"MESH_HOME": str(home)}, "linux", UID))
    assert mode(home) == 0o700
    other = home.with_name("other")
    other.mkdir()
    other.chmod(0o775)
    with pytest.raises(NotPrivate, match="chmod 700"):
        prepare(resolve({"MESH_HOME": str(other)}, "linux", UID))


def test_another_users_directory_is_refused(home: Path) -> None:
    if UID != 0:
        pytest.skip("only root can give a directory away: another user's home is not tried")
    home.mkdir(mode=0o700)
    os.chown(home, 65534, 65534)
    with pytest.raises(NotPrivate, match="belongs to user 65534"):
        prepare(resolve({"MESH_HOME": str(home)}, "linux", UID))


def test_a_path_without_room_is_said_so(home: Path) -> None:
    with pytest.raises(NotPrivate, match="cannot create"):
        prepare(resolve({"MESH_HOME": f"{home}/{'x' * 300}"}, "linux", UID))


def long_home(tmp_path: Path, target: int) -> Path:
    """A directory whose socket's path has exactly `target` bytes."""
    room = target - len(os.fsencode(tmp_path)) - len("//run/sock")
    return tmp_path / ("x" * room)


@pytest.mark.parametrize(("length", "through"), [(98, False), (99, True), (107, True), (171, True), (250, True)])
def test_linux_reaches_a_long_path_through_a_descriptor(tmp_path: Path, length: int, through: bool) -> None:
    paths = resolve({"MESH_HOME": str(long_home(tmp_path, length))}, "linux", UID)
    place = prepare(paths)
    assert place.through_descriptor is through
    assert len(os.fsencode(place.path)) == length


def test_macos_takes_a_short_private_directory_that_is_the_homes_own(tmp_path: Path) -> None:
    short = Path("/tmp") / f"meshd-test-{os.getpid()}"
    short.mkdir(mode=0o700)
    try:
        places = []
        for name in ("a", "b"):
            base = tmp_path / name
            base.mkdir(mode=0o700)
            environ = {"MESH_HOME": str(long_home(base, 150)), "TMPDIR": str(short)}
            paths = resolve(environ, "darwin", UID)
            place = prepare(paths)
            assert not place.through_descriptor
            assert place.directory.parent == short
            assert len(place.directory.name) == len("meshd-") + 8
            assert mode(place.directory) == 0o700
            assert prepare(paths) == place
            places.append(place.directory)
        assert places[0] != places[1]
        places[0].rmdir()
        places[0].symlink_to(tmp_path)
        with pytest.raises(NotPrivate, match="symbolic link"):
            prepare(resolve({"MESH_HOME": str(long_home(tmp_path / "a", 150)), "TMPDIR": str(short)}, "darwin", UID))
        places[0].unlink()
        places[1].rmdir()
    finally:
        short.rmdir()


def test_a_crash_between_write_and_rename_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    directory = open_directory(tmp_path)
    try:
        write_file(directory, "f", b"old")

        def crash(*args: object, **options: object) -> None:
            raise KeyboardInterrupt

        for call in ("write", "fsync", "rename"):
            with monkeypatch.context() as patch:
                patch.setattr(os, call, crash)
                with pytest.raises(KeyboardInterrupt):
                    write_file(directory, "f", b"new")
            assert read_file(directory, "f", tmp_path / "f", 100) == b"old"
        write_file(directory, "f", b"new")
        assert read_file(directory, "f", tmp_path / "f", 100) == b"new"
        assert {each.name for each in tmp_path.iterdir()} == {"f"}
    finally:
        os.close(directory)


def test_a_write_is_durable_before_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content is on the disk before its name is, and the name before anybody is told."""
    tmp_path.chmod(0o700)
    directory = open_directory(tmp_path)
    steps: list[str] = []
    fsync, rename = os.fsync, os.rename

    def watched_fsync(descriptor: int) -> None:
        steps.append("fsync directory" if descriptor == directory else "fsync file")
        fsync(descriptor)

    def watched_rename(*names: str, **directories: int) -> None:
        steps.append("rename")
        rename(*names, **directories)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "rename", watched_rename)
    try:
        write_file(directory, "f", b"content")
    finally:
        os.close(directory)
    assert steps == ["fsync file", "rename", "fsync directory"]


def test_a_planted_temporary_name_is_not_written_through(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "f.new").symlink_to(victim)
    directory = open_directory(tmp_path)
    try:
        write_file(directory, "f", b"content")
    finally:
        os.close(directory)
    assert victim.read_bytes() == b"precious"
    assert (tmp_path / "f").read_bytes() == b"content"


@pytest.mark.parametrize("kind", ["fifo", "directory", "too long"])
def test_what_is_no_small_private_file_is_not_read(tmp_path: Path, kind: str) -> None:
    tmp_path.chmod(0o700)
    path = tmp_path / "f"
    if kind == "fifo":
        os.mkfifo(path, 0o600)
    elif kind == "directory":
        path.mkdir(mode=0o700)
    else:
        path.touch(mode=0o600)
        path.write_bytes(bytes(11))
    directory = open_directory(tmp_path)
    try:
        with pytest.raises(NotPrivate):
            read_file(directory, "f", path, 10)
    finally:
        os.close(directory)
