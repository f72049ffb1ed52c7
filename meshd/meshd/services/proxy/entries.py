"""What is recorded of one exchange."""

import hashlib
import time
from typing import NamedTuple

import msgspec

from meshd.services.proxy.asked import Asked, Kind, Source
from meshd.services.proxy.exchanges import Exchange, Outcome
from meshd.services.proxy.prices import Prices
from meshd.services.proxy.usage import Tokens


class Window(msgspec.Struct, frozen=True):
    """One rate limit as the API told it: `used` from 0 to 1 and beyond, `reset_ms` of the epoch, 0 where not told."""

    name: str
    used: float
    status: str
    reset_ms: int


class Entry(msgspec.Struct, frozen=True):
    """One request, ready to be stored. Times in milliseconds, -1 where they did not come; cost in nano-dollars."""

    started_ms: int
    day: str
    account: str
    client: str
    session: str
    agent: str
    parent_agent: str
    source: str
    model: str
    kind: str
    tokens: Tokens
    cost: int | None
    stop_reason: str
    tools: list[str]
    status: int
    outcome: str
    partial: bool
    unaccounted: str
    error: str
    first_byte_ms: float
    first_token_ms: float
    total_ms: float
    request_id: str
    message_id: str
    chain: list[bytes]
    system: bytes
    continued: bool
    prompt: bytes
    """The mark of the first message, as `started` has them."""
    started: list[bytes]
    """Marks of the prompts of the sub-tasks that the answer starts."""
    windows: list[Window]
    tier: str = ""

    @property
    def answered(self) -> bool:
        """The API did what it was asked."""
        return 200 <= self.status < 300 and not self.partial

    @property
    def called(self) -> str:
        """The client's name, or what it says of itself without a version (RFC 9110, 10.1.5)."""
        return called(self.client)

    @property
    def failed(self) -> bool:
        return self.status >= 400 or bool(self.error) or self.outcome not in (Outcome.COMPLETE, Outcome.OPEN)


def called(client: str) -> str:
    """What a client is counted under."""
    return client.partition("/")[0]


class Reading(NamedTuple):
    """What is needed to make entries: prices, and the marks of prompts."""

    prices: Prices
    mark: "Marker"


class Marker:
    """Makes a mark of a prompt: nobody can learn the prompt from it without the key."""

    def __init__(self, key: bytes) -> None:
        self._key = key[:64]

    def __call__(self, text: str) -> bytes:
        return hashlib.blake2b(text.strip().encode("utf-8", "surrogatepass"), key=self._key, digest_size=16).digest()


def local_day(epoch_ms: int) -> str:
    """The day on this machine's calendar, YYYY-MM-DD."""
    return time.strftime("%Y-%m-%d", time.localtime(epoch_ms / 1000))


def is_day(day: str) -> bool:
    """Whether there is such a day on the calendar; `day` as YYYY-MM-DD."""
    try:
        time.strptime(day, "%Y-%m-%d")
    except ValueError:
        return False
    return True


def day_begins(day: str) -> int:
    """The first moment of a day on this machine's calendar, epoch ms."""
    return round(time.mktime(time.strptime(day, "%Y-%m-%d")) * 1000)


def local_clock(epoch_ms: int) -> str:
    """The time of day, HHMMSS."""
    return time.strftime("%H%M%S", time.localtime(epoch_ms / 1000))


def make_entry(exchange: Exchange, asked: Asked, reading: Reading) -> Entry:
    """The entry of an exchange that has ended, or as far as it has come."""
    account = exchange.account
    usage = account.usage if account is not None else None
    tokens = usage.tokens() if usage is not None else Tokens()
    if asked.kind is Kind.COUNT and account is not None:  # counting is free; what it counted is no use of tokens
        tokens = Tokens()
    model = (account.model if account is not None else "") or asked.model
    day = local_day(exchange.started_ms)
    cost = reading.prices.cost(model, day, tokens, usage.service_tier if usage is not None else "")
    partial = exchange.outcome is not Outcome.COMPLETE or _broke_off(exchange)

    def since(at: float) -> float:
        return round((at - exchange.began) * 1000, 3) if at >= 0 else -1.0

    return Entry(
        started_ms=exchange.started_ms,
        day=day,
        account=exchange.whose.account or asked.account,
        client=exchange.whose.client or exchange.head.value(b"user-agent").decode("latin-1")[:64],
        session=asked.session,
        agent=asked.agent,
        parent_agent=asked.parent_agent,
        source=asked.source.value,
        model=model,
        kind=asked.kind.value,
        tokens=tokens,
        cost=cost,
        stop_reason=account.stop_reason if account is not None else "",
        tools=account.tools if account is not None else [],
        status=exchange.status,
        outcome=exchange.outcome.value,
        partial=partial,
        unaccounted=_unaccounted(exchange, asked.kind),
        error=account.error if account is not None else "",
        first_byte_ms=since(exchange.first_byte),
        first_token_ms=since(account.first_token) if account is not None else -1.0,
        total_ms=since(exchange.ended),
        request_id=exchange.header(b"request-id")[:128],
        message_id=account.message_id if account is not None else "",
        chain=list(asked.chain),
        system=asked.system,
        continued=asked.continued,
        prompt=reading.mark(asked.first_text) if asked.first_text and not asked.agent else b"",
        started=[reading.mark(prompt) for prompt in account.prompts] if account is not None else [],
        windows=read_windows(exchange),
        tier=usage.service_tier if usage is not None else "",
    )


def _broke_off(exchange: Exchange) -> bool:
    account = exchange.account
    return account is not None and account.streamed and exchange.status < 300 and not account.finished


def _unaccounted(exchange: Exchange, kind: Kind) -> str:
    """Why the usage of an answer that must have some is not known."""
    account = exchange.account
    if kind not in (Kind.TURN, Kind.SUMMARY, Kind.QUOTA) or exchange.status >= 400:
        return ""
    if account is None:
        return "no answer" if exchange.outcome is not Outcome.UNREACHABLE else ""
    if account.unreadable:
        return account.unreadable
    return "" if account.usage.known else "no usage reported"


def read_windows(exchange: Exchange) -> list[Window]:
    """The limits that the answer's headers tell: anthropic-ratelimit-unified-{5h,7d}-{utilization,status,reset}."""
    found = []
    for name in ("5h", "7d"):
        stem = f"anthropic-ratelimit-unified-{name}".encode()
        try:
            used = float(exchange.header(stem + b"-utilization"))
            reset = float(exchange.header(stem + b"-reset") or 0)
        except ValueError:
            continue
        if 0 <= used < 1000 and 0 <= reset < 2**40:
            found.append(Window(name, used, exchange.header(stem + b"-status")[:32], int(reset * 1000)))
    return found


def guess_source(entry: Entry, session: str, agent: str) -> Entry:
    """The entry as part of a sub-task that only its prompt is known by."""
    return msgspec.structs.replace(entry, session=session, agent=agent, source=Source.CONTENT.value)
