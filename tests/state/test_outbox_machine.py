"""The daemon's outbox against a model: what was promised is kept over kills, power cuts and lost links, each message gets
further and never back, arrives once and in order, or its sender is told why not.

The whole is real: two daemons and a broker in virtual time. The model remembers what ann was told.
"""

import random
from dataclasses import dataclass, field

import trio
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mesh_protocol.io.link import LinkClosed
from mesh_protocol.wire.errors import MeshError
from meshd.store.meshes import put_prekey
from sim.keeper import FallibleDisk
from world.broker import BrokerHouse
from world.dose import dose
from world.guest import GuestRun
from world.machine import Machine
from world.world import World, open_world

LANES = ("now", "next", "low")
RANKS = {"queued": 0, "accepted": 1, "stored": 2, "shown": 3, "turn_started": 4}
MONTH_MS = 31 * 24 * 3600 * 1000
MOST = 10
"""Messages of one run: each is asked about after each step."""


@dataclass
class Sent:
    """What ann was told about one message."""

    msg_id: str
    lane: str
    key: str
    state: str = "queued"
    bounces: int = 0
    stayed_home: bool = False
    """It was cancelled before ann was online for the first time since it was sent."""
    may_expire: bool = False


@dataclass
class Model:
    """By text, in the order of sending."""

    sent: dict[str, Sent] = field(default_factory=dict)
    unsure: dict[str, str] = field(default_factory=dict)
    """Texts whose call was cut off: sent or not, once at most. With their lanes."""
    placeless: set[str] = field(default_factory=set)
    """Texts that were unsure once: their place is that of the first or of the second asking."""
    at_home: set[str] = field(default_factory=set)
    """Sent while ann was unplugged, and she still is."""
    rotations: int = 0

    def note(self, text: str, state: str) -> None:
        known = self.sent[text]
        if state in RANKS and known.state in RANKS:
            back = RANKS[state] < RANKS[known.state]
            resealed = known.state == "accepted" and state == "queued" and self.rotations
            assert not back or resealed, f"{text} went from {known.state} back to {state}"
        elif state not in RANKS:
            assert state == known.state or (state, known.may_expire) == ("expired", True), f"{text} ended as {state}"
        else:
            assert known.state == "expired" or known.state == "cancelled", f"{text}: {known.state} became {state}"
        known.state = state


