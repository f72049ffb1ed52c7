"""Finds operations by folder: every module below a package is imported, every declared request class collected."""

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from types import ModuleType

from mesh_protocol.op import Operation, Request, operation_of


def operations_in(modules: Iterable[ModuleType]) -> dict[str, Operation]:
    """The operations that `modules` declare, by method. A method declared twice stops the program."""
    found: dict[str, Operation] = {}
    for module in modules:
        for value in vars(module).values():
            if (
                not isinstance(value, type)
                or not issubclass(value, Request)
                or value is Request
                or value.__module__ != module.__name__
            ):
                continue
            operation = operation_of(value)
            if operation.method in found:
                raise ValueError(f"{operation.method} is declared twice")
            found[operation.method] = operation
    return found


def load_operations(package: str = "mesh_protocol.ops") -> Mapping[str, Operation]:
    """Import every family in `package` and collect its operations."""
    root = importlib.import_module(package)
    names = sorted(info.name for info in pkgutil.iter_modules(root.__path__))
    return operations_in(importlib.import_module(f"{package}.{name}") for name in names)
