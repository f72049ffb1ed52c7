"""The prompt library: files of a folder that Claude Code offers as slash commands."""

from mesh_protocol.op import Answer, Command, Request, Tier, op


class PromptRow(Answer, frozen=True):
    """One prompt. `required` arguments must be given; without an `optional` one the text differs."""

    name: str
    description: str
    required: list[str]
    optional: list[str]
    file: str


class BadPromptRow(Answer, frozen=True):
    """A file that is not served, and why."""

    file: str
    why: str


class PromptsAnswer(Answer, frozen=True):
    """What the folder holds; `more` files of it are not named here. `trouble` says why nothing of it is read."""

    folder: str
    prompts: list[PromptRow]
    bad: list[BadPromptRow]
    more: int
    trouble: str


@op("prompt.list", answer=PromptsAnswer, tier=Tier.AGENT, command=Command("prompts"))
class ListPrompts(Request, frozen=True):
    """List the prompt library, and what is wrong with a file of it that is not served."""
