"""What a broker allows, and the bounded memory of who has used how much.

Every number may be lowered; it may be raised up to the hard caps checked here. Times are seconds on the monotonic
clock that is passed in, so that nothing here depends on the wall clock.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Final, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

MIB: Final = 1024 * 1024
DAY_MS: Final = 24 * 3600 * 1000
TRACKED: Final = 10_000
"""Addresses, members and claimed devices remembered at most, the least recently seen forgotten first."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The numbers of one broker. `replaced` takes them by name from the command line."""

    connections: int = 4096
    """Live connections; beyond them the listener stops accepting. Also at most 90 % of the process's files."""
    connects_rate: float = 10.0
    """New connections a second from one address; more are paced, not dropped. Not applied to this machine."""
    connects_burst: int = 100
    pace_seconds: float = 30.0
    """A connection that would have to wait longer than this for its turn is closed."""
    first_byte_seconds: float = 2.0
    head_seconds: float = 5.0
    """For the TLS handshake and the HTTP head together."""
    hello_seconds: float = 5.0
    ping_seconds: float = 20.0
    dead_seconds: float = 60.0
    stall_seconds: float = 10.0
    """A message that arrives in pieces must by then come in at `stall_rate` bytes a second."""
    stall_rate: float = 1024.0

    call_rate: float = 200.0
    call_burst: int = 2000
    """Calls of one device in one mesh; sending, acknowledging and publishing have bounds of their own."""
    hello_rate: float = 2.0
    hello_burst: int = 300
    """Genuine hellos of one key, in all its meshes."""
    meshes_per_connection: int = 256
    hello_failures: int = 5
    """Refused hellos of one claimed device from one address in `hello_window` seconds, then a penalty."""
    hello_window: float = 60.0
    hello_penalty: float = 60.0
    hellos_refused: int = 4
    """Refused hellos on one connection; the last one ends it."""
    free_meshes: int = 10
    """Meshes that one device of this machine may create without the admission token."""

    member_rate: float = 20.0
    """Messages a second of one member, repeats and further recipients of one message not counted."""
    member_burst: int = 200
    envelope_rate: float = 5000.0
    """Envelopes a second of one member, whatever they are."""
    answers_per_push: int = 4
    """Envelopes a device may send back, outside `member_rate`, for each one it was handed: receipts fit in."""
    answers_cap: int = 1024

    accepting_bytes: int = 64 * MIB
    """Envelopes that wait for their commit, all senders together: where the disk is slower than the network."""
    mailbox_rows: int = 10_000
    mailbox_bytes: int = 64 * MIB
    member_share: float = 0.25
    """Part of a mailbox that one sending member may fill."""
    window_rows: int = 256
    """Envelopes handed to a device and not acknowledged, at once."""
    window_bytes: int = 4 * MIB
    mail_days: int = 30
    dedupe_days: int = 45
    """Longer than any daemon retries a message."""

    append_rate: float = 1.0
    append_burst: int = 100
    """Appends of one device to the chain, which is kept for ever."""
    chain_records: int = 10_000
    kept_records: int = 20_000
    """Records of meshes that nobody is connected to, kept verified in memory: a few MiB."""
    prekey_rate: float = 100 / 60
    prekey_burst: int = 100
    onetime_seconds: float = 10.0
    """Until one device is given the next one-time prekey of another; in between it seals to the signed one."""
    live_rate: float = 50.0
    live_burst: int = 200
    join_rate: float = 5 / 60
    """Requests to join a second from one address. Not applied to this machine."""
    join_burst: int = 5
    meet_rate: float = 10 / 60
    """Sides of meetings that enter, a second from one address. Not applied to this machine."""
    meet_burst: int = 10
    meet_seconds: float = 600.0
    """How long two devices of one person may take to meet."""
    meetings: int = 1000
    """Meetings at once, of all meshes."""
    join_waiting: int = 64
    """Join requests of one mesh that wait at once."""

    disk_floor_bytes: int = 256 * MIB
    disk_floor_share: float = 0.02

    def __post_init__(self) -> None:
        for name, cap in _CAPS.items():
            if getattr(self, name) > cap:
                raise ValueError(f"{name} may be at most {cap}")
        for field in fields(self):
            if getattr(self, field.name) < 0:
                raise ValueError(f"{field.name} cannot be negative")
        if self.dedupe_days <= self.mail_days:
            raise ValueError("dedupe_days must be more than mail_days, or an old repeat is taken for a new message")


_CAPS: Final[Mapping[str, float]] = {
    "member_rate": 5000.0,
    "envelope_rate": 5000.0,
    "mailbox_rows": 100_000,
    "mailbox_bytes": 1024 * MIB,
    "member_share": 1.0,
    "mail_days": 30,
    "join_waiting": 64,
}


