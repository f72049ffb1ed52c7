"""Which machines hold a change of the membership, by what they signed: the tips their mail and presence name. Pure.

A tip counts as far as it names a record of our own chain. It says that its author had verified so much when he wrote; a
machine that nothing was heard of since is in the dark as far as anybody can know (crypto design 2.12).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from mesh_protocol.chain_state import ChainState
from mesh_protocol.ids import DeviceId, MemberId
from mesh_protocol.tip import TipRef


@dataclass(slots=True)
class Confirmations:
    """Of one mesh: the highest record each other machine was seen to hold."""

    _seen: dict[DeviceId, int] = field(default_factory=dict)
    _dirty: set[DeviceId] = field(default_factory=set)

    def restore(self, device: DeviceId, seq: int) -> None:
        """What was known in an earlier life."""
        self._seen[device] = seq

    def note(self, device: DeviceId, tip: TipRef, hashes: Sequence[bytes]) -> bool:
        """`device` signed that it holds `tip`; `hashes` are our chain's. Returns whether that is news."""
        seq = tip.chain_seq
        if not 0 < seq <= len(hashes) or hashes[seq - 1] != tip.chain_hash or seq <= self._seen.get(device, 0):
            return False
        self._seen[device] = seq
        self._dirty.add(device)
        return True

    def signed(self, device: DeviceId, seq: int) -> None:
        """`device` signed record `seq` of our chain itself."""
        if seq > self._seen.get(device, 0):
            self._seen[device] = seq
            self._dirty.add(device)

    def cut(self, length: int) -> None:
        """Of our chain only the first `length` records count any more: another history took the place of the others."""
        for device, seq in self._seen.items():
            if seq > length:
                self._seen[device] = length
                self._dirty.add(device)

    def take_news(self) -> list[tuple[DeviceId, int]]:
        """What rose since it was asked last, for the disk."""
        news = [(device, self._seen[device]) for device in self._dirty]
        self._dirty.clear()
        return news

    def waiting(self, state: ChainState, seq: int, own: DeviceId) -> list[DeviceId]:
        """The active machines that have not shown that they hold record `seq`; who came after it began with it."""
        return [
            device
            for device, listed in state.devices.items()
            if listed.active and device != own and max(listed.added_seq, self._seen.get(device, 0)) < seq
        ]


class Removal(NamedTuple):
    """One record that took somebody out: a `member` with all devices, or (None) the `devices` that it revoked."""

    seq: int
    member: MemberId | None
    devices: tuple[DeviceId, ...]


def list_removals(state: ChainState) -> list[Removal]:
    """Every removal whose member or devices are still out, the newest first."""
    found = [
        Removal(member.removed_seq, member.member_id, tuple(d for d in member.devices if d in state.devices))
        for member in state.former.values()
    ]
    revoked = sorted((each for each in state.devices.values() if each.revoked), key=lambda each: each.ended_seq)
    for seq, together in groupby(revoked, key=lambda each: each.ended_seq):
        found.append(Removal(seq, None, tuple(each.device for each in together)))
    return sorted(found, key=lambda removal: -removal.seq)
