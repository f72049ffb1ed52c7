"""What tokens cost, by the table that ships and by the user's own."""

from pathlib import Path

import pytest

from meshd.services.proxy.pricefile import PriceFile
from meshd.services.proxy.prices import BUILT_IN, NANO, BadPrices, Prices, read_prices
from meshd.services.proxy.usage import Tokens

TOKENS = Tokens(
    input=1_000_000, cache_write_5m=1_000_000, cache_write_1h=1_000_000, cache_read=1_000_000, output=1_000_000
)
DAY = "2026-11-21"
OWN = b"""
[[price]]
model = "claude-opus-5-5"
from = "2026-12-01"
input = 3
output = 30
cache_read = 1
[[price]]
model = "house-model"
input = 1
output = 2
search = 5
batch = 0.25
"""


def dollars(prices: Prices, model: str, day: str = DAY, tokens: Tokens = TOKENS, tier: str = "") -> float | None:
    cost = prices.cost(model, day, tokens, tier)
    return None if cost is None else cost / NANO


def test_each_class_of_tokens_has_its_price() -> None:
    assert dollars(Prices(), "claude-opus-5-5") == pytest.approx(4 + 5 + 8 + 0.4 + 20)
    assert dollars(Prices(), "claude-sonnet-5-5", tokens=Tokens(output=1_000, thinking=900)) == pytest.approx(0.01)


def test_a_dated_name_has_the_price_of_its_model_and_a_longer_one_has_none() -> None:
    assert dollars(Prices(), "claude-opus-5-5-20261021") == dollars(Prices(), "claude-opus-5-5")
    assert dollars(Prices(), "claude-opus-5-50") is None
    assert dollars(Prices(), "somebody-elses") is None
    assert dollars(Prices(), "somebody-elses", tokens=Tokens()) == 0


def test_a_price_is_for_prompts_of_its_size_alone() -> None:
    assert dollars(Prices(), "claude-haiku-5-5", tokens=Tokens(input=100_000)) == pytest.approx(0.01)
    assert dollars(Prices(), "claude-haiku-5-5", tokens=Tokens(input=100_001)) is None


def test_the_users_table_wins_from_its_day_on() -> None:
    prices = Prices(OWN)
    one = Tokens(output=1_000_000)
    assert dollars(prices, "claude-opus-5-5", "2026-11-30", one) == 20
    assert dollars(prices, "claude-opus-5-5", "2026-12-01", one) == 30
    assert dollars(prices, "house-model", tokens=Tokens(output=1_000_000, searches=1_000), tier="batch") == 5.5


@pytest.mark.parametrize(
    "content",
    [
        b"\xff",
        b"price = 3",
        b"[[price]]\nmodel = 'x'",
        b"[[price]]\nmodel = 'x'\ninput = 1",
        b"[[price]]\nmodel = 'x'\ninput = -1\noutput = 1",
        b"[[price]]\nmodel = 'x'\ninput = nan\noutput = 1",
        b"[[price]]\nmodel = 'x'\ninput = 1\noutput = true",
        b"[[price]]\nmodel = 'x'\ninput = 1\noutput = 1\nouptut = 2",
        b"[[price]]\nmodel = 'x'\nfrom = 'soon'\ninput = 1\noutput = 1",
        b"[[prices]]\nmodel = 'x'",
    ],
)
def test_a_table_that_is_not_right_is_refused(content: bytes) -> None:
    with pytest.raises(BadPrices):
        Prices(content)


def test_the_table_that_ships_is_dated() -> None:
    assert all(price.since > "2025" for price in read_prices(BUILT_IN.encode(), own=False))


def test_the_file_is_read_again_when_it_changes_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    path = tmp_path / "prices.toml"
    file = PriceFile(tmp_path)
    assert file.current().find("house-model", DAY) is None
    path.write_bytes(OWN)
    path.chmod(0o600)
    assert file.current().find("house-model", DAY) is not None
    path.write_bytes(b"not toml at all")
    assert file.current().find("house-model", DAY) is not None
    assert str(path) in file.trouble
    path.unlink()
    assert file.current().find("house-model", DAY) is None
    assert file.trouble == ""
