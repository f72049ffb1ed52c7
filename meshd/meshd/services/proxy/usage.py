"""Tokens of one answer, combined as the Messages API defines: `message_start` says what the request cost, each
`message_delta` is cumulative and replaces what it names. Nothing is ever added up within one answer.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple, TypeGuard

MAX_COUNT: Final = 2**53
_PLAIN: Final = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
)
_NESTED: Final = (
    ("cache_creation", "ephemeral_5m_input_tokens"),
    ("cache_creation", "ephemeral_1h_input_tokens"),
    ("output_tokens_details", "thinking_tokens"),
    ("server_tool_use", "web_search_requests"),
)


class Tokens(NamedTuple):
    """Tokens by class. The whole input is the sum of `input`, both writes and `cache_read`; `thinking` is a part of
    `output`; `searches` counts web searches, which are priced apiece."""

    input: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    cache_read: int = 0
    output: int = 0
    thinking: int = 0
    searches: int = 0

    @property
    def prompt(self) -> int:
        """All tokens that the model was given."""
        return self.input + self.cache_write_5m + self.cache_write_1h + self.cache_read


class Usage:
    """Takes the `usage` objects of one answer in their order."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self.service_tier = ""

    @property
    def known(self) -> bool:
        """The API has reported something."""
        return bool(self._counts)

    def take(self, usage: object) -> None:
        """One `usage` object as it was decoded. What is missing or null leaves the earlier number."""
        if not isinstance(usage, Mapping):
            return
        for name in _PLAIN:
            self._note(name, usage.get(name))
        for outer, inner in _NESTED:
            details = usage.get(outer)
            if isinstance(details, Mapping):
                self._note(inner, details.get(inner))
        tier = usage.get("service_tier")
        if isinstance(tier, str):
            self.service_tier = tier[:32]

    def _note(self, name: str, value: object) -> None:
        if _is_count(value):
            self._counts[name] = value

    def tokens(self) -> Tokens:
        """The combination so far."""
        get = self._counts.get
        hour = get("ephemeral_1h_input_tokens", 0)
        written = get("cache_creation_input_tokens", get("ephemeral_5m_input_tokens", 0) + hour)
        hour = min(hour, written)
        return Tokens(
            input=get("input_tokens", 0),
            cache_write_5m=written - hour,
            cache_write_1h=hour,
            cache_read=get("cache_read_input_tokens", 0),
            output=get("output_tokens", 0),
            thinking=get("thinking_tokens", 0),
            searches=get("web_search_requests", 0),
        )


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < MAX_COUNT
