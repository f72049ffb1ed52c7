"""What CI installs for the tests: only what is missing, only where nobody has to be asked, and never a reason to fail."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import judge_skips

SCRIPT = Path(judge_skips.ROOT, ".ci", "install_missing")
PROGRAMS = ["zsh", "fish", "dbus-daemon", "gnome-keyring-daemon", "groff"]
APT = """#!/bin/sh
echo "$@" >> "$LOG"
case "$*" in *install*) for each in $BRINGS; do printf '#!/bin/sh\\n' > "$PLACE/$each"; chmod +x "$PLACE/$each"; done;; esac
exit $ENDS
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A PATH with what the script itself needs and nothing of what it looks for."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "sh", "env", "chmod", "timeout"):
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    return folder


def put(place: Path, name: str, text: str = "#!/bin/sh\n") -> None:
    (place / name).write_text(text)
    (place / name).chmod(0o755)


def run(place: Path, brings: str = "", ends: int = 0) -> tuple[int, str, list[str]]:
    """Its exit status, what it said, and what apt-get was told."""
    log = place.parent / "log"
    environ = {"PATH": str(place), "LOG": str(log), "PLACE": str(place), "BRINGS": brings, "ENDS": str(ends)}
    done = subprocess.run([SCRIPT], env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout, log.read_text().splitlines() if log.exists() else []


def test_where_nothing_is_missing_nothing_is_done_or_said(place: Path) -> None:
    for name in (*PROGRAMS, "apt-get"):
        put(place, name, APT if name == "apt-get" else "#!/bin/sh\n")
    put(place, "id", "#!/bin/sh\necho 0\n")
    assert run(place) == (0, "", [])


def test_root_on_debian_gets_what_is_missing_and_no_more(place: Path) -> None:
    put(place, "apt-get", APT)
    put(place, "id", "#!/bin/sh\necho 0\n")
    put(place, "zsh")
    status, said, told = run(place, brings=" ".join(PROGRAMS))
    assert (status, said) == (0, "installed for the tests: fish dbus gnome-keyring groff-base\n")
    assert [line.split()[-1] for line in told] == ["update", "groff-base"]
    assert told[1].endswith("install --yes --no-install-recommends fish dbus gnome-keyring groff-base")


def test_an_installer_that_fails_fails_nothing_and_names_what_is_left(place: Path) -> None:
    put(place, "apt-get", APT)
    put(place, "id", "#!/bin/sh\necho 0\n")
    status, said, _ = run(place, brings="zsh", ends=100)
    assert (status, said) == (
        0,
        "not installed, so their tests are skipped: fish dbus gnome-keyring groff-base\n",
    )


@pytest.mark.parametrize("uid", ["1000", "0"])
def test_an_ordinary_user_or_a_machine_without_apt_get_changes_nothing(place: Path, uid: str) -> None:
    if uid != "0":
        put(place, "apt-get", APT)
    put(place, "id", f"#!/bin/sh\necho {uid}\n")
    status, said, told = run(place)
    assert (status, told) == (0, [])
    assert "zsh fish" in said


def test_every_program_that_it_brings_may_be_a_reason_to_skip() -> None:
    wanted = re.search(r"^wanted=\((.*)\)$", SCRIPT.read_text(), re.MULTILINE)
    assert wanted is not None
    assert [each.partition(":")[0] for each in wanted[1].split()] == PROGRAMS
    for program in PROGRAMS:
        assert any(re.match(pattern, f"{program} is not installed") for pattern in judge_skips.REASONS), program
    assert os.access(SCRIPT, os.X_OK)
