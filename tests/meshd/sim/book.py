"""What was sent and what was promised: the other side of every judgement."""

from dataclasses import dataclass, field
from typing import Final

MARK: Final = b"canary."
"""Every text begins with this, so that plaintext is found wherever it should not be."""
ANYBODY: Final = "*"
LANES: Final = ("now", "next", "low")


@dataclass(slots=True, eq=False)
class Letter:
    """One message as its author knows it. `author` is the name of a machine, `session` of a session there, empty for the
    person; `to` are such pairs too. `many`: a group or everybody instead, and then `to` is learnt from the author's disk,
    with `ANYBODY` for the session."""

    number: int
    author: str
    session: str
    to: tuple[tuple[str, str], ...]
    lane: str
    text: str
    key: str
    many: str
    began: float
    ended: float = 0.0
    id: str = ""
    """What `send` answered: then it is promised."""
    ids: set[str] = field(default_factory=set)
    """Two ids and more: its key was answered with different ones."""
    refused: str = ""
    unanswered: int = 0
    """How often it was sent without an answer that anybody heard."""
    probe: bool = False
    """Sent after all was healed."""

    @property
    def promised(self) -> bool:
        return bool(self.id)

    @property
    def uncertain(self) -> bool:
        """The answer was lost: it may have been taken or not."""
        return not self.id and self.unanswered > 0


@dataclass(slots=True, eq=False)
class Book:
    """All letters of a history, by number and by text."""

    letters: list[Letter] = field(default_factory=list)
    by_text: dict[str, Letter] = field(default_factory=dict)

    def write(
        self,
        author: str,
        session: str,
        to: tuple[tuple[str, str], ...],
        many: str,
        lane: str,
        filler: int,
        salt: str,
        now: float,
        *,
        keyed: bool,
    ) -> Letter:
        """A new letter whose text occurs nowhere else."""
        number = len(self.letters) + 1
        text = f"{MARK.decode()}{number}.{salt}" + " lorem ipsum" * filler
        letter = Letter(number, author, session, to, lane, text, f"key-{number}" if keyed else "", many, now)
        self.letters.append(letter)
        self.by_text[text] = letter
        return letter
