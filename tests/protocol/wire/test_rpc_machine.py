"""Two peers against a model that knows only lists: whatever they say to each other, however the bytes are cut."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, precondition, rule

from mesh_protocol.wire.errors import RemoteError
from mesh_protocol.wire.rpc import (
    CancelReceived,
    ErrorReceived,
    NotificationReceived,
    Peer,
    RequestReceived,
    ResponseReceived,
)

SIDES = st.sampled_from((0, 1))
PARAMS = st.dictionaries(st.text(max_size=4), st.integers(0, 9) | st.text(max_size=4), max_size=3)
BODIES = st.binary(max_size=12)
BOUND = 3


def plain(event):
    """An event that compares by value."""
    if isinstance(event, ErrorReceived):
        return ("error", event.id, event.error.code, event.error.message, event.error.data)
    return event


class TwoPeers(RuleBasedStateMachine):
    """`wire[n]` are the bytes on their way to side n, `expected[n]` the events that they hold."""

    requests = Bundle("requests")  # what a side received and has not answered: (side, id)

    def __init__(self):
        super().__init__()
        self.peers = (Peer(max_in_flight=BOUND), Peer(max_in_flight=BOUND))
        self.wire = [bytearray(), bytearray()]
        self.expected = ([], [])
        self.owed = (set(), set())  # ids that a side received and has not answered
        self.open = (set(), set())  # ids of a side's requests whose answer has not reached it

    def sends(self, side, data, event):
        self.wire[1 - side] += data
        self.expected[1 - side].append(event)

    @rule(side=SIDES, params=PARAMS, body=BODIES)
    def request(self, side, params, body):
        if len(self.open[side]) == BOUND:  # a well-behaved side stops at the bound
            return
        request_id, data = self.peers[side].request("method", params, body)
        assert request_id not in self.open[side]
        self.open[side].add(request_id)
        self.sends(side, data, RequestReceived(request_id, "method", params, body))

    @rule(side=SIDES, params=PARAMS, body=BODIES)
    def notify(self, side, params, body):
        self.sends(side, self.peers[side].notify("event", params, body), NotificationReceived("event", params, body))

    @rule(side=SIDES, data=st.data())
    def cancel(self, side, data):
        if self.open[side]:
            request_id = data.draw(st.sampled_from(sorted(self.open[side])))
            self.sends(side, self.peers[side].cancel(request_id), CancelReceived(request_id))

    @rule(request=consumes(requests), result=PARAMS, body=BODIES)
    def respond(self, request, result, body):
        side, request_id = request
        self.owed[side].remove(request_id)
        data = self.peers[side].respond(request_id, result, body)
        self.sends(side, data, ResponseReceived(request_id, result, body))

    @rule(request=consumes(requests), data=PARAMS)
    def fail(self, request, data):
        side, request_id = request
        self.owed[side].remove(request_id)
        frame = self.peers[side].fail(request_id, "not_found", "text", data)
        self.sends(side, frame, plain(ErrorReceived(request_id, RemoteError("not_found", "text", data))))

    @precondition(lambda self: any(self.wire))
    @rule(target=requests, side=SIDES, share=st.floats(0, 1))
    def deliver_one_piece(self, side, share):
        size = max(1, int(len(self.wire[side]) * share))
        piece, self.wire[side] = bytes(self.wire[side][:size]), self.wire[side][size:]
        arrived = self.peers[side].receive(piece)
        expected = self.expected[side]
        assert [plain(event) for event in arrived] == expected[: len(arrived)]
        del expected[: len(arrived)]
        if not self.wire[side]:
            assert not expected, "all bytes arrived, some events did not"
        received = []
        for event in arrived:
            match event:
                case RequestReceived():
                    self.owed[side].add(event.id)
                    received.append((side, event.id))
                case ResponseReceived() | ErrorReceived():
                    self.open[side].remove(event.id)
        return multiple(*received)

    @invariant()
    def counts_agree(self):
        for side, peer in enumerate(self.peers):
            assert peer.awaiting == len(self.open[side])
            assert peer.answering == len(self.owed[side])


TwoPeers.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


class TestTwoPeers(TwoPeers.TestCase):
    """Requests, answers, cancellations and notifications of both sides arrive once each, in order."""
