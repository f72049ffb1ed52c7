"""Who may say what a session does: hooks, its person, and Claude's register, which is written last."""

import pytest

from meshd.status import BEHIND_MS, Source, Status, read_register

HOOK_SAID = Status("idle", Source.HOOK, 10_000, 10_000)


@pytest.mark.parametrize(
    ("written_ms", "now_ms", "word"),
    [
        (9_999, 10_050, "idle"),  # written before the hook spoke
        (10_000, 10_050, "working"),  # as new as the hook's word
        (10_040, 10_050, "working"),
        (None, 10_050, "working"),  # a version that does not say when
        (9_999, 10_000 + BEHIND_MS - 1, "idle"),
        (9_999, 10_000 + BEHIND_MS, "working"),  # the hook itself may have come late
    ],
)
def test_an_older_word_of_the_register_waits_for_the_hook_to_be_old(
    written_ms: int | None, now_ms: int, word: str
) -> None:
    assert read_register(HOOK_SAID, "busy", written_ms, now_ms).word == word


def test_the_same_word_only_renews() -> None:
    found = read_register(HOOK_SAID, "idle", 9_000, 10_050)
    assert found == Status("idle", Source.HOOK, 10_000, 10_050)


def test_the_register_itself_and_do_not_disturb_are_not_held_up() -> None:
    registered = Status("working", Source.TRANSCRIPT, 10_000, 10_000)
    assert read_register(registered, "idle", 9_000, 10_050).word == "idle"
    assert read_register(Status("dnd", Source.MANUAL, 10_000, 10_000), "busy", 10_040, 10_050).word == "dnd"
