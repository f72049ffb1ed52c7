"""The simulator finds what it is there to find: a daemon that is broken on purpose does not get through."""

import random
from collections.abc import Callable
from typing import Any

import pytest

import mesh_protocol.io.sqlite as sqlite
import meshd.store.inbox as received
import sim.faults as faults
import sim.oracles as oracles
from meshd.link.receiver import Receiver
from meshd.outbox import Outbox
from sim.__main__ import tell
from sim.book import MARK
from sim.clients import Violation
from sim.oracles import Promises
from sim.run import require_sealed, run_seed
from sim.story import Story

SEEDS = 200
"""How many are tried at most. What shows itself in one seed of twenty is found in time whatever else has changed."""
LENGTH_S = 300.0
LETTER = 600
"""Bytes from which on a frame holds an envelope."""


def first_violation(*names: str) -> str:
    """What the first seeds that go wrong say; empty when none does."""
    for seed in range(1, SEEDS + 1):
        try:
            run_seed(seed, faults=frozenset(names), length_s=LENGTH_S)
        except Exception as error:
            return "; ".join(tell(error))
    return ""


def swap_letters() -> Callable[[bytes], list[bytes]]:
    """A link in one direction that lets every second letter overtake the one before it; what is smaller it lets through."""
    held: list[bytes] = []

    def change(frame: bytes) -> list[bytes]:
        if len(frame) < LETTER:
            return [frame]
        if held:
            return [frame, held.pop()]
        held.append(frame)
        return []

    return change


@pytest.mark.slow
def test_a_commit_that_is_not_on_the_disk_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    weaker = [each.replace("synchronous=FULL", "synchronous=NORMAL") for each in sqlite.PRAGMAS]
    monkeypatch.setattr(sqlite, "PRAGMAS", tuple(weaker))
    assert first_violation("power"), "what is lost may be a letter, a member, or a start that the broker has seen"


@pytest.mark.slow
def test_an_acknowledgement_before_the_commit_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = Receiver._judge

    async def hasty(self: Receiver, nursery: Any, mseq: int, envelope: bytes) -> None:
        self._acknowledge(mseq)
        await judge(self, nursery, mseq, envelope)

    monkeypatch.setattr(Receiver, "_judge", hasty)
    assert "lost" in first_violation("trap_daemon", "kill_daemon", "full")


@pytest.mark.slow
def test_a_receipt_for_what_nobody_saw_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    owe = received.owe_receipt

    def boast(*row: Any, state: str, **rest: Any) -> None:
        owe(*row, state="shown" if state == "stored" else state, **rest)

    monkeypatch.setattr(received, "owe_receipt", boast)
    assert "false receipt" in first_violation()


@pytest.mark.slow
def test_a_receipt_that_is_sent_for_ever_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def keep(tx: object, ids: object) -> None:
        return None

    monkeypatch.setattr(received, "drop_receipts", keep)
    assert "owed: receipts are owed" in first_violation()


@pytest.mark.slow
def test_a_forgotten_key_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    make: Callable[..., Any] = Outbox._message
    monkeypatch.setattr(Outbox, "_message", lambda *given: make(*given)._replace(idem_key=None))
    assert "idempotency: " in first_violation("lost_answer")


@pytest.mark.slow
def test_what_a_broken_link_does_to_the_order_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def everything(story: Story, letter: object, reader: str) -> Promises:
        return Promises(arrives=True, may_fail=False, ordered=True, once=True)

    def worse(chance: random.Random, kinds: frozenset[str], often: float) -> Callable[[bytes], list[bytes]]:
        return swap_letters()

    monkeypatch.setattr(oracles, "promises", everything)
    monkeypatch.setattr(faults, "mangle", worse)
    assert "Violation" in first_violation("mangling")


def test_plaintext_on_the_wire_is_found() -> None:
    require_sealed(b"ciphertext")
    with pytest.raises(Violation, match="plaintext"):
        require_sealed(b"\0" * 20 + MARK + b"1.abc")
