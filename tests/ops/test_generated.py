"""The files that are written by tools/generate_*.py are what these would write now."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest

GENERATORS = sorted(path.stem for path in Path(__file__).parents[2].joinpath("tools").glob("generate_*.py"))


@pytest.fixture(params=GENERATORS)
def generator(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(str(request.param))


def test_a_generated_file_is_what_its_generator_writes(
    generator: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", [generator.__name__, "--check"])
    assert generator.main() == 0, capsys.readouterr().err


def test_a_stale_file_is_told_and_mended(
    generator: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (name,) = {"TABLE", "REFERENCE"} & vars(generator).keys()
    stale = tmp_path / "generated"
    stale.write_text("old")
    monkeypatch.setattr(generator, name, stale)
    monkeypatch.setattr("sys.argv", [generator.__name__, "--check"])
    assert generator.main() == 1
    assert "make generate" in capsys.readouterr().err
    assert stale.read_text() == "old"
    monkeypatch.setattr("sys.argv", [generator.__name__])
    assert generator.main() == 0
    monkeypatch.setattr("sys.argv", [generator.__name__, "--check"])
    assert generator.main() == 0
