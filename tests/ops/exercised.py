"""The registry of stories: for every operation one that it works, and one for each error it declares.

A story is an async function of a world. One of `refuses` returns the code that the operation's caller was given; the test
holds it against the code it is registered for, so a story cannot stand for what it does not bring about.
"""

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias, TypeVar

from world.world import World

Works: TypeAlias = Callable[[World], Awaitable[None]]
Refusal: TypeAlias = Callable[[World], Awaitable[str]]
W = TypeVar("W", bound=Works)
R = TypeVar("R", bound=Refusal)

WORKS: Final[dict[str, Works]] = {}
REFUSALS: Final[dict[tuple[str, str], Refusal]] = {}


def works(method: str) -> Callable[[W], W]:
    """The story in which the operation does what it says; it asserts that."""

    def register(story: W) -> W:
        if WORKS.setdefault(method, story) is not story:
            raise ValueError(f"{method} has two stories")
        return story

    return register


def refuses(method: str, code: str) -> Callable[[R], R]:
    """The story in which a caller of the operation gets this error."""

    def register(story: R) -> R:
        if REFUSALS.setdefault((method, code), story) is not story:
            raise ValueError(f"{method} has two stories for {code}")
        return story

    return register
