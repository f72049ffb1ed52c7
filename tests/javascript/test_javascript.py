"""The second implementation, in JavaScript: it reads every frozen vector, makes the same bytes, and refuses the same.

Node.js runs it. Its one package is installed here by npm, once for each lock file; where the registry cannot be reached the
package is taken from npm's cache, and without that the test is skipped.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parents[1] / "tools"))

import count_vectors  # noqa: E402 - the tools are no package

INSTALL_S = 300
RUN_S = 300


def node() -> str:
    program = shutil.which("node")
    if program is None:
        pytest.skip("node is not installed")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    if tuple(map(int, re.findall(r"\d+", said)[:2])) < (20, 19):
        pytest.skip(f"node 20.19 or newer is needed, this is {said.strip()}")
    return program


def install() -> None:
    """What package-lock.json names, where it is not yet there; one process at a time."""
    stamp, lock = FOLDER / "node_modules/.package-lock.json", FOLDER / "package-lock.json"
    with lock.open(encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.stat().st_mtime < lock.stat().st_mtime:
            install_from(FOLDER)


def install_from(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    command = [npm, "ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=INSTALL_S)
    if done.returncode:
        pytest.skip(f"npm could not install what the second implementation needs: {done.stderr.strip()[-300:]}")


def run_tests(folder: Path, *names: str) -> subprocess.CompletedProcess[str]:
    """`node --test` in `folder`, as TAP."""
    return subprocess.run(
        [node(), "--test", "--test-reporter=tap", *names],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("NODE_")},
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_S,
    )


def test_the_second_implementation_agrees_on_every_vector(capsys):
    node()
    install()
    done = run_tests(FOLDER)
    failures = re.findall(r"^not ok .*", done.stdout, re.MULTILINE)
    assert (done.returncode, failures) == (0, []), done.stdout[-4_000:] + done.stderr
    summary = dict(re.findall(r"^# (pass|fail|skipped|todo) (\d+)$", done.stdout, re.MULTILINE))
    own = sum(count_vectors.count_own().values())
    public = count_vectors.count_rows(count_vectors.PUBLIC) + count_vectors.count_rows(count_vectors.EDGES)
    assert own >= count_vectors.LEAST_OWN
    # One of the two cases of RFC 9180 has a cipher that the suite does not; the two counts of iterations are one test.
    assert int(summary["pass"]) >= own + public - 2
    assert (summary["fail"], summary["skipped"], summary["todo"]) == ("0", "0", "0")
    with capsys.disabled():
        print(f"\n{summary['pass']} checks by JavaScript, of {own} own vectors and {public} public ones")


def test_a_vector_with_one_bit_changed_is_noticed(tmp_path):
    node()
    install()
    for name in ("src", "test", "node_modules"):
        shutil.copytree(FOLDER / name, tmp_path / "tests/javascript" / name)
    shutil.copy(FOLDER / "package.json", tmp_path / "tests/javascript")
    vectors = tmp_path / "protocol/mesh_protocol/vectors"
    shutil.copytree(count_vectors.OWN, vectors)
    tip = vectors / "tip.json"
    text = tip.read_text()
    signature = re.search(r'"hex": "([0-9a-f]{488})"', text)
    assert signature is not None
    changed = signature[1][:-1] + format(int(signature[1][-1], 16) ^ 1, "x")
    tip.write_text(text.replace(signature[1], changed, 1))
    done = run_tests(tmp_path / "tests/javascript", "test/mesh.test.js")
    assert done.returncode == 1
    assert len(re.findall(r"^not ok .* - tip: ", done.stdout, re.MULTILINE)) == 1
