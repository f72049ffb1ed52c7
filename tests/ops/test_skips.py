"""No test is skipped that can run here: the list of right reasons knows every reason, and believes none by its word."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import judge_skips

TESTS = Path(__file__).parents[1]
CASES = """\
=========================== short test summary info ============================
SKIPPED [2] tests/meshd/test_a.py:12: only root can be somebody else: it is not tried
SKIPPED [1] tests/meshd/test_b.py:7: it is late
1 passed, 3 skipped in 0.1s
"""


def reasons() -> Iterator[tuple[str, str]]:
    """Place and reason of every skip that is written in the tests, its formatted parts as stars."""
    for path in sorted(TESTS.rglob("*.py")):
        if path == Path(__file__):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "pytest.skip",
                "pytest.mark.skip",
                "pytest.mark.skipif",
            ):
                keywords = {each.arg: each.value for each in node.keywords}
                place = f"{path.relative_to(TESTS)}:{node.lineno}"
                given = keywords.get("reason", node.args[0] if node.args else None)
                yield place, text_of(given) or ast.unparse(node)


def text_of(node: ast.expr | None) -> str:
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=values):
            return "".join(text_of(each) or "*" for each in values)
    return ""


@pytest.mark.parametrize(("place", "reason"), [*reasons()])
def test_every_reason_to_skip_is_on_the_list(place: str, reason: str) -> None:
    if reason == "pytest.skip(str(error))":
        return  # the text of BinaryUnavailable, which is on the list by its beginnings
    assert any(re.match(pattern, reason) for pattern in judge_skips.REASONS), (
        f"{place}: add to tools/judge_skips.py: {reason}"
    )


def test_a_reason_that_is_not_listed_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_skips, "REASONS", {"only root can ": lambda reason: True})
    (wrong,) = judge_skips.judge(CASES)
    assert wrong.startswith("tests/meshd/test_b.py:7")


def test_a_reason_that_does_not_hold_here_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        judge_skips, "REASONS", {"only root can ": lambda reason: False, "it is late": lambda reason: True}
    )
    (wrong,) = judge_skips.judge(CASES)
    assert "this machine can run it" in wrong


@pytest.mark.parametrize("pattern", [pattern for pattern in judge_skips.REASONS if "claude" not in pattern])
def test_every_condition_can_be_asked(pattern: str) -> None:
    assert judge_skips.REASONS[pattern]("git is not installed") in (True, False)


def test_news_fragments_are_named_after_what_they_are() -> None:
    for path in (TESTS.parent / "changes").iterdir():
        assert re.fullmatch(r"[a-z0-9-]+\.(feature|fix|removal)\.md", path.name), path.name
