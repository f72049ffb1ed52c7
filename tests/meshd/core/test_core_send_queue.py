"""The order in which deliveries go out: each way keeps its own, and what is tried again is overtaken by nothing."""

import random

from hypothesis import given
from hypothesis import strategies as st

from mesh_protocol.ids import DeviceId, MemberId, MeshId, MsgId
from meshd.sendqueue import PER_WAY, SendQueue, Taken
from meshd.store.outbox import DeliveryRow

BOB, EVE, CAROL, DAVE = (DeviceId(letter * 32) for letter in (b"b", b"e", b"c", b"d"))
NOW, NEXT, LOW = 0, 1, 2


def delivery(
    number: int, device: DeviceId = BOB, lane: int = NEXT, *, queued: int = 0, attempt: int = 1
) -> DeliveryRow:
    return DeliveryRow(
        msg_id=MsgId(device[:4] + number.to_bytes(12, "big")),
        device=device,
        mesh=MeshId(bytes(32)),
        member=MemberId(bytes(16)),
        to_session="",
        path="mesh",
        lane=lane,
        stream_seq=number,
        attempt=attempt,
        envelope=b"sealed",
        message_hash=None,
        outer_hash=None,
        expires_ms=10**15,
        queued_ms=queued or number,
    )


def numbers(queue: SendQueue) -> list[int]:
    """Send everything that can be sent, one at a time."""
    sent: list[int] = []
    while (taken := queue.take()) is not None:
        sent.append(taken.row.stream_seq)
        queue.done(taken.row)
    return sent


def take(queue: SendQueue) -> DeliveryRow:
    taken = queue.take()
    assert taken is not None
    return taken.row


def test_an_empty_queue_gives_nothing() -> None:
    assert SendQueue().take() is None


def test_a_stream_goes_out_by_its_numbers_whatever_the_clock_said() -> None:
    queue = SendQueue()
    queue.offer([delivery(3, queued=100), delivery(1, queued=900), delivery(2, queued=500)])
    assert numbers(queue) == [1, 2, 3]


def test_a_more_urgent_lane_goes_first() -> None:
    queue = SendQueue()
    queue.offer([delivery(1, lane=LOW), delivery(2, lane=NEXT), delivery(3, lane=NOW), delivery(4, lane=NEXT)])
    assert numbers(queue) == [3, 2, 4, 1]


def test_who_waits_longest_goes_first_among_recipients() -> None:
    queue = SendQueue()
    queue.offer([delivery(9, EVE, queued=50), delivery(1, BOB, queued=60)])
    assert take(queue).device == EVE


def test_several_of_a_way_are_under_way_at_once_and_the_first_opens_it() -> None:
    queue = SendQueue()
    queue.offer([delivery(n) for n in range(1, PER_WAY + 3)])
    taken = [queue.take() for _ in range(PER_WAY + 1)]
    assert [each.again if each else None for each in taken] == [True, *[False] * (PER_WAY - 1), None]
    first = taken[0]
    assert first is not None
    queue.done(first.row)
    assert take(queue).stream_seq == PER_WAY + 1


def test_nothing_overtakes_what_is_tried_again() -> None:
    queue = SendQueue()
    queue.offer([delivery(1), delivery(2), delivery(3)])
    first, second = take(queue), take(queue)
    queue.hold(first)
    assert queue.take() is None
    queue.give_back(second, refused=True)
    queue.offer([delivery(4)])
    assert queue.take() is None, "the first is not back yet"
    queue.put_back(first)
    again = queue.take()
    assert again is not None
    assert (again.row.stream_seq, again.again) == (1, True)
    queue.done(again.row)
    assert numbers(queue) == [2, 3, 4]


def test_a_way_is_not_opened_anew_while_an_answer_is_out() -> None:
    queue = SendQueue()
    queue.offer([delivery(1), delivery(2), delivery(3)])
    first, second, third = take(queue), take(queue), take(queue)
    queue.hold(first)
    queue.put_back(first)
    queue.give_back(third, refused=True)
    assert queue.take() is None, "the second is still out"
    queue.give_back(second, refused=True)
    assert numbers(queue) == [1, 2, 3]


def test_what_is_known_is_not_taken_in_twice() -> None:
    queue = SendQueue()
    queue.offer([delivery(1), delivery(1)])
    row = take(queue)
    queue.offer([delivery(1)])
    queue.done(row)
    assert numbers(queue) == []
    queue.offer([delivery(1)])
    assert numbers(queue) == [1], "once it is done with, it may come again"


def test_a_resealed_delivery_takes_the_place_of_its_first_attempt() -> None:
    queue = SendQueue()
    queue.offer([delivery(1), delivery(2)])
    row = take(queue)
    queue.offer([delivery(1, attempt=2)])
    assert take(queue).stream_seq == 2, "its first attempt is under way"
    queue.done(row)
    again = take(queue)
    assert (again.stream_seq, again.attempt) == (1, 2)
    queue.offer([delivery(3), delivery(3, attempt=2)])
    assert take(queue).attempt == 2


def test_what_is_dropped_is_not_sent() -> None:
    queue = SendQueue()
    queue.offer([delivery(1), delivery(2), delivery(3)])
    first = take(queue)
    queue.drop(delivery(2).msg_id)
    queue.done(first)
    assert numbers(queue) == [3]


