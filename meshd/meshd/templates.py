"""Templates of teams: the groups that a session starts in, and what its agent is told of their ways."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mesh_protocol.names import compare_form


@dataclass(frozen=True, slots=True)
class Template:
    """One kind of team. `facts` are what its sessions need of each other; they live in what the sessions say, and their
    names are in what an agent is told.
    """

    name: str
    about: str
    groups: tuple[str, ...]
    roles: tuple[str, ...]
    facts: tuple[str, ...]
    hint: str

    def role_for(self, role: str) -> str:
        """The role that was named, or the template's usual one."""
        return role or (self.roles[0] if self.roles else "")

    def groups_for(self, role: str) -> tuple[str, ...]:
        """The group that is called like the role where there is one, else all."""
        own = tuple(group for group in self.groups if compare_form(group) == compare_form(role))
        return own or self.groups


_ALL: Final = (
    Template(
        "dev-team",
        "builders and testers of one product",
        ("eng", "qa"),
        (),
        ("sprint", "board_url"),
        "@eng builds, @qa tests. Before you change what others may be changing, say so to @eng in one message. When "
        "something can be tried, tell @qa what to try and how; what @qa finds goes to whoever built it, with the steps "
        "that show it.",
    ),
    Template(
        "research",
        "several look into one question",
        ("analysis",),
        (),
        ("topic", "deadline"),
        "Say to @analysis which part of the question you take before you begin, and what you found with its source when "
        "you are done. Tell apart what you have seen from what you conclude. Contradict a peer's finding to him first.",
    ),
    Template(
        "ops-incident",
        "something is broken and is being mended",
        ("oncall",),
        ("observer", "ic"),
        ("severity", "status"),
        "The ic of @oncall decides what is done; the others propose to the ic and report to @oncall, each message with the "
        "time and what is known for sure. Observers read and ask, and change nothing. Do nothing to a running system that "
        "the ic, and your own user, have not agreed to.",
    ),
    Template(
        "simulation",
        "agents play a scenario, observers watch",
        ("actors",),
        ("agent", "observer"),
        ("scenario", "turn"),
        "Agents act in turns: do yours when the turn is yours, say to @actors what you did, and name who is next. Observers "
        "do not act; they note, and answer what they are asked.",
    ),
    Template(
        "personal",
        "one person's own sessions",
        (),
        (),
        ("focus",),
        "The sessions here are one person's. Call set_summary with what you are on whenever that changes, and look with "
        "list_peers before you begin something that another session may be doing already.",
    ),
)
TEMPLATES: Final[Mapping[str, Template]] = {template.name: template for template in _ALL}


def introduce(to: str, role: str, template: Template | None, groups: Sequence[str]) -> str:
    """What an agent is told of itself that has a role or a template."""
    words = [f"You are {to}" + (f", with the role {role}" if role else "") + "."]
    if groups:
        words.append(f"Your groups: {', '.join(f'@{group}' for group in groups)}.")
    if template is None:
        return " ".join(words)
    words.append(f"The way of this team ({template.name}): {template.hint}")
    if template.facts:
        words.append(
            f"Your peers count on knowing: {', '.join(template.facts)}. Ask for one you lack instead of guessing it, and "
            "tell your group when one changes."
        )
    return " ".join(words)
