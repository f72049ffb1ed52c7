"""The rules of membership once more, over names and without bytes: slow, plain, sharing nothing with the product.

`Model.judge` says whether an action is allowed, and does it if so. `random_action` makes actions of which about half are.
"""

import copy
import random
from dataclasses import dataclass, field
from typing import NamedTuple

ROLES = ["member", "admin", "owner"]
EVERYTHING = {
    *("invite", "deploy_mcp", "manage_files", "manage_vault", "manage_watches", "manage_webhooks"),
    *("write_state", "send", "use_tools", "delete_mesh", "manage_permissions"),
}
MAY = {
    "owner": EVERYTHING,
    "admin": EVERYTHING - {"delete_mesh"},
    "member": {"send", "use_tools", "write_state"},
}
MEMBERS = ("alice", "bob", "carol", "dave", "erin", "frank")
DEVICES = tuple(f"{name}{number}" for name in MEMBERS for number in ("", " 2", " 3"))


class Action(NamedTuple):
    """`kind` is a record type, `arguments` names: members, devices, numbers of invites."""

    signer: str
    kind: str
    arguments: tuple[object, ...]


@dataclass
class Person:
    role: str
    first: str
    policy: set[str] | None = None

    def may(self) -> set[str]:
        return EVERYTHING if self.role == "owner" else MAY[self.role] if self.policy is None else self.policy


@dataclass
class Machine:
    of: str
    by: str
    state: str = "active"


@dataclass
class Door:
    role: str
    left: int
    key: str


@dataclass
class Model:
    people: dict[str, Person] = field(default_factory=lambda: {"alice": Person("owner", "alice")})
    gone: dict[str, str] = field(default_factory=dict)
    """Former members with the role they had."""
    banned: set[str] = field(default_factory=set)
    machines: dict[str, Machine] = field(default_factory=lambda: {"alice": Machine("alice", "")})
    signers: set[str] = field(default_factory=lambda: {"alice"})
    doors: list[Door] = field(default_factory=list)
    epoch: int = 1

    def judge(self, action: Action) -> bool:
        tried = copy.deepcopy(self)
        try:
            getattr(tried, action.kind)(action.signer, *action.arguments)
        except _Forbidden:
            return False
        self.__dict__.update(tried.__dict__)
        return True

    def active(self, person: str) -> list[str]:
        return [name for name, each in self.machines.items() if each.of == person and each.state == "active"]

    # Who.

    def person(self, signer: str) -> Person | None:
        machine = self.machines.get(signer)
        return self.people[machine.of] if machine and machine.state == "active" else None

    def as_signer(self, signer: str, permission: str | None = None) -> tuple[int, set[str]]:
        if signer == "recovery":
            return 2, EVERYTHING
        person = self.person(signer)
        need(person is not None and signer in self.signers)
        assert person is not None
        need(permission is None or permission in person.may())
        return ROLES.index(person.role), person.may()

    def over(self, signer: str, role: str) -> tuple[int, set[str]]:
        rank, may = self.as_signer(signer, "manage_permissions")
        need(rank >= ROLES.index(role))
        return rank, may

    def gives(self, rank: int, may: set[str], role: str) -> None:
        need(rank >= ROLES.index(role) and may >= MAY[role])

    def is_own(self, signer: str, person: str) -> bool:
        return signer in self.active(person)

    def fresh(self, device: str) -> None:
        machine = self.machines.get(device)
        need(machine is None or (machine.state == "removed" and machine.of not in self.banned))

    def owners_signers(self) -> set[str]:
        return {name for name in self.signers if self.people[self.machines[name].of].role == "owner"}

    def keeps_owner(self, signer: str, before: set[str]) -> None:
        need(signer == "recovery" or not before or bool(self.owners_signers()))

    # What.

    def add_member(self, signer: str, name: str, role: str, device: str, door: int | None) -> None:
        self.gives(*self.as_signer(signer, "invite"), role)
        need(name not in self.people and name not in self.gone)
        self.fresh(device)
        if door is not None:
            need(door < len(self.doors))
            need(self.doors[door].left > 0 and ROLES.index(role) <= ROLES.index(self.doors[door].role))
            self.doors[door].left -= 1
        self.people[name] = Person(role, device)
        self.machines.pop(device, None)
        self.machines[device] = Machine(name, "")

    def add_device(self, signer: str, name: str, device: str) -> None:
        need(name in self.people)
        if not self.is_own(signer, name):
            need(not self.active(name))
            self.over(signer, self.people[name].role)
        self.fresh(device)
        self.machines.pop(device, None)
        self.machines[device] = Machine(name, signer)
        self.epoch += 1

    def remove_member(self, signer: str, name: str, ban: bool) -> None:
        if name in self.gone:
            need(ban and name not in self.banned)
            self.over(signer, self.gone[name])
        else:
            need(name in self.people)
            self.over(signer, self.people[name].role)
            need(not self.is_own(signer, name))
            self.end(set(self.active(name)), "removed")
            self.gone[name] = self.people.pop(name).role
        self.banned |= {name} if ban else set()
        self.epoch += 1

    def end(self, devices: set[str], state: str) -> None:
        for device in devices:
            self.machines[device].state = state
        self.signers -= devices
        for door in self.doors:
            door.left = 0

    def unban(self, signer: str, name: str) -> None:
        need(name in self.banned)
        self.over(signer, self.gone[name])
        self.banned.remove(name)

    def revoke_device(self, signer: str, device: str, kept: tuple[str, ...]) -> None:
        machine = self.machines.get(device)
        need(machine is not None and machine.state == "active")
        assert machine is not None
        person = self.people[machine.of]
        rank = ROLES.index(person.role) if self.is_own(signer, machine.of) else self.over(signer, person.role)[0]
        going, named = {device}, set()
        for _ in self.machines:
            for name, each in self.machines.items():
                if each.by in going and each.state == "active":
                    named.add(name)
                    going |= {name} - set(kept)
        need(set(kept) <= named)
        need(signer not in going)
        need(all(ROLES.index(self.people[self.machines[each].of].role) <= rank for each in going))
        before = self.owners_signers()
        self.end(going, "revoked")
        self.keeps_owner(signer, before)
        self.epoch += 1

    def add_signer(self, signer: str, device: str) -> None:
        person = self.person(device)
        need(person is not None)
        assert person is not None
        self.over(signer, person.role)
        need(device not in self.signers)
        self.signers.add(device)

    def remove_signer(self, signer: str, device: str) -> None:
        need(device in self.signers)
        self.over(signer, self.people[self.machines[device].of].role)
        before = self.owners_signers()
        self.signers.remove(device)
        self.keeps_owner(signer, before)

    def set_role(self, signer: str, name: str, role: str) -> None:
        need(name in self.people)
        self.gives(*self.over(signer, self.people[name].role), role)
        before = self.owners_signers()
        self.people[name].role = role
        self.people[name].policy = None
        self.keeps_owner(signer, before)

    def policy(self, signer: str, name: str, permissions: tuple[str, ...]) -> None:
        need(name in self.people)
        _, may = self.over(signer, self.people[name].role)
        need(self.people[name].role != "owner" and may >= set(permissions))
        self.people[name].policy = set(permissions)

    def set_name(self, signer: str, name: str) -> None:
        need(name in self.people)
        if not self.is_own(signer, name):
            self.over(signer, self.people[name].role)

    def invite_open(self, signer: str, key: str, role: str, uses: int) -> None:
        self.gives(*self.as_signer(signer, "invite"), role)
        need(all(door.key != key for door in self.doors))
        self.doors.append(Door(role, uses, key))

    def invite_close(self, signer: str, door: int) -> None:
        rank, _ = self.as_signer(signer, "invite")
        need(door < len(self.doors) and self.doors[door].left > 0)
        need(rank >= ROLES.index(self.doors[door].role))
        self.doors[door].left = 0

    def begin_epoch(self, signer: str) -> None:
        self.as_signer(signer)
        self.epoch += 1


