"""What of Claude Code's own document is shown, and that no document can do harm."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.glance import MAX_DOCUMENT, NOTHING, Glance, read_glance

DOCUMENT = {
    "session_id": "x",
    "model": {"id": "claude-opus-5-5", "display_name": "Opus 5.5"},
    "cost": {"total_cost_usd": 0.254},
    "context_window": {"context_window_size": 200000, "used_percentage": 41.6},
}


def test_model_context_and_cost_are_taken_out() -> None:
    assert read_glance(json.dumps(DOCUMENT).encode()) == Glance("Opus 5.5", 42, 0.254)


def test_before_the_first_answer_there_is_no_context() -> None:
    early = DOCUMENT | {"context_window": {"used_percentage": None}}
    assert read_glance(json.dumps(early).encode()).context is None


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"model": "Opus", "cost": [], "context_window": 3}',
        b'{"model": {"display_name": 5}, "cost": {"total_cost_usd": "1"}, "context_window": {"used_percentage": true}}',
        b'{"cost": {"total_cost_usd": -1}, "context_window": {"used_percentage": NaN}}',
        b"[" * 100_000,
        b" " * MAX_DOCUMENT + b"{}",
    ],
)
def test_what_is_no_such_document_says_nothing(document: bytes) -> None:
    assert read_glance(document) == NOTHING


def test_a_name_is_cleaned_and_numbers_are_bounded() -> None:
    wild = {
        "model": {"display_name": "\x1b[31m" + "x" * 100},
        "context_window": {"used_percentage": 10**30},
        "cost": {"total_cost_usd": 1e300},
    }
    found = read_glance(json.dumps(wild).encode())
    assert (len(found.model), "\x1b" in found.model, found.context, found.cost) == (32, False, 100, 1e6)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_json_is_survived(told: object) -> None:
    assert isinstance(read_glance(json.dumps({"model": told, "cost": told, "context_window": told}).encode()), Glance)
