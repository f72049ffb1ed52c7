"""The order in which deliveries go out: each way keeps its own, and what is tried again is overtaken by nothing."""

from hypothesis import given
from hypothesis import strategies as st

from mesh_protocol.ids import DeviceId, MemberId, MeshId, MsgId
from meshd.outbox import SendQueue
from meshd.store.outbox import DeliveryRow

BOB, EVE = DeviceId(b"b" * 32), DeviceId(b"e" * 32)
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
    while (row := queue.take()) is not None:
        sent.append(row.stream_seq)
        queue.done(row)
    return sent


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
    first = queue.take()
    assert first is not None
    assert first.device == EVE


def test_one_delivery_of_a_way_is_in_hand_at_a_time() -> None:
    queue = SendQueue()
    queue.offer([delivery(1), delivery(2), delivery(1, EVE), delivery(3, lane=NOW)])
    taken = [queue.take() for _ in range(4)]
    assert [(row.stream_seq, row.device) if row else None for row in taken] == [(3, BOB), (1, BOB), (1, EVE), None]


def test_nothing_overtakes_what_is_tried_again() -> None:
    queue = SendQueue()
    queue.offer([delivery(1), delivery(2)])
    refused = queue.take()
    assert refused is not None
    assert queue.take() is None
    queue.offer([delivery(3)])
    assert queue.take() is None
    queue.put_back(refused)
    assert numbers(queue) == [1, 2, 3]


def test_what_is_known_is_not_taken_in_twice() -> None:
    queue = SendQueue()
    queue.offer([delivery(1), delivery(1)])
    row = queue.take()
    assert row is not None
    queue.offer([delivery(1)])
    queue.done(row)
    assert numbers(queue) == []
    queue.offer([delivery(1)])
    assert numbers(queue) == [1], "once it is done with, it may come again"


def test_a_resealed_delivery_takes_the_place_of_its_first_attempt() -> None:
    queue = SendQueue()
    queue.offer([delivery(1), delivery(2)])
    row = queue.take()
    assert row is not None
    queue.done(row)
    queue.offer([delivery(1, attempt=2)])
    again = queue.take()
    assert again is not None
    assert (again.stream_seq, again.attempt) == (1, 2)


def test_a_new_connection_starts_with_an_empty_hand() -> None:
    queue = SendQueue()
    queue.offer([delivery(1), delivery(2)])
    queue.take()
    queue.reset()
    assert queue.take() is None
    queue.offer([delivery(1), delivery(2)])
    assert numbers(queue) == [1, 2]


def test_more_wakes_the_sender_for_every_reason_to_look_again() -> None:
    queue = SendQueue()
    queue.offer([delivery(1), delivery(2)])
    row = queue.take()
    assert row is not None
    queue.more = type(queue.more)()
    queue.done(row)
    assert queue.more.is_set()
    queue.more = type(queue.more)()
    queue.offer([delivery(3, EVE)])
    assert queue.more.is_set()


@given(
    st.lists(
        st.tuples(st.sampled_from([BOB, EVE]), st.sampled_from([NOW, NEXT, LOW]), st.integers(0, 50)), max_size=30
    ),
    st.randoms(use_true_random=False),
)
def test_each_way_keeps_its_order_under_any_refusals(messages: list[tuple[DeviceId, int, int]], chance: object) -> None:
    queue = SendQueue()
    waiting = [
        delivery(number, device, lane, queued=queued + 1) for number, (device, lane, queued) in enumerate(messages, 1)
    ]
    sent: list[DeliveryRow] = []
    hand: list[DeliveryRow] = []
    while waiting or hand or len(sent) < len(messages):
        step = chance.random()  # type: ignore[attr-defined]
        if waiting and step < 0.3:
            queue.offer([waiting.pop(0)])
        elif hand and step < 0.6:
            row = hand.pop(chance.randrange(len(hand)))  # type: ignore[attr-defined]
            if chance.random() < 0.4:  # type: ignore[attr-defined]
                queue.put_back(row)
            else:
                queue.done(row)
                sent.append(row)
        elif (row_or_none := queue.take()) is not None:
            hand.append(row_or_none)
    for device in (BOB, EVE):
        for lane in (NOW, NEXT, LOW):
            order = [row.stream_seq for row in sent if (row.device, row.lane) == (device, lane)]
            assert order == sorted(order)
    assert len(sent) == len(messages)