class _Forbidden(Exception):
    pass


def need(condition: bool) -> None:
    if not condition:
        raise _Forbidden


def random_action(source: random.Random, model: Model) -> Action:
    """Something that somebody tries; those who may, more often than those who may not."""
    known = [name for name, machine in model.machines.items() if machine.state == "active"]
    signer = source.choice([*model.signers, *model.signers, *model.signers, *known, source.choice(DEVICES), "recovery"])
    name = source.choice([*MEMBERS, *model.people])
    device = source.choice([*DEVICES, *known])
    role = source.choice(ROLES)
    door = source.randrange(len(model.doors) + 1)
    kept = tuple(sorted(set(source.sample(known, min(len(known), source.choice([0, 0, 0, 1, 2]))))))
    own = source.choice([each for each in DEVICES if each.startswith(name)])
    permissions = tuple(sorted(source.sample(sorted(EVERYTHING), source.randrange(12))))
    kinds: dict[str, tuple[object, ...]] = {
        "add_member": (name, role, source.choice([name, device]), source.choice([None, None, door])),
        "add_device": (source.choice([name, _owner(model, signer, name)]), source.choice([own, device])),
        "remove_member": (name, source.random() < 0.3),
        "unban": (source.choice(sorted(model.banned) or MEMBERS),),
        "revoke_device": (device, kept),
        "add_signer": (device,),
        "remove_signer": (source.choice([device, *model.signers]),),
        "set_role": (name, role),
        "policy": (name, permissions),
        "set_name": (source.choice([name, _owner(model, signer, name)]),),
        "invite_open": (f"invite {source.randrange(6)}", role, source.randint(1, 2)),
        "invite_close": (door,),
        "begin_epoch": (),
    }
    weights = [6, 6, 2, 1, 2, 4, 1, 3, 2, 1, 2, 1, 1]
    (kind,) = source.choices(list(kinds), weights)
    return Action(signer, kind, kinds[kind])


def _owner(model: Model, signer: str, name: str) -> str:
    machine = model.machines.get(signer)
    return machine.of if machine else name
