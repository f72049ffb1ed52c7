"""The generated table is what the declarations say."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mesh_clients.cli import table
from mesh_protocol.op import Answer, Command, Request, Tier, op, operation_of
from mesh_protocol.registry import load_operations

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_table", ROOT / "tools" / "generate_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_is_not_stale(generator: ModuleType) -> None:
    wanted = generator.write_table(load_operations().values())
    assert Path(table.__file__).read_text() == wanted, "run make generate"


def test_a_stale_table_fails_the_check(generator: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = tmp_path / "table.py"
    monkeypatch.setattr(generator, "TABLE", stale)
    monkeypatch.setattr(sys, "argv", ["generate_table.py", "--check"])
    stale.write_text("# old")
    assert generator.main() == 1
    monkeypatch.setattr(sys, "argv", ["generate_table.py"])
    assert generator.main() == 0
    monkeypatch.setattr(sys, "argv", ["generate_table.py", "--check"])
    assert generator.main() == 0


class Nothing(Answer, frozen=True):
    pass


def test_a_declaration_that_no_command_line_can_give_stops_the_generator(generator: ModuleType) -> None:
    @op("x.y", answer=Nothing, tier=Tier.USER, command=Command("y"))
    class Odd(Request, frozen=True):
        """Takes a map."""

        field: dict[str, int] = {}

    with pytest.raises(ValueError, match=r"x\.y has a field that no command can give"):
        generator.write_table([operation_of(Odd)])


def test_a_verb_declared_twice_or_naming_a_missing_field_stops_the_generator(generator: ModuleType) -> None:
    @op("x.y", answer=Nothing, tier=Tier.USER, command=Command("y"))
    class Plain(Request, frozen=True):
        """Takes nothing."""

    @op("x.z", answer=Nothing, tier=Tier.USER, command=Command("z", args=("gone",)))
    class Missing(Request, frozen=True):
        """Takes nothing either."""

    with pytest.raises(ValueError, match="declared twice"):
        generator.write_table([operation_of(Plain), operation_of(Plain)])
    with pytest.raises(ValueError, match="gone"):
        generator.write_table([operation_of(Missing)])


def test_a_verb_has_one_word_or_two(generator: ModuleType) -> None:
    @op("x.y", answer=Nothing, tier=Tier.USER, command=Command("x y z"))
    class Long(Request, frozen=True):
        """Takes nothing."""

    with pytest.raises(ValueError, match="one word, or two"):
        generator.write_table([operation_of(Long)])


def test_the_installed_script_is_executable_and_names_the_interpreter_to_be_filled_in() -> None:
    script = ROOT / "clients" / "bin" / "mesh"
    assert script.read_bytes().startswith(b"#!python\n")
    assert os.stat(script).st_mode & 0o777 == 0o755
