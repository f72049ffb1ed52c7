"""The rate limiter against a model: the same rule in another form, with exact numbers.

A bucket of `burst` tokens that gains `rate` a second allows what the generic cell rate algorithm (ITU-T I.371) allows
with an increment of 1/rate and a tolerance of (burst - 1)/rate. All times are multiples of 1/64 s, exact in binary.
"""

from fractions import Fraction

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mesh_broker.limits import Allowances, Buckets, Limits
from mesh_broker.rates import FREE_ATTEMPTS, MailRates
from mesh_broker.store.interface import MailKey
from mesh_protocol.ids import MemberId, MeshId, MsgId
from world.dose import dose

TICK = Fraction(1, 64)
MEMBERS = [MemberId(bytes([n]) * 16) for n in range(2)]
MESH = MeshId(bytes(32))
BOXES = (1, 2, 3)
IDS = [MsgId(bytes([n]) * 16) for n in range(6)]


class CellRate:
    """The model of one bucket."""

    def __init__(self, rate: int, burst: int) -> None:
        self.step = Fraction(1, rate)
        self.tolerance = (burst - 1) * self.step
        self.due = Fraction(0)

    def wait(self, now: Fraction) -> Fraction:
        return max(Fraction(0), self.due - self.tolerance - now)

    def take(self, now: Fraction) -> Fraction:
        wait = self.wait(now)
        if not wait:
            self.due = max(now, self.due) + self.step
        return wait


class Clocked(RuleBasedStateMachine):
    """A clock that only goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.time = Fraction(0)

    def now(self) -> float:
        return float(self.time)

    @rule(ticks=st.one_of(st.integers(1, 40), st.integers(1, 4000)))
    def wait(self, ticks: int) -> None:
        self.time += ticks * TICK


class BucketMachine(Clocked):
    """`Buckets`: who is refused, for how long, and that nobody's bucket is another's."""

    RATE, BURST = 4, 6

    def __init__(self) -> None:
        super().__init__()
        self.buckets: Buckets[str] = Buckets(self.RATE, self.BURST, self.now, capacity=8)
        self.models = {key: CellRate(self.RATE, self.BURST) for key in "ab"}

    @rule(key=st.sampled_from("ab"), times=st.integers(1, 8))
    def take(self, key: str, times: int) -> None:
        for _ in range(times):
            assert self.buckets.take(key) == self.models[key].take(self.time)

    @rule(key=st.sampled_from("ab"))
    def come_back_when_told(self, key: str) -> None:
        wait = self.buckets.take(key)
        assert wait == self.models[key].take(self.time)
        if wait:
            self.time += Fraction(wait)
            assert self.buckets.take(key) == 0
            self.models[key].take(self.time)

    @rule(key=st.sampled_from("ab"))
    def come_back_a_tick_early(self, key: str) -> None:
        while not self.models[key].wait(self.time):
            self.take(key, 1)
        self.time += self.models[key].wait(self.time) - TICK
        self.take(key, 1)

    @rule(key=st.sampled_from("ab"))
    def reserve(self, key: str) -> None:
        model = self.models[key]
        assert self.buckets.reserve(key) == model.wait(self.time)
        model.due = max(self.time, model.due) + model.step

    @rule(stranger=st.integers(0, 5))
    def meet_a_stranger(self, stranger: int) -> None:
        key = f"stranger {stranger}"
        model = self.models.setdefault(key, CellRate(self.RATE, self.BURST))
        assert self.buckets.take(key) == model.take(self.time)


class MailRatesMachine(Clocked):
    """`MailRates`: a message is paid for once, answers are free as far as they were earned, refusals cost nothing."""

    RATE, BURST, ENVELOPES, PER_PUSH, CAP = 2, 4, 16, 2, 5

    def __init__(self) -> None:
        super().__init__()
        limits = Limits(
            member_rate=self.RATE,
            member_burst=self.BURST,
            envelope_rate=self.ENVELOPES,
            answers_per_push=self.PER_PUSH,
            answers_cap=self.CAP,
        )
        self.rates = MailRates(limits, self.now)
        self.messages = [CellRate(self.RATE, self.BURST) for _ in MEMBERS]
        self.envelopes = [CellRate(self.ENVELOPES, self.ENVELOPES) for _ in MEMBERS]
        self.paid: set[tuple[int, MsgId]] = set()
        self.answers: dict[tuple[int, int], int] = {}

    @rule(
        member=st.integers(0, 1),
        boxes=st.permutations(BOXES),
        msg_id=st.sampled_from(IDS),
        attempt=st.integers(0, FREE_ATTEMPTS + 2),
    )
    def send(self, member: int, boxes: list[int], msg_id: MsgId, attempt: int) -> None:
        sender, box = boxes[0], boxes[1]
        found = self.rates.charge((MESH, MEMBERS[member]), MailKey(sender, box, msg_id, attempt))
        assert found == self._expected(member, (sender, box), msg_id, attempt)

    def _expected(self, member: int, way: tuple[int, int], msg_id: MsgId, attempt: int) -> Fraction:
        wait = self.envelopes[member].take(self.time)
        if wait:
            return wait
        if (member, msg_id) in self.paid and attempt <= FREE_ATTEMPTS:
            return Fraction(0)
        if self.answers.get(way, 0):
            self.answers[way] -= 1
            return Fraction(0)
        wait = self.messages[member].take(self.time)
        if not wait:
            self.paid.add((member, msg_id))
        return wait

    @rule(boxes=st.permutations(BOXES), times=st.integers(1, 4))
    def hand_over(self, boxes: list[int], times: int) -> None:
        for _ in range(times):
            self.rates.handed_over(boxes[0], boxes[1])
            way = (boxes[0], boxes[1])
            self.answers[way] = min(self.CAP, self.answers.get(way, 0) + self.PER_PUSH)


class AllowanceMachine(RuleBasedStateMachine):
    """`Allowances`: what is earned can be spent, up to the cap, and of too many keys the oldest is forgotten."""

    CAP, CAPACITY = 3, 2

    def __init__(self) -> None:
        super().__init__()
        self.allowances: Allowances[str] = Allowances(self.CAP, self.CAPACITY)
        self.model: dict[str, int] = {}

    @rule(key=st.sampled_from("abc"), count=st.integers(1, 4))
    def earn(self, key: str, count: int) -> None:
        self.allowances.earn(key, count)
        self.model[key] = min(self.CAP, self.model.pop(key, 0) + count)
        if len(self.model) > self.CAPACITY:
            del self.model[next(iter(self.model))]

    @rule(key=st.sampled_from("abc"))
    def spend(self, key: str) -> None:
        left = self.model.get(key, 0)
        assert self.allowances.spend(key) == (left > 0)
        if left == 1:
            del self.model[key]
        elif left:
            self.model[key] = left - 1

    @invariant()
    def is_bounded(self) -> None:
        assert len(self.model) <= self.CAPACITY


TestBucketMachine = BucketMachine.TestCase
TestBucketMachine.settings = dose(40, 30)
TestMailRatesMachine = MailRatesMachine.TestCase
TestMailRatesMachine.settings = dose(60, 40)
TestAllowanceMachine = AllowanceMachine.TestCase
TestAllowanceMachine.settings = dose(40, 30)
