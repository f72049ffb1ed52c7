"""How fast a member may send, decided without reading anything.

A message costs one token of its member, however many devices it goes to and however often it is repeated. Receipts must
not be held back by it, but a receipt is sealed: nothing outside tells it from a message. So what is
exempt is not a kind but an answer: each envelope that the broker hands to a device lets that device send a few
envelopes back to its sender, and the states of a message (stored, shown, turn started, and a refusal) fit in. Nobody
gains by it who was not written to, and no label says which envelope is a receipt. A far higher rate bounds everything
together.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

from mesh_broker.limits import Allowances, Buckets, Limits, Recent
from mesh_broker.store.interface import MailKey
from mesh_protocol.ids import MemberId, MeshId

Sender: TypeAlias = tuple[MeshId, MemberId]

FREE_ATTEMPTS: Final = 3
"""A message sealed again for a new prekey is still the same message, this often."""


class MailRates:
    """The counters of one broker."""

    def __init__(self, limits: Limits, now: Callable[[], float]) -> None:
        self._answers_per_push = limits.answers_per_push
        self._envelopes: Buckets[Sender] = Buckets(limits.envelope_rate, max(1.0, limits.envelope_rate), now)
        self._messages: Buckets[Sender] = Buckets(limits.member_rate, limits.member_burst, now)
        self._charged: Recent[tuple[Sender, bytes]] = Recent()
        self._answers: Allowances[tuple[int, int]] = Allowances(limits.answers_cap)

    def charge(self, sender: Sender, key: MailKey) -> float:
        """Charge for an envelope: 0.0, or the seconds to wait, and then nothing is charged for the message."""
        wait = self._envelopes.take(sender)
        if wait:
            return wait
        message = (sender, key.msg_id)
        if key.attempt <= FREE_ATTEMPTS and message in self._charged:
            return 0.0
        if self._answers.spend((key.sender, key.box)):
            return 0.0
        wait = self._messages.take(sender)
        if not wait:
            self._charged.add(message)
        return wait

    def handed_over(self, box: int, sender: int) -> None:
        """An envelope of `sender` was pushed to `box`, which may answer it."""
        self._answers.earn((box, sender), self._answers_per_push)
