"""`make sim` says which seed failed and how to see it again."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOOL = Path(__file__).parent.parent.parent.parent / "tools/run_sim.py"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_sim", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "run_sim", module)
    spec.loader.exec_module(module)
    return module


def test_a_failed_seed_is_told_with_the_command_that_replays_it(
    tool: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    tally = tool.Tally()
    tally.listen([json.dumps({"seed": 17, "failed": "Violation: lost: letter 3", "cpu_s": 1.0})])
    told = capsys.readouterr().out
    assert "seed 17 FAILED: Violation: lost: letter 3" in told
    assert f"{sys.executable} tools/run_sim.py --replay 17" in told
    tool.report(tally, 1)
    assert "FAILED 17" in capsys.readouterr().out


def test_what_held_is_counted(tool: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    tally = tool.Tally()
    line = {"seed": 1, "faults": ["cut"], "counted": {"letters": 40, "promised": 39, "stored": 39, "deaths": 2}}
    tally.listen([json.dumps(line), json.dumps({"reached": {"FP-01": 9}, "died": {"FP-01": 1}})])
    tool.report(tally, 1)
    told = capsys.readouterr().out
    assert "1 seeds from 1 on, one simulated hour each: 40 letters, 39 promised, 39 stored, 2 deaths" in told
    assert "died at: FP-01 1" in told
    assert "none failed" in told


def test_all_processes_order_their_sets_alike(tool: ModuleType) -> None:
    assert tool.environment()["PYTHONHASHSEED"] == "0"