def test_one_message_to_many_is_gathered_where_it_is_next() -> None:
    queue = SendQueue()
    shared = MsgId(b"m" * 16)
    many = [delivery(5, device)._replace(msg_id=shared) for device in (BOB, EVE, CAROL, DAVE)]
    queue.offer([delivery(1, CAROL), *many[:3], many[3]._replace(envelope=None)])
    earlier = take(queue)
    assert earlier.device == CAROL
    frames = []
    for _ in range(2):
        taken = queue.take()
        assert taken is not None
        frames.append({taken.row.device, *(row.device for row in queue.gather(taken, 100))})
    assert sorted(frames, key=len) == [{CAROL}, {BOB, EVE}], "Carol's way is open already"
    assert take(queue).device == DAVE, "it must be sealed first"


def test_a_new_connection_starts_with_an_empty_hand() -> None:
    queue = SendQueue()
    queue.offer([delivery(1), delivery(2)])
    row = take(queue)
    queue.reset()
    assert queue.take() is None
    queue.done(row)
    queue.put_back(row)
    assert queue.take() is None, "an answer of the old connection changes nothing"
    queue.offer([delivery(1), delivery(2)])
    assert numbers(queue) == [1, 2]


def test_more_wakes_the_sender_for_every_reason_to_look_again() -> None:
    queue = SendQueue()
    queue.offer([delivery(1), delivery(2)])
    row = take(queue)
    for wake in (lambda: queue.hold(row), lambda: queue.put_back(row), lambda: queue.offer([delivery(3, EVE)])):
        queue.more = type(queue.more)()
        wake()
    assert queue.more.is_set()


class InOrder:
    """What the broker does with the envelopes of one connection: in order, some refused, and none behind those."""

    def __init__(self, chance: random.Random) -> None:
        self.accepted: list[DeliveryRow] = []
        self._chance = chance
        self._under_way: list[Taken] = []
        self._broken: set[tuple[DeviceId, int]] = set()

    def send(self, taken: Taken) -> None:
        self._under_way.append(taken)

    def answer(self) -> tuple[DeliveryRow, str] | None:
        if not self._under_way:
            return None
        row, again = self._under_way.pop(0)
        way = (row.device, row.lane)
        if again:
            self._broken.discard(way)
        if way in self._broken:
            return row, "out_of_turn"
        if self._chance.random() < 0.3:
            self._broken.add(way)
            return row, "rate_limited"
        self.accepted.append(row)
        return row, ""


@given(
    st.lists(
        st.tuples(st.sampled_from([BOB, EVE]), st.sampled_from([NOW, NEXT, LOW]), st.integers(0, 50)), max_size=40
    ),
    st.randoms(use_true_random=False),
)
def test_each_way_keeps_its_order_under_any_refusals(
    messages: list[tuple[DeviceId, int, int]], chance: random.Random
) -> None:
    queue, broker = SendQueue(), InOrder(chance)
    waiting = [
        delivery(number, device, lane, queued=queued + 1) for number, (device, lane, queued) in enumerate(messages, 1)
    ]
    answers: list[tuple[DeliveryRow, str]] = []
    held: list[DeliveryRow] = []
    for _ in range(10_000):
        if len(broker.accepted) == len(messages) and not answers:
            break
        step = chance.random()
        if waiting and step < 0.2:
            queue.offer([waiting.pop(0)])
        elif step < 0.4 and (answer := broker.answer()) is not None:
            answers.append(answer)
        elif answers and step < 0.6:
            row, code = answers.pop(chance.randrange(len(answers)))
            if code == "rate_limited":
                queue.hold(row)
                held.append(row)
            elif code:
                queue.give_back(row, refused=True)
            else:
                queue.done(row)
        elif held and step < 0.7:
            queue.put_back(held.pop())
        elif (taken := queue.take()) is not None:
            broker.send(taken)
    assert sorted(row.stream_seq for row in broker.accepted) == list(range(1, len(messages) + 1))
    for device in (BOB, EVE):
        for lane in (NOW, NEXT, LOW):
            order = [row.stream_seq for row in broker.accepted if (row.device, row.lane) == (device, lane)]
            assert order == sorted(order)


def test_what_is_dropped_while_it_is_held_does_not_come_back_and_opens_its_way() -> None:
    queue = SendQueue()
    queue.offer([delivery(1), delivery(2)])
    first = take(queue)
    queue.hold(first)
    queue.drop(first.msg_id)
    assert queue.take() is None
    queue.put_back(first)
    assert numbers(queue) == [2]


def test_what_is_dropped_while_it_is_under_way_does_not_go_a_second_time() -> None:
    queue = SendQueue()
    queue.offer([delivery(1), delivery(2)])
    first = take(queue)
    queue.drop(first.msg_id)
    queue.give_back(first, refused=True)
    assert numbers(queue) == [2]


def test_a_message_that_was_dropped_may_be_offered_anew_later() -> None:
    queue = SendQueue()
    queue.offer([delivery(1)])
    first = take(queue)
    queue.drop(first.msg_id)
    queue.done(first)
    queue.offer([delivery(1)])
    assert numbers(queue) == [1]