def replaced(limits: Limits, changes: Mapping[str, str]) -> Limits:
    """`limits` with the named numbers changed. Raises ValueError that says which name or value is wrong."""
    kinds = {field.name: type(getattr(limits, field.name)) for field in fields(limits)}
    values: dict[str, float | int] = {}
    for name, text in changes.items():
        if name not in kinds:
            raise ValueError(f"there is no limit called {name}; there are: {', '.join(kinds)}")
        try:
            values[name] = kinds[name](text)
        except ValueError:
            raise ValueError(f"{name} must be a number, not {text!r}") from None
    return replace(limits, **values)  # type: ignore[arg-type]  # each value has the type of its own field


class Buckets(Generic[Key]):
    """Token buckets by key: `rate` tokens a second, at most `burst` saved up."""

    def __init__(self, rate: float, burst: float, now: Callable[[], float], capacity: int = TRACKED) -> None:
        self._rate = rate
        self._burst = burst
        self._now = now
        self._capacity = capacity
        self._held: OrderedDict[Key, tuple[float, float]] = OrderedDict()

    def take(self, key: Key) -> float:
        """Take a token: 0.0, or the seconds until there is one, and then none is taken."""
        tokens = self._refill(key)
        if tokens < 1.0:
            return (1.0 - tokens) / self._rate if self._rate else 3600.0
        self._put(key, tokens - 1.0)
        return 0.0

    def reserve(self, key: Key) -> float:
        """Take a token even if it is not there yet: the seconds to wait before using it. For pacing."""
        tokens = self._refill(key) - 1.0
        self._put(key, tokens)
        return max(0.0, -tokens / self._rate) if self._rate else 3600.0

    def _refill(self, key: Key) -> float:
        now = self._now()
        tokens, at = self._held.get(key, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._rate)
        self._put(key, tokens)
        return tokens

    def _put(self, key: Key, tokens: float) -> None:
        self._held[key] = (tokens, self._now())
        self._held.move_to_end(key)
        if len(self._held) > self._capacity:
            self._held.popitem(last=False)

    def __len__(self) -> int:
        return len(self._held)


class Strikes(Generic[Key]):
    """Failures by key: `limit` within `window` seconds bring a penalty of `penalty` seconds."""

    def __init__(
        self, limit: int, window: float, penalty: float, now: Callable[[], float], capacity: int = TRACKED
    ) -> None:
        self._limit = limit
        self._window = window
        self._penalty = penalty
        self._now = now
        self._capacity = capacity
        self._counts: OrderedDict[Key, tuple[int, float, float]] = OrderedDict()  # failures, since, penalty until

    def penalty(self, key: Key) -> float:
        """Seconds that the penalty of `key` still lasts; 0.0 without one."""
        _, _, until = self._counts.get(key, (0, 0.0, 0.0))
        return max(0.0, until - self._now())

    def strike(self, key: Key) -> None:
        """Count a failure."""
        now = self._now()
        count, since, until = self._counts.get(key, (0, now, 0.0))
        if now - since > self._window:
            count, since = 0, now
        count += 1
        if count >= self._limit:
            count, since, until = 0, now, now + self._penalty
        self._counts[key] = (count, since, until)
        self._counts.move_to_end(key)
        if len(self._counts) > self._capacity:
            self._counts.popitem(last=False)

    def __len__(self) -> int:
        return len(self._counts)


class Allowances(Generic[Key]):
    """Small counted permissions by key, earned and spent: how many envelopes a device may still send in answer."""

    def __init__(self, cap: int, capacity: int = 4 * TRACKED) -> None:
        self._cap = cap
        self._capacity = capacity
        self._left: OrderedDict[Key, int] = OrderedDict()

    def earn(self, key: Key, count: int) -> None:
        self._left[key] = min(self._cap, self._left.get(key, 0) + count)
        self._left.move_to_end(key)
        if len(self._left) > self._capacity:
            self._left.popitem(last=False)

    def spend(self, key: Key) -> bool:
        """Use one up; False if there is none."""
        left = self._left.get(key, 0)
        if left <= 0:
            return False
        if left == 1:
            del self._left[key]
        else:
            self._left[key] = left - 1
        return True


class Recent(Generic[Key]):
    """The newest `capacity` keys."""

    def __init__(self, capacity: int = TRACKED) -> None:
        self._capacity = capacity
        self._keys: OrderedDict[Key, None] = OrderedDict()

    def __contains__(self, key: Key) -> bool:
        return key in self._keys

    def add(self, key: Key) -> None:
        self._keys[key] = None
        self._keys.move_to_end(key)
        if len(self._keys) > self._capacity:
            self._keys.popitem(last=False)
