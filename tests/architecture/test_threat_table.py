"""The table of attacks in docs/threats.md names tests that are there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE = (ROOT / "docs" / "threats.md").read_text(encoding="utf-8")
MALICIOUS = sorted((ROOT / "tests" / "meshd").glob("test_malicious_broker_*.py"))
NAMED = re.findall(r"`(?:([\w/]+\.py)::)?(test_\w+)`", TABLE)
FILES = re.findall(r"`([\w/]+\.py)(?:::\w+)?`", TABLE)


def find_file(name: str) -> Path:
    return next(path for path in (ROOT / name, ROOT / "tests" / "meshd" / name) if path.is_file())


def test_every_test_that_the_table_names_is_there():
    assert len(NAMED) > 40
    everywhere = "\n".join(path.read_text(encoding="utf-8") for path in MALICIOUS)
    for file, name in NAMED:
        text = find_file(file).read_text(encoding="utf-8") if file else everywhere
        assert f"def {name}(" in text, name
    for file in FILES:
        assert find_file(file), file


def test_every_test_of_the_malicious_broker_of_chain_and_members_is_in_the_table():
    for path in MALICIOUS:
        if path.stem.removeprefix("test_malicious_broker_") in ("chain", "split", "members", "prekeys"):
            for name in re.findall(r"def (test_\w+)\(", path.read_text(encoding="utf-8")):
                assert name in TABLE, f"{path.name}: {name}"
