"""One module's tests against each of its mutants: collected once, run in a fork for each mutant.

A fault inside a function is put into the function that stands there. A fault outside of functions, and any that lived
through the first way, is put in when the module is imported, in a process that has imported nothing of ours yet.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

import hypothesis
import pytest
from _pytest.runner import runtestprotocol

from mutation_operators import Mutant

CPU_LIMIT_S: Final = 4
WALL_LIMIT_S: Final = 300
MEMORY_LIMIT: Final = 3 << 30
QUIET: Final = (
    "-q",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:xdist",
    "-p",
    "no:faulthandler",
    "-p",
    "no:logging",
    "-s",
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
)
KILLED, SURVIVED, BROKEN = 10, 11, 12


@dataclass(frozen=True, slots=True)
class Target:
    """A module, by its import name and file, and the test files that are its suite."""

    name: str
    path: Path
    tests: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    @property
    def arguments(self) -> list[str]:
        """What pytest is asked for."""
        return [*QUIET, *self.tests, *(f"--deselect={each}" for each in self.left_out)]


@dataclass(frozen=True, slots=True)
class Baseline:
    """What the tests do without a fault: the functions of the module that each enters, and the CPU seconds of every test."""

    seconds: Mapping[str, float]
    functions: Mapping[str, frozenset[str]]


def run_forked(work: Callable[[], int], *, limits: bool = True) -> int:
    """The exit status of `work` in a fork that says nothing; KILLED when it dies or, with `limits`, takes too long."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else KILLED
    status = BROKEN
    try:
        if limits:
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT_S, CPU_LIMIT_S + 1))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
            signal.alarm(WALL_LIMIT_S)
        silent = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(silent, number)
        status = work()
    finally:
        os._exit(status)


class Session:
    """A pytest plugin that takes the place of the test loop."""

    def __init__(self, target: Target, mutants: Sequence[Mutant], told: Path) -> None:
        self.target, self.mutants, self.told = target, mutants, told

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self) -> None:
        prepare_hypothesis()

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """The verdicts of the mutants that can be put in here go to the file `told`, as JSON."""
        items = {item.nodeid: item for item in session.items}
        notes = self.told.with_suffix(".baseline")
        functions = self._ask(notes, lambda: watch_items(list(items.values()), self.target.path, notes))
        seconds = self._ask(notes, lambda: time_items(list(items.values()), notes))
        baseline = Baseline(seconds, {name: frozenset(each) for name, each in functions.items()})
        module = sys.modules[self.target.name]
        verdicts: dict[int, str] = {}
        for mutant in self.mutants:
            found = find_function(module, mutant.function) if mutant.function else None
            code = find_code(mutant.code, mutant.function)
            if found is None or code is None or found.__code__.co_freevars != code.co_freevars:
                continue
            chosen = [items[name] for name in chosen_tests(baseline, mutant.function)]
            verdicts[mutant.number] = self._judge(found, code, chosen)
        self.told.write_text(json.dumps({"seconds": sum(baseline.seconds.values()), "verdicts": verdicts}))
        return True

    def _ask(self, notes: Path, work: Callable[[], int]) -> dict[str, Any]:
        """What `work` wrote to `notes`, in a fork."""
        if run_forked(work) != SURVIVED:
            raise pytest.UsageError(f"the suite of {self.target.name} fails without any fault")
        told: dict[str, Any] = json.loads(notes.read_text())
        return told

    def _judge(self, function: FunctionType, code: CodeType, items: Sequence[pytest.Item]) -> str:
        if not items:
            return "survived"

        def work() -> int:
            function.__code__ = code
            return run_items(items)

        return {KILLED: "killed", SURVIVED: "survived"}[run_forked(work)]


def prepare_hypothesis() -> None:
    """The same few examples each time, and no search for a smaller one: the first that fails is enough."""
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile(
        "mutation",
        max_examples=15,
        derandomize=True,
        database=None,
        phases=phases,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.settings.load_profile("mutation")


def chosen_tests(baseline: Baseline, function: str) -> list[str]:
    """The tests that enter `function`, the quickest first."""
    names = [name for name, entered in baseline.functions.items() if function in entered]
    return sorted(names, key=lambda name: baseline.seconds[name])


def run_items(items: Sequence[pytest.Item], last: pytest.Item | None = None) -> int:
    """KILLED at the first test that fails. After them comes `last`, if anything does."""
    for item, following in zip(items, [*items[1:], last], strict=True):
        if any(report.failed for report in runtestprotocol(item, log=False, nextitem=following)):
            return KILLED
    return SURVIVED


def watch_items(items: Sequence[pytest.Item], path: Path, notes: Path) -> int:
    """Write to `notes` the functions of the module at `path` that each of `items` enters, where it enters any."""
    functions: dict[str, list[str]] = {}
    watched, entered = str(path), set[str]()

    def watch(frame: object, event: str, argument: object) -> None:
        code = frame.f_code  # type: ignore[attr-defined]
        if code.co_filename == watched:
            entered.add(code.co_qualname)

    for item, following in zip(items, [*items[1:], None], strict=True):
        entered.clear()
        sys.settrace(watch)
        status = run_items([item], following)
        sys.settrace(None)
        if status != SURVIVED:
            return status
        if entered:
            functions[item.nodeid] = sorted(entered)
    notes.write_text(json.dumps(functions))
    return SURVIVED


def time_items(items: Sequence[pytest.Item], notes: Path) -> int:
    """Write to `notes` the CPU seconds of each of `items`. Nothing watches them: that would cost as much again."""
    seconds: dict[str, float] = {}
    for item, following in zip(items, [*items[1:], None], strict=True):
        began = time.process_time()
        status = run_items([item], following)
        seconds[item.nodeid] = time.process_time() - began
        if status != SURVIVED:
            return status
    notes.write_text(json.dumps(seconds))
    return SURVIVED


def find_code(code: CodeType, qualified: str) -> CodeType | None:
    """The one code object of that name in a module's; None when there are several (a property and its setter)."""
    found = [each for each in _codes(code) if each.co_qualname == qualified]
    return found[0] if len(found) == 1 else None


def _codes(code: CodeType) -> Iterator[CodeType]:
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield each
            yield from _codes(each)


def find_function(module: ModuleType, qualified: str) -> FunctionType | None:
    """The function of that qualified name as it stands in `module`, out of its wrappers."""
    value: object = module
    for name in qualified.split("."):
        value = vars(value).get(name) if isinstance(value, ModuleType | type) else None
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    elif isinstance(value, property):
        value = value.fget
    value = getattr(value, "func", value)
    value = inspect.unwrap(value) if callable(value) else value
    return value if isinstance(value, FunctionType) and value.__qualname__ == qualified else None


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module the code of a mutant."""

    def __init__(self, target: Target, code: CodeType) -> None:
        self.target, self.code = target, code

    def find_spec(
        self, fullname: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.target.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.target.path, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(self.code, vars(module))  # noqa: S102 - the module's own source with one fault in it


class _Quick:
    """A pytest plugin for the whole suite in one go."""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self) -> None:
        prepare_hypothesis()


def judge_by_import(target: Target, mutant: Mutant) -> str:
    """The verdict on a mutant that is there from the import on."""

    def work() -> int:
        sys.meta_path.insert(0, _Finder(target, mutant.code))
        return SURVIVED if pytest.main(["-x", *target.arguments], plugins=[_Quick()]) == 0 else KILLED

    return {KILLED: "killed", SURVIVED: "survived"}[run_forked(work)]