class OutboxMachine(RuleBasedStateMachine):
    """Ann writes to bob."""

    ann: Machine
    bob: Machine

    def __init__(self) -> None:
        super().__init__()
        self.loop = GuestRun(7)
        self.world: World = self.loop.hold(open_world(7))
        self.model = Model()
        self.count = 0
        self.aged = False
        self.read: list[str] = []
        self.loop.call(self._begin)

    async def _begin(self) -> None:
        self.ann, self.bob = await self.world.mesh("ann", "bob")
        self.cable = self.world.cable(self.ann)
        await self.ann.crash()
        self.ann.power = FallibleDisk(random.Random(7), self.ann.kill)
        await self.ann.start()
        await self.ann.until_online()

    # Sending.

    @precondition(lambda self: self.count < MOST)
    @rule(lane=st.sampled_from(LANES))
    def send(self, lane: str) -> None:
        text = self._next_text()
        sent = self.loop.call(lambda: self.ann.send("bob", text, priority=lane, idempotency_key=text))
        self._told(text, sent["id"], lane)

    @precondition(lambda self: self.count < MOST)
    @rule(lane=st.sampled_from(LANES), after=st.integers(1, 12))
    def send_as_the_power_goes(self, lane: str, after: int) -> None:
        text = self._next_text()
        msg_id = self.loop.call(lambda: self._send_into_the_dark(text, lane, after))
        if msg_id:
            self._told(text, msg_id, lane)
        else:
            self.model.unsure[text] = lane
            self.model.placeless.add(text)

    async def _send_into_the_dark(self, text: str, lane: str, after: int) -> str:
        assert self.ann.power is not None
        self.ann.power.cut(after=after)
        told = ""
        with trio.move_on_after(0.5):
            try:
                told = (await self.ann.send("bob", text, priority=lane, idempotency_key=text))["id"]
            except (MeshError, LinkClosed):
                pass
        self.ann.power.cut()
        await self._rise()
        return told

    async def _rise(self) -> None:
        """After a kill or a cut: the daemon's last traces go, and it starts on what the disk has."""
        assert self.ann.power is not None
        self.ann.kill()
        await self.ann.ended.wait()
        self.ann.power.restore()
        self.world.take_errors()
        await self.ann.start()

    @precondition(lambda self: self.model.sent or self.model.unsure)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """The same key and request: the same message, or the first that anybody is told of."""
        text = data.draw(st.sampled_from([*self.model.sent, *self.model.unsure]))
        lane = self.model.sent[text].lane if text in self.model.sent else self.model.unsure[text]
        again = self.loop.call(lambda: self.ann.send("bob", text, priority=lane, idempotency_key=text))
        if text in self.model.sent:
            assert again["id"] == self.model.sent[text].msg_id
        else:
            del self.model.unsure[text]
            self._told(text, again["id"], lane)

    @precondition(lambda self: self.model.sent)
    @rule(data=st.data())
    def repeat_otherwise(self, data: st.DataObject) -> None:
        text = data.draw(st.sampled_from([*self.model.sent]))
        code = self.loop.call(
            lambda: self.ann.refusal("message.send", to="bob", message="another text", idempotency_key=text)
        )
        assert code == "idempotency_conflict"

    @precondition(lambda self: self.model.sent)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        text = data.draw(st.sampled_from([*self.model.sent]))
        known = self.model.sent[text]
        answer = self.loop.call(lambda: self.ann.call("outbox.cancel", id=known.msg_id))
        if answer["cancelled"]:
            assert known.state in ("queued", "accepted"), f"{text} was {known.state} and is cancelled"
            known.state = "cancelled"
            known.stayed_home = text in self.model.at_home

    def _next_text(self) -> str:
        self.count += 1
        return f"text {self.count:02}"

    def _told(self, text: str, msg_id: str, lane: str) -> None:
        self.model.sent[text] = Sent(msg_id, lane, text)
        if self.cable.down:
            self.model.at_home.add(text)

    # The weather.

    @rule(seconds=st.sampled_from((0.05, 1, 10, 40)))
    def let_time_pass(self, seconds: float) -> None:
        self.loop.call(lambda: trio.sleep(seconds))

    @rule()
    def unplug(self) -> None:
        self.cable.down = True
        self.loop.call(self.cable.cut)

    @rule()
    def plug(self) -> None:
        self.cable.down = False
        self.model.at_home.clear()
        self.loop.call(lambda: self.ann.until_online(90))

    @rule()
    def cut_the_link(self) -> None:
        self.loop.call(self.cable.cut)

    @rule()
    def kill_ann(self) -> None:
        self.loop.call(self._rise)

    @rule()
    def restart_bob(self) -> None:
        self.loop.call(self.bob.restart)

    @rule()
    def restart_the_broker(self) -> None:
        self.loop.call(self._house.restart)

    # The recipient.

    @rule()
    def bob_reads(self) -> None:
        self.read += self.loop.call(self.bob.read)

    @precondition(lambda self: self.model.rotations < 2)
    @rule()
    def bob_forgets_his_prekey(self) -> None:
        """What is sealed to the old one bounces, and is sealed anew."""
        self.model.rotations += 1
        self.loop.call(lambda: self._rotate(self.model.rotations + 1))

    async def _rotate(self, number: int) -> None:
        mesh = self.bob.mesh()
        row = self.bob.app.making._new_prekey(mesh, number)
        await self.bob.app.node.db.write(lambda tx: put_prekey(tx, mesh.id, row))
        for old in [old for old in mesh.prekeys if old != number]:
            del mesh.prekeys[old]

    @precondition(lambda self: not self.aged)
    @rule()
    def a_month_passes(self) -> None:
        """What is not stored by now may be too late; all clocks agree on it."""
        self.aged = True
        for known in self.model.sent.values():
            known.may_expire = known.may_expire or known.state in ("queued", "accepted")
        for text in [*self.model.unsure]:
            del self.model.unsure[text]  # nobody asks about it any more; it may arrive, or not
            self.model.sent.pop(text, None)
        for clock in (*(m.clock for m in self.world.machines.values()), self._house.clock):
            clock.off_ms += MONTH_MS
        self.loop.call(self._meet_again)

    async def _meet_again(self) -> None:
        await self._house.restart()
        await self.ann.restart()
        await self.bob.restart()
        await trio.sleep(70)

    @property
    def _house(self) -> BrokerHouse:
        return next(iter(self.world.network.brokers.values()))

    # What holds at any time, and in the end.

    @invariant()
    def each_message_gets_further_and_never_back(self) -> None:
        for text, known in self.model.sent.items():
            state = self.loop.call(lambda known=known: self.ann.call("message.status", id=known.msg_id))["state"]
            self.model.note(text, state)

    def teardown(self) -> None:
        try:
            self.plug()
            self.loop.call(self._calm)
            self._judge()
        finally:
            self.loop.close()

    async def _calm(self) -> None:
        await self.bob.until_online(90)
        await trio.sleep(120)

    def _judge(self) -> None:
        self.each_message_gets_further_and_never_back()
        rows = self.loop.call(lambda: self.bob.call("inbox.read", all=True, limit=100))["messages"]
        texts = [row["message"] for row in rows]
        assert len(texts) == len(set(texts)), "something came twice"
        for text, known in self.model.sent.items():
            if known.state in RANKS:
                assert text in texts, f"{text} is {known.state} and was lost"
                assert RANKS[known.state] >= RANKS["stored"], f"{text} arrived, and its sender never heard of it"
            elif known.state == "expired":
                assert text not in texts, f"{text} arrived, and its sender was told that it expired"
            assert not (known.stayed_home and text in texts), f"{text} was cancelled before it could leave"
        for lane in LANES:
            got = [row["message"] for row in rows if row["priority"] == lane]
            got = [text for text in got if text not in self.model.placeless]
            assert got == sorted(got), "something was overtaken"
        assert set(self.read) <= set(texts)
        waiting = self.ann.app.node.db.reader.execute(
            "SELECT count(*) FROM delivery WHERE accepted_ms=0 AND ended='' AND path='mesh'"
        ).get
        assert waiting == 0, "something waits for ever"


TestOutboxMachine = OutboxMachine.TestCase
TestOutboxMachine.settings = dose(12, 20)
