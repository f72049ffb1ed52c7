"""The prompt library as MCP has it (2025-11-25, Prompts): listed with their arguments, and filled."""

from collections.abc import Mapping
from typing import Final

from mesh_protocol.wire.codec import JsonValue
from meshd.mcp.jsonrpc import JsonObject
from meshd.prompts.document import Prompt
from meshd.prompts.folder import PromptFolder
from meshd.prompts.template import BadTemplate

LIST: Final = "prompts/list"
CHANGED: Final = "notifications/prompts/list_changed"
MAX_VALUE: Final = 64 * 1024
"""Characters of one argument."""


class PromptRefused(Exception):
    """The request names what is not there; the text says what to do."""


async def answer_prompts(folder: PromptFolder, method: str, params: JsonObject) -> Mapping[str, object]:
    """The result of `prompts/list` or `prompts/get`. Raises `PromptRefused`."""
    shelf = await folder.read()
    if method == LIST:
        return {"prompts": [_describe(prompt) for prompt, _ in shelf.prompts.values()]}
    name = params.get("name")
    found = shelf.prompts.get(name) if isinstance(name, str) else None
    if found is None:
        raise PromptRefused(f"Unknown prompt: {str(name)[:60]} (mesh prompts lists them)")
    prompt = found[0]
    try:
        text = prompt.template.fill(_values(prompt, params.get("arguments")))
    except BadTemplate as error:
        raise PromptRefused(str(error)) from None
    message = {"role": "user", "content": {"type": "text", "text": text}}
    return {"description": prompt.description, "messages": [message]}


def _describe(prompt: Prompt) -> Mapping[str, object]:
    arguments = [
        {"name": each.name, "description": each.about, "required": each.required}
        if each.about
        else {"name": each.name, "required": each.required}
        for each in prompt.arguments
    ]
    return {"name": prompt.name, "description": prompt.description, "arguments": arguments}


def _values(prompt: Prompt, given: JsonValue) -> dict[str, str]:
    """The arguments, each a text that the prompt asks for."""
    if not isinstance(given, dict | None):
        raise PromptRefused("prompts/get takes name and arguments")
    values: dict[str, str] = {}
    known = {each.name for each in prompt.arguments}
    for name, value in (given or {}).items():
        if name not in known:
            raise PromptRefused(f"{prompt.name} has no argument {name[:60]!r}")
        if not isinstance(value, str) or len(value) > MAX_VALUE:
            raise PromptRefused(f"the argument {name} must be a text of at most {MAX_VALUE} characters")
        values[name] = value
    if missing := [each.name for each in prompt.arguments if each.required and not values.get(each.name, "").strip()]:
        raise PromptRefused(f"{prompt.name} needs {', '.join(missing)}")
    return values
