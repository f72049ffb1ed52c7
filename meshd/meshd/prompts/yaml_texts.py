"""YAML as far as a prompt needs it: a mapping of texts, in which one key may hold another.

It is read event by event and never made into objects. So there is nothing that a tag could construct and nothing that an
alias could multiply; both are refused. Every scalar is the text that it is written as.
"""

from collections.abc import Iterator
from typing import Final, NoReturn

import yaml

_LOADER: Final = yaml.CBaseLoader if yaml.__with_libyaml__ else yaml.BaseLoader


class BadYaml(Exception):
    """The text says what is wrong, and in which line."""


def read_texts(content: bytes, texts: frozenset[str], mapping: str) -> tuple[dict[str, str], dict[str, str]]:
    """The texts of the keys `texts`, and those of the mapping below the key `mapping`. Raises `BadYaml`."""
    try:
        events: Iterator[yaml.Event] = iter(yaml.parse(content.decode(), Loader=_LOADER))
        found = _read(events, texts, mapping)
        if not isinstance(next(events), yaml.DocumentEndEvent) or not isinstance(next(events), yaml.StreamEndEvent):
            raise BadYaml("it holds more than one document: one file is one prompt")
    except UnicodeDecodeError:
        raise BadYaml("it is not UTF-8") from None
    except yaml.YAMLError as error:
        raise BadYaml(_explain(error)) from None
    return found


def _read(events: Iterator[yaml.Event], texts: frozenset[str], mapping: str) -> tuple[dict[str, str], dict[str, str]]:
    found: dict[str, str] = {}
    below: dict[str, str] | None = None
    for key, value in _pairs(_begin(events), events):
        name = key.value
        if name not in texts and name != mapping:
            _refuse(key, f"unknown key {name[:60]!a}; known are {', '.join(sorted({*texts, mapping}))}")
        if name in found or (name == mapping and below is not None):
            _refuse(key, f"{name} stands twice")
        if name != mapping:
            found[name] = _text(value, name)
            continue
        below = {}
        for inner, told in _pairs(value, events):
            if inner.value in below:
                _refuse(inner, f"{inner.value[:60]!a} stands twice")
            below[inner.value] = _text(told, "what a variable means")
    return found, below or {}


def _begin(events: Iterator[yaml.Event]) -> yaml.Event:
    """The first event of the one document."""
    for event in events:
        if isinstance(event, yaml.StreamEndEvent):
            break
        if not isinstance(event, yaml.StreamStartEvent | yaml.DocumentStartEvent):
            return event
    raise BadYaml("it is empty: write name, description and template")


def _pairs(first: yaml.Event, events: Iterator[yaml.Event]) -> Iterator[tuple[yaml.ScalarEvent, yaml.Event]]:
    """The keys of the mapping that begins with `first`, each with the first event of its value."""
    if not isinstance(_checked(first), yaml.MappingStartEvent):
        _refuse(first, "keys with their values must stand here, such as name: review")
    while not isinstance(key := _checked(next(events)), yaml.MappingEndEvent):
        if not isinstance(key, yaml.ScalarEvent):
            _refuse(key, "a key must be a word")
        yield key, _checked(next(events))


def _text(event: yaml.Event, what: str) -> str:
    if not isinstance(event, yaml.ScalarEvent):
        _refuse(event, f"{what} must be a text")
    return str(event.value)


def _checked(event: yaml.Event) -> yaml.Event:
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
        _refuse(event, "anchors and aliases (& and *) have no place in a prompt")
    if getattr(event, "tag", None) is not None:
        _refuse(event, "tags (!) have no place in a prompt; a text that begins with ! goes in quotes")
    return event


def _refuse(event: yaml.Event, why: str) -> NoReturn:
    where = f"line {event.start_mark.line + 1}: " if event.start_mark is not None else ""
    raise BadYaml(f"{where}{why}")


def _explain(error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    where = f"line {mark.line + 1}: " if mark is not None else ""
    return f"{where}it is not YAML: {problem or 'characters that YAML does not allow'}"
