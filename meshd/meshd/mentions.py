"""Whether a text names its reader as `@name`. Pure."""

import re
from typing import Final

from mesh_protocol.names import compare_form

_NAMED: Final = re.compile(r"(?<![\w@/.-])@([\w.-]+(?:/[\w.-]+)?)")
"""`@name` or `@person/session`, not inside an address or a path."""


def mentions(text: str, person: str, session: str) -> bool:
    """Whether `text` names the person, his session (empty: none), or both as `@person/session`, in any case and width.

    A stop behind a name ends a sentence, unless the name has one.
    """
    whole = compare_form(f"{person}/{session}")
    names = {compare_form(name) for name in (person, session) if name}
    for found in _NAMED.findall(text):
        for name in {compare_form(found), compare_form(found.rstrip(".-"))}:
            if name in names or (session and name == whole):
                return True
            # A session of his that is not the reader is named, and with it its person.
            if name.partition("/")[0] == compare_form(person) and not session:
                return True
    return False
