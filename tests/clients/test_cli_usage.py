"""How what was spent is shown: in 80 columns, as a tree, and as comma-separated values."""

import csv
import io
from types import SimpleNamespace

import pytest

from mesh_clients.cli import conversations, usage
from mesh_clients.cli.budget import amount
from mesh_clients.cli.proxy import print_env

ROW = {
    "key": "2026-11-21",
    "requests": 123_456,
    "input_tokens": 12_345_678,
    "output_tokens": 9_876_543,
    "cache_read_tokens": 1_234_567_890,
    "cache_write_tokens": 98_765_432,
    "thinking_tokens": 5,
    "cost_usd": 12_345.678,
    "unpriced": 1,
    "partial": 2,
    "unaccounted": 3,
    "failed": 4,
}


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "0"),
        (999, "999"),
        (9_999, "9999"),
        (12_345, "12.35k"),
        (1_234_567, "1.235M"),
        (999_999_999, "1000M"),
        (12_345_678_901, "12.35G"),
        (5e12, "5T"),
    ],
)
def test_a_count_takes_six_columns_at_most(number: float, said: str) -> None:
    assert usage.short(number) == said
    assert len(said) <= 6


@pytest.mark.parametrize(("value", "said"), [(0, "$0.00"), (0.004, "$0.0040"), (1.999, "$2.00"), (None, "$0.00")])
def test_money_is_shown_to_the_cent_and_below_it_finer(value: float | None, said: str) -> None:
    assert usage.dollars(value) == said


def test_the_table_fits_eighty_columns(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{**ROW, "key": key} for key in ("2026-11-21", "x" * 100, "", "5f2b7d1c-0000-4000-8000-000000000000")]
    rows[1]["cost_usd"] = 1.0
    usage.print_usage({**ROW, "by": "session", "more": 7, "rows": [*rows]}, [*rows])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "#" * usage.BAR in lines[1]
    assert "…" in lines[2]
    assert "(none)" in lines[3]
    assert lines[5].startswith("total")
    assert "7 groups more" in "\n".join(lines)
    assert "3 requests whose use could not be read" in "\n".join(lines)


def test_a_window_that_runs_out_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    windows = [{"window": "5h", "used": 0.93, "until_ms": 0}, {"window": "7d", "used": 0.2, "until_ms": 0}]
    usage.print_usage({"requests": 0, "windows": [*windows]}, [])
    out = capsys.readouterr().out
    assert "window 5h: 93% used: it runs out soon" in out
    assert "window 7d: 20% used\n" in out


def test_windows_of_two_accounts_are_told_apart_with_what_went_through_here(capsys: pytest.CaptureFixture[str]) -> None:
    until = 1_800_000_000_000
    windows = [
        {"account": "ann" * 20, "window": "5h", "used": 1.02, "until_ms": until, "requests": 3, "cost_usd": 12_345.6},
        {
            "account": "bob",
            "window": "5h",
            "used": 0.1,
            "until_ms": until,
            "requests": 2,
            "tokens": 1_500,
            "cost_usd": 0.0,
        },
        {"account": "ann" * 20, "window": "7d", "used": 0.3, "until_ms": 0, "requests": 0},
    ]
    usage.print_usage({"requests": 0, "windows": [*windows]}, [])
    lines = capsys.readouterr().out.splitlines()[1:]
    assert lines[0].startswith("account annann")
    assert lines[1].startswith("  window 5h: 102% used, $12345.60 here, anew ")
    assert lines[1].endswith(": it is used up")
    assert lines[2] == "  window 7d: 30% used"
    assert lines[3] == "account bob"
    assert lines[4].startswith("  window 5h: 10% used, 1500 tokens here, anew ")
    assert max(map(len, lines)) <= 80


def test_nothing_since_a_day_is_not_nothing_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    usage.print_usage({"requests": 0, "since": "2026-11-22"}, [])
    assert capsys.readouterr().out == "nothing was recorded since 2026-11-22\n"


def test_what_has_no_price_costs_no_number_and_is_charted_by_its_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{**ROW, "key": key, "cost_usd": 0.0, "unpriced": 9, "input_tokens": 1} for key in ("one", "two")]
    rows[1] |= {"cache_read_tokens": 0, "cache_write_tokens": 0, "output_tokens": 0}
    usage.print_usage({**ROW, "cost_usd": 0.0, "unpriced": 1, "by": "model", "more": 1}, [*rows])
    lines = capsys.readouterr().out.splitlines()
    assert "$" not in "".join(lines)
    assert lines[1].endswith("?  ########")
    assert "#" not in lines[2]
    assert "1 request without a price here, not in the cost" in lines
    assert "1 group more in the total alone (--limit shows them)" in lines


