"""Actions of the model as records of a real chain, and what the real chain says in the model's words."""

import random

from chain_model import Action, Model, random_action
from chain_story import Story, founded
from mesh_protocol.chain import Body, InviteOpen, Record, type_of
from mesh_protocol.ids import InviteId, MemberId
from mesh_protocol.members import ChainError, ChainState, extend
from mesh_samples import HERE, NOW_MS


class Tale:
    """A chain and its model, grown by the same actions; `told` is what was accepted."""

    def __init__(self) -> None:
        story = founded()
        self.model = Model()
        self.records = list(story.records)
        self.state: ChainState = story.state
        self.told: list[Action] = []
        self._doors: list[InviteId] = []

    @property
    def story(self) -> Story:
        """The chain so far, as a story whose state is at hand."""
        story = Story(HERE, tuple(self.records))
        story.__dict__["state"] = self.state
        return story

    def attempt(self, action: Action) -> str:
        """Add it to the chain if it is allowed: the reason of the refusal, or an empty text."""
        records = self.records_of(action)
        try:
            state = extend(self.state, records)
        except ChainError as error:
            return error.reason
        self.state = state
        self.records += records
        self.told.append(action)
        if action.kind == "invite_open":
            self._doors.append(InviteId(records[0].hash))
        return ""

    def go_on(self, source: random.Random, steps: int) -> None:
        """Try random actions; chain and model must agree on each."""
        for _ in range(steps):
            action = random_action(source, self.model)
            reason = self.attempt(action)
            allowed = self.model.judge(action)
            assert allowed == (not reason), (action, reason, self.told)
            self.require_same()

    def records_of(self, action: Action) -> list[Record]:
        if action.kind == "begin_epoch":
            epoch = self.story.epoch(self.state.epoch + 1)
            return [HERE.record(self.records[-1], "epoch", epoch.encode(), action.signer)]
        body = self.body(action)
        assert type_of(body) == action.kind
        return self.story.make(action.signer, body)

    def body(self, action: Action) -> Body:
        story, given = self.story, action.arguments
        match action.kind:
            case "add_member":
                name, role, device, door = given
                return story.add_member(str(name), str(role), self._door(door), str(device))
            case "remove_member":
                return story.remove(str(given[0]), bool(given[1]))
            case "revoke_device":
                kept = given[1]
                assert isinstance(kept, tuple)
                return story.revoke(str(given[0]), *kept)
            case "policy":
                permissions = given[1]
                assert isinstance(permissions, tuple)
                return story.policy(str(given[0]), *permissions)
            case "set_name":
                return story.set_name(str(given[0]), str(given[0]))
            case "invite_open":
                key, role, uses = given
                assert isinstance(uses, int)
                return InviteOpen(HERE.key(str(key)).public, str(role), uses, NOW_MS, False)
            case "invite_close":
                return story.close_invite(InviteId(self._door(given[0])))
        make = getattr(story, action.kind)
        made: Body = make(*(str(each) for each in given))
        return made

    def _door(self, door: object) -> bytes:
        if door is None:
            return b""
        assert isinstance(door, int)
        return self._doors[door] if door < len(self._doors) else bytes(32)

    def require_same(self) -> None:
        """Everything the chain says is what the model says."""
        model, state = self.model, self.state
        assert {key: (each.role, set(each.permissions)) for key, each in state.members.items()} == {
            HERE.member(name): (person.role, person.may()) for name, person in model.people.items()
        }
        assert {key: (each.role, each.banned) for key, each in state.former.items()} == {
            HERE.member(name): (role, name in model.banned) for name, role in model.gone.items()
        }
        assert {key: (each.member_id, each.active, each.revoked) for key, each in state.devices.items()} == {
            HERE.key(name).public: (
                HERE.member(machine.of),
                machine.state == "active",
                machine.state == "revoked",
            )
            for name, machine in model.machines.items()
        }
        assert state.signers == {HERE.key(name).public for name in model.signers}
        assert [invite.open for invite in state.invites.values()] == [door.left > 0 for door in model.doors]
        assert state.epoch == model.epoch == len(state.kcs)
        for name in model.people:
            member = MemberId(HERE.member(name))
            assert set(state.active_devices(member)) == {HERE.key(each).public for each in model.active(name)}
