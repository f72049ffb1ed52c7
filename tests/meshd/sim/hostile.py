"""What a broken link and a lying broker do to frames. Both see them in the clear, as a broker does."""

import random
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from mesh_protocol.wire.codec import decode, encode
from mesh_protocol.wire.framing import PREFIX, encode_frame, split_message
from world.network import Cable

KEPT: Final = 20
"""Frames that a lying broker remembers of each kind, to show them again."""
MADE_UP: Final = 10_000_000
"""Numbers of the mailbox entries it makes up: above any true one, so that their acknowledgement deletes nothing."""

Frames = list[bytes]


def mangle(chance: random.Random, kinds: frozenset[str], often: float) -> Callable[[bytes], Frames]:
    """A broken link in one direction. `kinds`: drop, duplicate, reorder, truncate, flip."""
    held: Frames = []
    names = sorted(kinds)

    def change(frame: bytes) -> Frames:
        late, held[:] = held[:], []
        if chance.random() >= often:
            return [frame, *late]
        match chance.choice(names):
            case "drop":
                return late
            case "duplicate":
                return [frame, *late, frame]
            case "reorder":
                held.append(frame)
                return late
            case "truncate":
                return [frame[: chance.randrange(len(frame))], *late]
            case _:
                return [_flipped(chance, frame), *late]

    return change


def _flipped(chance: random.Random, frame: bytes) -> bytes:
    """One bit of the body, or of the header where there is none."""
    changed = bytearray(frame)
    body = len(split_message(frame)[1])
    place = chance.randrange(len(frame) - body, len(frame)) if body else chance.randrange(PREFIX, len(frame))
    changed[place] ^= 1 << chance.randrange(8)
    return bytes(changed)


class LyingBroker:
    """One broker that lies to all its devices. `kinds`: replay, misdeliver, withhold, overtake, old_tip, false_accept."""

    def __init__(self, chance: random.Random, kinds: frozenset[str], often: float) -> None:
        self._chance = chance
        self.kinds = kinds
        self._often = often
        self._mail: deque[Any] = deque(maxlen=KEPT)
        self._tips: deque[bytes] = deque(maxlen=KEPT)
        self._number = MADE_UP
        self.lies = 0

    def take_over(self, cable: Cable) -> None:
        """Stand between a machine and the honest broker."""
        held: Frames = []
        cable.incoming = lambda frame: self._down(frame, held)
        cable.outgoing = lambda frame: self._up(frame, cable)

    def _lie(self, kind: str) -> bool:
        if kind not in self.kinds or self._chance.random() >= self._often:
            return False
        self.lies += 1
        return True

    def _down(self, frame: bytes, held: Frames) -> Frames:
        """What a machine hears instead of `frame`."""
        header, body = split_message(frame)
        said = decode(header)
        if said[0] != 2:
            return [frame]
        late, held[:] = held[:], []
        if said[1] == "tip":
            self._tips.append(frame)
            if self._lie("old_tip"):
                return [self._chance.choice(self._tips), *late]
        elif said[1] == "mail":
            return [*self._mail_heard(said, frame, body, held), *late]
        return [frame, *late]

    def _mail_heard(self, said: Any, frame: bytes, body: bytes, held: Frames) -> Frames:
        self._mail.append((said[2], body))
        if self._lie("withhold"):
            return []
        if self._lie("overtake"):
            held.append(frame)
            return []
        heard = [frame]
        if self._lie("replay"):
            heard.append(frame)
        if self._lie("replay") or self._lie("misdeliver"):
            about, other = self._chance.choice(self._mail)
            self._number += 1
            heard.insert(0, encode_frame(encode([2, "mail", {**about, "mseq": self._number}]), other))
        return heard

    def _up(self, frame: bytes, cable: Cable) -> Frames:
        """What the honest broker hears instead of `frame`."""
        header, _ = split_message(frame)
        said = decode(header)
        if said[0] == 0 and said[2] == "mail.send" and self._lie("false_accept"):
            answer = encode([1, said[1], None, {"accept_seq": 1, "accepted_ms": 1_800_000_000_000}])
            cable.say(encode_frame(answer, b""))
            return []
        return [frame]
