"""One file of the prompt library: a name, a description, a template, and what its variables mean."""

import re
from typing import Final, NamedTuple

from meshd.prompts.template import BadTemplate, Template, parse_template

FILE_BYTES: Final = 32 * 1024
MAX_DESCRIPTION: Final = 400
"""Bytes of a prompt's description."""
MAX_ARGUMENTS: Final = 16
MAX_ABOUT: Final = 200
"""Bytes of a variable's description."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,47}\Z")
_TEXTS: Final = frozenset({"name", "description", "template"})
_ARGUMENTS: Final = "arguments"


class BadPrompt(Exception):
    """The text says what is wrong with the file, and what to write."""


class Argument(NamedTuple):
    """A variable as a client is told of it."""

    name: str
    about: str
    required: bool


class Prompt(NamedTuple):
    name: str
    description: str
    arguments: tuple[Argument, ...]
    template: Template


def read_prompt(content: bytes, stem: str) -> Prompt:
    """The prompt in a file; `stem` is the file's name without its ending, its name where it says no other.

    Raises `BadPrompt`.
    """
    from meshd.prompts.yaml_texts import BadYaml, read_texts  # PyYAML, only for who has a library

    try:
        texts, about = read_texts(content, _TEXTS, _ARGUMENTS)
    except BadYaml as error:
        raise BadPrompt(str(error)) from None
    name = texts.get("name", stem)
    if not _NAME.match(name):
        raise BadPrompt(f"the name {name[:60]!a} is not of small letters, digits, - and _, at most 48")
    description = _line(texts.get("description", ""), "description", MAX_DESCRIPTION)
    if not texts.get("template", "").strip():
        raise BadPrompt("it has no template: write template: | and the text below it, indented")
    try:
        template = parse_template(texts["template"])
    except BadTemplate as error:
        raise BadPrompt(f"template, {error}") from None
    if len(template.names) > MAX_ARGUMENTS:
        raise BadPrompt(f"the template has more than {MAX_ARGUMENTS} variables")
    if unknown := about.keys() - {*template.names}:
        raise BadPrompt(f"arguments: {min(unknown)[:60]!a} is no variable of the template")
    arguments = tuple(
        Argument(each, _line(about.get(each, ""), f"arguments: {each}", MAX_ABOUT), each not in template.optional)
        for each in template.names
    )
    return Prompt(name, description, arguments, template)


def _line(text: str, what: str, limit: int) -> str:
    """A text of one line."""
    text = " ".join(text.split())
    if len(text.encode()) > limit:
        raise BadPrompt(f"{what} is longer than {limit} bytes")
    if not text.isprintable():
        raise BadPrompt(f"{what} holds characters that cannot be shown")
    return text