def test_values_are_separated_by_commas_and_none_is_a_formula(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"key": '=HYPERLINK("x")', "requests": -1}, {"key": 'a,"b"\nc', "requests": 2}]
    usage.print_csv([*rows], ("key", "requests"))
    text = capsys.readouterr().out
    assert text.count("\r\n") == 3
    assert [*csv.reader(io.StringIO(text))] == [["key", "requests"], ['\'=HYPERLINK("x")', "-1"], ['a,"b" c', "2"]]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"stop": True}, "The transcripts are followed no longer; what they told stays counted.\n"),
        ({}, "1 message read, 1 of them not counted before\n"),
    ],
)
def test_an_import_says_what_it_did(params: dict[str, object], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    answer = {"files": 1, "messages": 1, "added": 1, "following": False}
    called = SimpleNamespace(params=params, call=lambda given, wait: answer, as_json=False)
    assert usage.take_in(called) == 0  # type: ignore[arg-type]
    assert capsys.readouterr().out == said


def thread(agent: str, parent: str, branch: str = "main", **more: object) -> dict[str, object]:
    return {"agent": agent, "parent_agent": parent, "branch": branch, "requests": 1, "cost_usd": 0.5, **more}


def test_each_agent_stands_below_the_one_that_started_it() -> None:
    threads = [
        thread("b", ""),
        thread("a2", "a1"),
        thread("", "", "compact_101500"),
        thread("a1", ""),
        thread("lost", "gone"),
        thread("", ""),
        thread("x", "y"),
        thread("y", "x"),
    ]
    ordered = conversations.in_order([*threads])  # type: ignore[list-item]
    names = [conversations.tree_name(row, ordered) for row in ordered]
    assert names[:2] == ["compact_101500", "main"]
    assert names.index("    a2/main") == names.index("  a1/main") + 1
    assert "  b/main" in names
    assert len(names) == len(threads)


def test_each_branch_stands_below_the_one_that_it_leaves() -> None:
    threads = [
        thread("", ""),
        thread("", "", "branch_1", origin=3, origin_branch="main"),
        thread("a1", "", "compact_1", origin=9, origin_branch="main"),
        thread("", "", "root_1"),
        thread("", "", "branch_2", origin=5, origin_branch="branch_1"),
        thread("", "", "lost", origin=7, origin_branch="forgotten"),
        thread("", "", "loop", origin=8, origin_branch="loop"),
        thread("a1", ""),
    ]
    ordered = conversations.in_order([*threads])  # type: ignore[list-item]
    assert [conversations.tree_name(row, ordered) for row in ordered] == [
        "main",
        "  branch_1 from 3",
        "    branch_2 from 5",
        "root_1",
        "lost from 7",
        "loop from 8",
        "  a1/main",
        "    a1/compact_1 from 9",
    ]


def test_a_tree_fits_eighty_columns(capsys: pytest.CaptureFixture[str]) -> None:
    deep = [
        thread(f"agent-number-{number}", f"agent-number-{number - 1}" if number else "", "compact_101500_12")
        | {"requests": 99_999}
        for number in range(7)
    ]
    deep[-1] |= {
        "origin": 1_234_567,
        "guessed": True,
        "cost_usd": 12_345.67,
        "output_tokens": 98_765_432,
        "last_ms": 8_639_000_000,
    }
    conversations.print_conversation({**ROW, "id": "talk", "threads": [*deep], "turns": []})  # type: ignore[arg-type]
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any("… from 1234567 (a guess)" in line for line in lines)


def test_branches_that_lead_to_each_other_are_all_shown() -> None:
    threads = [thread("", "", one, origin=1, origin_branch=other) for one, other in (("x", "y"), ("y", "x"))]
    ordered = conversations.in_order([*threads])  # type: ignore[list-item]
    assert len([conversations.tree_name(row, ordered) for row in ordered]) == 2


def test_a_conversation_is_shown_with_its_sums(capsys: pytest.CaptureFixture[str]) -> None:
    turn = {
        "row": 7,
        "parent": 3,
        "agent": "",
        "branch": "main",
        "kind": "turn",
        "model": "claude-opus-5-5",
        "tools": ["Bash", "Read"],
        "partial": True,
        "outcome": "client_left",
        "stop_reason": "tool_use",
    }
    answer = {**ROW, "id": "talk", "threads": [thread("", "", guessed=True)], "turns": [turn], "more": True}
    conversations.print_conversation(answer)  # type: ignore[arg-type]
    out = capsys.readouterr().out
    assert "main (a guess)" in out
    assert "7 after 3 main  turn claude-opus-5-5" in out
    assert "tool_use; client_left; called Bash, Read" in out
    assert "earlier requests are left out" in out
    assert max(map(len, out.splitlines())) <= 100


def test_only_what_a_shell_takes_as_it_is_is_printed_as_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    good = {"name": "ANTHROPIC_BASE_URL", "value": "http://127.0.0.1:1/px/a_b-c"}
    bad = [{"name": "X", "value": "$(id)"}, {"name": "X;id", "value": "1"}, {"name": "X", "value": "a b"}]
    print_env({"variables": [good, *bad]})
    assert capsys.readouterr().out == "export ANTHROPIC_BASE_URL=http://127.0.0.1:1/px/a_b-c\n"


def test_an_amount_is_shown_in_its_unit() -> None:
    assert amount({"unit": "usd", "spent": 1.5}, "spent") == "$1.50"
    assert amount({"unit": "usd", "limit": 0.001}, "limit") == "$0.0010"
    assert amount({"unit": "tokens", "spent": 1500.0}, "spent") == "1500 tokens"
