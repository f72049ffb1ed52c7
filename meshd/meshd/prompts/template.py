"""Texts with places to fill: `{{name}}`, and `{{#if name}}…{{else}}…{{/if}}`.

What is filled in is text and nothing else: it is never read as a template again.
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias

MAX_DEPTH: Final = 8
MAX_RENDERED: Final = 128 * 1024
"""Bytes of a filled text: in JSON, where a character can take six, it still fits into one message."""
NAME: Final = r"[A-Za-z][A-Za-z0-9_]{0,63}"
_GAP: Final = r"[ \t]{0,8}"
_TAG: Final = re.compile(
    # A condition alone on its line takes the line away with it.
    rf"^[ \t]{{0,80}}\{{\{{{_GAP}(?P<alone>#if[ \t]{{1,8}}{NAME}|else|/if){_GAP}\}}\}}[ \t]{{0,80}}(?:\n|\Z)"
    r"|(?P<escaped>\\\{\{)"
    r"|\{\{(?P<inside>[^{}\n]{0,120})\}\}"
    r"|(?P<open>\{\{)",
    re.MULTILINE,
)
_NAME: Final = re.compile(rf"{NAME}\Z")
_IF: Final = re.compile(rf"#if[ \t]+({NAME})\Z")


class BadTemplate(Exception):
    """The text says what is wrong, and in which line of the template."""


class Place(NamedTuple):
    """Where a variable's value goes."""

    name: str


class Choice(NamedTuple):
    """`then` where the variable has a value, else `otherwise`."""

    name: str
    then: "tuple[Part, ...]"
    otherwise: "tuple[Part, ...]"


Part: TypeAlias = str | Place | Choice


class Template(NamedTuple):
    """`names` in the order of their first use; those in `optional` are asked about by an `#if` and may be left out."""

    parts: tuple[Part, ...]
    names: tuple[str, ...]
    optional: frozenset[str]

    def fill(self, values: Mapping[str, str]) -> str:
        """The text with these values; a missing one is empty. Raises `BadTemplate` where it becomes too long."""
        out: list[str] = []
        _fill(self.parts, values, out, 0)
        return "".join(out)


class _Open(NamedTuple):
    """A condition whose end has not come; `then` is None until its `{{else}}`."""

    name: str
    line: int
    before: list[Part]
    then: tuple[Part, ...] | None


def parse_template(text: str) -> Template:
    """Raises `BadTemplate`."""
    parts: list[Part] = []
    waiting: list[_Open] = []
    names: dict[str, None] = {}
    optional: set[str] = set()
    at = 0
    for found in _TAG.finditer(text):
        parts.append(text[at : found.start()])
        at = found.end()
        line = text.count("\n", 0, found.start()) + 1
        if found["escaped"] is not None:
            parts.append("{{")
            continue
        tag = found["alone"] or (found["inside"] or "").strip()
        if condition := _IF.match(tag):
            if len(waiting) >= MAX_DEPTH:
                raise BadTemplate(f"line {line}: conditions lie deeper than {MAX_DEPTH}")
            names.setdefault(condition[1])
            optional.add(condition[1])
            waiting.append(_Open(condition[1], line, parts, None))
            parts = []
        elif tag == "else" and waiting and waiting[-1].then is None:
            waiting[-1] = waiting[-1]._replace(then=_without_gaps(parts))
            parts = []
        elif tag == "/if" and waiting:
            parts = _close(waiting.pop(), parts)
        elif _NAME.match(tag) and tag != "else":
            names.setdefault(tag)
            parts.append(Place(tag))
        else:
            raise BadTemplate(f"line {line}: {_explain(tag, found['open'] is not None)}")
    if waiting:
        raise BadTemplate(f"line {waiting[-1].line}: {{{{#if {waiting[-1].name}}}}} has no {{{{/if}}}}")
    parts.append(text[at:])
    return Template(_without_gaps(parts), tuple(names), frozenset(optional))


def _close(opened: _Open, parts: list[Part]) -> list[Part]:
    last = _without_gaps(parts)
    choice = Choice(opened.name, last, ()) if opened.then is None else Choice(opened.name, opened.then, last)
    opened.before.append(choice)
    return opened.before


def _without_gaps(parts: list[Part]) -> tuple[Part, ...]:
    return tuple(part for part in parts if part != "")


def _explain(tag: str, is_open: bool) -> str:
    if is_open:
        return "{{ begins a variable that does not end; for the two characters themselves write \\{{"
    if tag in ("else", "/if"):
        return f"{{{{{tag}}}}} has no {{{{#if NAME}}}} before it"
    shown = ascii(tag[:40])
    return f"{shown} is no variable: write {{{{name}}}}, {{{{#if name}}}}, {{{{else}}}} or {{{{/if}}}}"


def _fill(parts: tuple[Part, ...], values: Mapping[str, str], out: list[str], size: int) -> int:
    """Returns the size so far, in bytes."""
    for part in parts:
        if isinstance(part, Choice):
            chosen = part.then if values.get(part.name, "").strip() else part.otherwise
            size = _fill(chosen, values, out, size)
            continue
        text = values.get(part.name, "") if isinstance(part, Place) else part
        size += len(text.encode("utf-8", "surrogatepass"))
        if size > MAX_RENDERED:
            raise BadTemplate(f"the filled text is longer than {MAX_RENDERED} bytes: give it shorter values")
        out.append(text)
    return size
