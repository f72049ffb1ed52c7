"""The tool that puts faults into our own modules: it makes the faults it says, notices what is noticed, and knows every module."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from mutation_operators import make_mutants  # noqa: E402 - the tools are no package
from mutation_suites import DECLARED, SUITES  # noqa: E402

SOURCE = '''
"""A module."""
LIMIT = 4


class Box:
    """A box."""

    def fits(self, size: int = 1) -> bool:
        """Whether it fits."""
        if size > LIMIT and not self.empty:
            raise ValueError("too large for it")
        require_size(size, 2, "size")
        return size <= LIMIT
'''


def faults(source):
    return [(mutant.line, mutant.what, mutant.function) for mutant in make_mutants(source, "box.py")]


def test_every_kind_of_fault_is_made_where_it_can_be_noticed():
    assert sorted(faults(SOURCE)) == [
        (3, "4 becomes 5", ""),
        (9, "1 becomes 2", "Box.fits"),
        (11, "And becomes Or", "Box.fits"),
        (11, "Gt becomes GtE", "Box.fits"),
        (11, "Gt becomes LtE", "Box.fits"),
        (11, "condition negated", "Box.fits"),
        (11, "not taken away", "Box.fits"),
        (12, "Raise taken away", "Box.fits"),
        (13, "2 becomes 3", "Box.fits"),
        (13, "Expr taken away", "Box.fits"),
        (14, "LtE becomes Gt", "Box.fits"),
        (14, "LtE becomes Lt", "Box.fits"),
        (14, "returns None", "Box.fits"),
    ]


@pytest.mark.parametrize(
    ("source", "expected"),
    [("x = a + b", 1), ("x += 1", 3), ("while x:\n    break", 2), ("x = True", 1), ("x = 'a b'", 0), ("x = b'a'", 1)],
)
def test_so_many_faults_are_made_of_a_statement(source, expected):
    assert len(faults(source)) == expected


def test_a_fault_changes_what_the_code_does_and_the_next_one_begins_from_the_source():
    answers = []
    for mutant in make_mutants("def f():\n    return 4 < 5", "f.py"):
        names = {}
        exec(mutant.code, names)
        answers.append((mutant.what, names["f"]()))
    assert answers == [
        ("returns None", None),
        ("Lt becomes LtE", True),
        ("Lt becomes GtE", False),
        ("4 becomes 5", False),
        ("5 becomes 6", True),
    ]


def test_every_module_of_cryptography_codec_and_chain_has_a_suite_that_is_there():
    folder = ROOT / "protocol/mesh_protocol"
    found = {path.relative_to(folder).with_suffix("").as_posix().replace("/", ".") for path in folder.glob("*.py")}
    found |= {f"wire.{path.stem}" for path in folder.glob("wire/*.py")}
    assert {name for name in found if not name.endswith("__init__")} == set(SUITES) | DECLARED
    for files in SUITES.values():
        assert all((ROOT / name).is_file() for name in files)


def run(*arguments):
    command = [sys.executable, "-W", "error", str(ROOT / "tools/run_mutation.py"), "--processes", "1", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, stdin=subprocess.DEVNULL)


def test_the_seconds_are_of_the_whole_suite_and_of_nothing_that_watches_it(tmp_path):
    """What enters which function is watched in another go, which may cost twice as much."""
    (tmp_path / "boxes.py").write_text("def box():\n    return 4\n")
    watched = tmp_path / "watched"
    (tmp_path / "test_boxes.py").write_text(
        "import sys\nfrom boxes import box\n\n"
        f"def test_a_box():\n    open({str(watched)!r}, 'a').write(f'{{sys.gettrace() is not None}} ')\n"
        "    assert box() == 4\n\n"
        "def test_without_a_box():\n    pass\n"
    )
    script = f"""
import sys
sys.path[:0] = [{str(ROOT / "tools")!r}, {str(tmp_path)!r}]
from pathlib import Path
import pytest
from mutation_session import Session, Target
target = Target("boxes", Path({str(tmp_path / "boxes.py")!r}), ({str(tmp_path / "test_boxes.py")!r},))
notes = Path({str(tmp_path / "told.json")!r})
raise SystemExit(pytest.main(target.arguments, plugins=[Session(target, [], notes)]))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert watched.read_text() == "True False "
    timed = json.loads((tmp_path / "told.baseline").read_text())
    assert {name.split("::")[1] for name in timed} == {"test_a_box", "test_without_a_box"}


def test_a_run_tells_how_many_faults_the_tests_noticed():
    done = run("void", "--every", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    noticed, made = re.findall(r"(\d+) of (\d+) faults noticed", done.stdout)[0]
    assert 0.9 * int(made) <= int(noticed) <= int(made) == 5


def test_a_suite_that_notices_too_little_is_named():
    done = run("padding", "--every", "8", "--least", "101")
    assert (done.returncode, done.stderr.strip()) == (1, "below 101 %: padding")
