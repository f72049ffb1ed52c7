"""Buckets, strikes and allowances: how much is let through, and that their memory is bounded."""

import pytest

from mesh_broker.clock import steady
from mesh_broker.floor import Floor, Space
from mesh_broker.limits import MIB, Allowances, Buckets, Limits, Recent, Strikes, replaced
from mesh_broker.rates import FREE_ATTEMPTS, MailRates
from mesh_broker.store.interface import MailKey
from mesh_protocol.ids import MemberId, MeshId, MsgId
from mesh_protocol.wire.errors import MeshError


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    time = Time()
    bucket = Buckets[str](2.0, 3, time)
    assert [bucket.take("a") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert bucket.take("a") == pytest.approx(0.5)
    assert bucket.take("b") == 0.0
    time.now += 0.5
    assert bucket.take("a") == 0.0
    assert bucket.take("a") > 0
    time.now += 1000
    assert [bucket.take("a") > 0 for _ in range(4)] == [False, False, False, True]


def test_a_refused_token_is_not_taken() -> None:
    time = Time()
    bucket = Buckets[str](1.0, 1, time)
    bucket.take("a")
    for _ in range(100):
        bucket.take("a")
    time.now += 1
    assert bucket.take("a") == 0.0


def test_reserved_tokens_queue_up() -> None:
    bucket = Buckets[str](10.0, 2, Time())
    assert [bucket.reserve("a") for _ in range(4)] == pytest.approx([0.0, 0.0, 0.1, 0.2])


def test_a_bucket_of_rate_zero_never_refills() -> None:
    bucket = Buckets[str](0.0, 1, Time())
    assert (bucket.take("a"), bucket.take("a")) == (0.0, 3600.0)


def test_every_memory_is_bounded_and_forgets_the_oldest() -> None:
    time = Time()
    buckets, strikes = Buckets[int](1.0, 1, time, capacity=10), Strikes[int](2, 60, 60, time, capacity=10)
    recent = Recent[int](capacity=10)
    for n in range(1000):
        buckets.take(n)
        strikes.strike(n)
        recent.add(n)
    assert (len(buckets), len(strikes)) == (10, 10)
    assert (999 in recent, 989 in recent) == (True, False)


def test_strikes_within_the_window_bring_a_penalty_that_ends() -> None:
    time = Time()
    strikes = Strikes[str](3, 60, 30, time)
    for _ in range(2):
        strikes.strike("a")
    assert strikes.penalty("a") == 0.0
    strikes.strike("a")
    assert strikes.penalty("a") == 30.0
    assert strikes.penalty("b") == 0.0
    time.now += 31
    assert strikes.penalty("a") == 0.0


def test_strikes_far_apart_are_forgiven() -> None:
    time = Time()
    strikes = Strikes[str](2, 60, 30, time)
    for _ in range(10):
        strikes.strike("a")
        time.now += 61
        assert strikes.penalty("a") == 0.0


def test_an_allowance_is_earned_spent_and_capped() -> None:
    allowances = Allowances[str](cap=5, capacity=2)
    assert not allowances.spend("a")
    allowances.earn("a", 3)
    allowances.earn("a", 3)
    assert [allowances.spend("a") for _ in range(6)] == [True] * 5 + [False]
    for key in ("a", "b", "c"):
        allowances.earn(key, 1)
    assert not allowances.spend("a")


def test_the_named_numbers_change_and_the_hard_caps_hold() -> None:
    changed = replaced(Limits(), {"member_rate": "5000", "mailbox_rows": "7"})
    assert (changed.member_rate, changed.mailbox_rows, changed.mailbox_bytes) == (5000.0, 7, 64 * MIB)
    for name, value in (
        ("member_rate", "5001"),
        ("mailbox_rows", "100001"),
        ("mailbox_bytes", str(2**31)),
        ("mail_days", "45"),
        ("member_burst", "-1"),
        ("member_share", "1.1"),
        ("dedupe_days", "30"),
        ("mailbox_rows", "many"),
        ("nothing", "1"),
    ):
        with pytest.raises(ValueError, match=name.replace("nothing", "no limit called")):
            replaced(Limits(), {name: value})


# Rates of mail.

SENDER = (MeshId(b"m"), MemberId(b"a"))


def key(number: int, attempt: int = 0, sender: int = 1, box: int = 2) -> MailKey:
    return MailKey(sender, box, MsgId(b"%016d" % number), attempt)


def test_a_message_is_charged_once_for_all_its_recipients_and_few_attempts() -> None:
    rates = MailRates(Limits(member_rate=0.001, member_burst=2), Time())
    assert all(rates.charge(SENDER, key(1, box=box)) == 0.0 for box in range(50))
    assert all(rates.charge(SENDER, key(1, attempt=n)) == 0.0 for n in range(FREE_ATTEMPTS + 1))
    assert rates.charge(SENDER, key(1, attempt=FREE_ATTEMPTS + 1)) == 0.0
    assert rates.charge(SENDER, key(1, attempt=FREE_ATTEMPTS + 2)) > 0


def test_an_answer_needs_no_token_and_only_its_recipient_gains() -> None:
    rates = MailRates(Limits(member_rate=0.001, member_burst=0, answers_per_push=3), Time())
    assert rates.charge(SENDER, key(1)) > 0
    rates.handed_over(box=1, sender=2)
    assert rates.charge(SENDER, key(1, box=9)) > 0
    assert [rates.charge(SENDER, key(n)) > 0 for n in range(4)] == [False, False, False, True]


def test_all_envelopes_together_have_a_rate_too() -> None:
    rates = MailRates(Limits(envelope_rate=5, answers_per_push=100), Time())
    rates.handed_over(box=1, sender=2)
    assert [rates.charge(SENDER, key(n)) > 0 for n in range(6)] == [False] * 5 + [True]


# Clock and disk.


def test_the_steady_clock_follows_and_never_runs_ahead() -> None:
    time, wall = Time(), [1_000_000]
    clock = steady(lambda: wall[0], time)
    time.now += 5
    wall[0] += 5000
    assert clock() == 1_005_000
    wall[0] += 10**12
    assert clock() == 1_005_000
    time.now += 1
    assert clock() == 1_006_000
    wall[0] = 7
    assert clock() == 7


def test_the_floor_is_the_larger_of_a_size_and_a_share() -> None:
    space = [Space(300 * MIB, 1000 * MIB)]
    floor = Floor(Limits(), lambda: space[0])
    floor.require()
    for full in (Space(255 * MIB, 1000 * MIB), Space(900 * MIB, 100_000 * MIB)):
        space[0] = full
        floor.look()
        with pytest.raises(MeshError, match="disk is full"):
            floor.require()
    space[0] = Space(3000 * MIB, 100_000 * MIB)
    floor.look()
    floor.require()
