"""Finding operations: by folder, each once, none silently left out."""

import sys
from types import ModuleType

import pytest

from mesh_protocol.op import Answer, Operation, Request, Tier, op
from mesh_protocol.registry import load_operations, operations_in


class Nothing(Answer, frozen=True):
    """An empty answer."""


def declare(module: ModuleType, name: str, method: str) -> type[Request]:
    request = type(Request)(name, (Request,), {"__doc__": "Do it.", "__module__": module.__name__}, frozen=True)
    setattr(module, name, op(method, answer=Nothing, tier=Tier.USER)(request))
    return request


def test_operations_are_found_by_method():
    module = ModuleType("family")
    declare(module, "Read", "family.read")
    declare(module, "Write", "family.write")
    assert [*operations_in([module])] == ["family.read", "family.write"]


@pytest.mark.parametrize("same_module", [True, False])
def test_a_method_declared_twice_stops_the_program(same_module):
    first = ModuleType("first")
    second = first if same_module else ModuleType("second")
    declare(first, "One", "family.read")
    declare(second, "Two", "family.read")
    with pytest.raises(ValueError, match=r"family\.read is declared twice"):
        operations_in([first] if same_module else [first, second])


def test_a_request_class_that_was_not_declared_stops_the_program():
    module = ModuleType("family")
    module.Stray = type(Request)("Stray", (Request,), {"__module__": "family"}, frozen=True)
    with pytest.raises(TypeError, match="Stray is not declared"):
        operations_in([module])


def test_what_a_module_imports_is_not_declared_again():
    first, second = ModuleType("first"), ModuleType("second")
    second.Imported = declare(first, "Read", "family.read")
    second.Request = Request
    assert [*operations_in([first, second])] == ["family.read"]


def test_the_packaged_operations_are_all_found():
    operations = load_operations()
    assert operations
    assert all(isinstance(operation, Operation) for operation in operations.values())
    assert all(method == operation.method for method, operation in operations.items())
    declared = {
        value
        for name, module in sys.modules.items()
        if name.startswith("mesh_protocol.ops.")
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Request) and value.__module__ == name
    }
    assert {operation.request for operation in operations.values()} == declared


def test_a_family_that_does_not_import_stops_the_program(tmp_path, monkeypatch):
    package = tmp_path / "broken_families"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "bad.py").write_text("raise ImportError('this family is broken')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="this family is broken"):
        load_operations("broken_families")
