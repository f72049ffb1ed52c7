"""Reads our message frame as an attentive agent would: whose text it is, and what to answer with."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .fake_api import Request, ToolUse

_HEADER = re.compile(
    r"\[mesh (?P<id>\S+) (?P<mark>[0-9a-f]{16})\]\n[^\n]*\n"
    r'[^\n]*send_message \(not SendMessage\): (?P<arguments>(?:\w+="[^"]*"(?:, )?)+)\.\n'
)
_ARGUMENT = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class SeenFrame:
    """One frame in what the model was given; `arguments` are those named for send_message."""

    message_id: str
    mark: str
    arguments: Mapping[str, str]
    text: str


def frames_in(news: str) -> list[SeenFrame]:
    """The frames in order. What a peer's text looks like is not looked at: it lies between the lines of its mark."""
    found: list[SeenFrame] = []
    position = 0
    while header := _HEADER.search(news, position):
        edge = f"--- {header['mark']}"
        start = news.index(f"{edge}\n", header.end()) + len(edge) + 1
        end = news.index(f"\n{edge}", start)
        arguments = dict(_ARGUMENT.findall(header["arguments"]))
        found.append(SeenFrame(header["id"], header["mark"], arguments, news[start:end]))
        position = end + 1 + len(edge)
    return found


def texts_of(turns: Sequence[Request]) -> list[str]:
    """The peers' texts that the model was given in these turns, in order."""
    return [frame.text for turn in turns for frame in frames_in(turn.news)]


def answer_with(tool: str, message: str) -> Callable[[Request], tuple[ToolUse, ...]]:
    """For FakeApi.rule: answer each frame by calling `tool` with the arguments that the frame names."""
    return lambda request: tuple(
        ToolUse(tool, {**frame.arguments, "message": message}) for frame in frames_in(request.news)
    )
