"""What tokens cost: a dated table that ships with the program, and the user's own beside the database.

`prices.toml` in the daemon's folder: `[[price]]` tables with `model` (a name or its beginning), `from` ("2026-10-01"), and
USD for a million tokens: `input`, `output`, and where they are not the usual multiples of input `cache_write_5m` (1.25),
`cache_write_1h` (2), `cache_read` (0.1); `search` is USD for a thousand web searches, `batch` the factor of the batch tier, `max_prompt` the longest prompt
(tokens) that the price is for. The user's entry for the same model and date, or a longer name or a later date, wins.
"""

import tomllib
from dataclasses import dataclass
from typing import Final

from meshd.services.proxy.usage import Tokens

NANO: Final = 10**9
FILE_BYTES: Final = 256 * 1024
MAX_USD: Final = 100_000.0
MAX_TOKENS: Final = 1e12
_RATES: Final = ("input", "output", "cache_write_5m", "cache_write_1h", "cache_read")

BUILT_IN: Final = """
# USD for a million tokens, as published for November 2026.
[[price]]
model = "claude-fable-5-2"
from = "2026-01-01"
input = 8
output = 40
[[price]]
model = "claude-opus-5-5"
from = "2026-01-01"
input = 4
output = 20
[[price]]
model = "claude-sonnet-5-5"
from = "2026-01-01"
input = 2
output = 10
[[price]]
model = "claude-haiku-5-5"
from = "2026-01-01"
input = 0.10
output = 0.50
max_prompt = 100000
"""


class BadPrices(Exception):
    """The table cannot be used; the text names what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Price:
    """What one model costs from a day on. Nano-dollars for one token of each class, and for one search."""

    model: str
    since: str
    input: float
    output: float
    cache_write_5m: float
    cache_write_1h: float
    cache_read: float
    search: float
    batch: float
    max_prompt: float
    own: bool

    def cost(self, tokens: Tokens, tier: str) -> int:
        """Nano-dollars. Thinking is output, and paid as such."""
        cost = (
            tokens.input * self.input
            + tokens.cache_write_5m * self.cache_write_5m
            + tokens.cache_write_1h * self.cache_write_1h
            + tokens.cache_read * self.cache_read
            + tokens.output * self.output
        )
        return round(cost * (self.batch if tier == "batch" else 1.0) + tokens.searches * self.search)


class Prices:
    """The prices of all models that are known."""

    def __init__(self, own: bytes | None = None) -> None:
        """`own`: the content of the user's table. Raises `BadPrices`."""
        found = read_prices(BUILT_IN.encode(), own=False)
        if own is not None:
            found += read_prices(own, own=True)
        # The longest name first, then the latest date, then the user's own.
        self._prices = sorted(found, key=lambda price: (len(price.model), price.since, price.own), reverse=True)

    def find(self, model: str, day: str) -> Price | None:
        """What a model costs on a day (YYYY-MM-DD); None for one that is not known."""
        for price in self._prices:
            if price.since <= day and (model == price.model or model.startswith(f"{price.model}-")):
                return price
        return None

    def cost(self, model: str, day: str, tokens: Tokens, tier: str) -> int | None:
        """Nano-dollars; None where the price is not known. Nothing used costs nothing, whatever the model."""
        if not any(tokens):
            return 0
        price = self.find(model, day)
        return None if price is None or tokens.prompt > price.max_prompt else price.cost(tokens, tier)


def read_prices(content: bytes, *, own: bool) -> list[Price]:
    """The entries of a table. Raises `BadPrices`."""
    try:
        document = tomllib.loads(content.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadPrices(f"it is not TOML: {error}") from None
    entries = document.get("price")
    if document.keys() - {"price"} or not isinstance(entries, list):
        raise BadPrices("it holds [[price]] tables and nothing else")
    return [_read(entry, number, own) for number, entry in enumerate(entries, 1)]


def _read(entry: object, number: int, own: bool) -> Price:
    where = f"price {number}"
    if not isinstance(entry, dict):
        raise BadPrices(f"{where} is not a table")
    unknown = entry.keys() - {"model", "from", "search", "batch", "max_prompt", *_RATES}
    if unknown:
        raise BadPrices(f"{where}: unknown key {min(unknown)!r}")
    model, since = entry.get("model"), entry.get("from", "2000-01-01")
    since = since if isinstance(since, str) else str(since)
    if not isinstance(model, str) or not model or len(since) != 10:
        raise BadPrices(f"{where} needs model, and from as YYYY-MM-DD")
    given = {
        name: _number(entry[name], f"{where}: {name}", MAX_TOKENS if name == "max_prompt" else MAX_USD)
        for name in entry.keys() - {"model", "from"}
    }
    if not {"input", "output"} <= given.keys():
        raise BadPrices(f"{where} ({model}) needs input and output")
    once = given["input"]
    usual = {"cache_write_5m": 1.25 * once, "cache_write_1h": 2 * once, "cache_read": 0.1 * once}
    rates = {name: (usual | given)[name] * NANO / 1_000_000 for name in _RATES}
    return Price(
        model=model,
        since=since,
        **rates,
        search=given.get("search", 10.0) * NANO / 1_000,
        batch=given.get("batch", 0.5),
        max_prompt=given.get("max_prompt", MAX_TOKENS),
        own=own,
    )


def _number(value: object, where: str, limit: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= limit:
        raise BadPrices(f"{where} must be a number from 0 to {limit:g}")
    return float(value)
