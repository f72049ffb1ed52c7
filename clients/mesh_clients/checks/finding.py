"""One finding of `mesh doctor`, in the shape that the daemon's own have."""

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue


class Finding(NamedTuple):
    """`ok` is ok, warn or bad; `fix` is a command or a sentence that mends it."""

    name: str
    ok: str
    text: str
    fix: str = ""

    def row(self) -> "dict[str, JsonValue]":
        return {"name": self.name, "ok": self.ok, "text": self.text, "fix": self.fix}
