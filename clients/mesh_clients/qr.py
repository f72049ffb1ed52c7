"""A QR code as the daemon drew it, put on the screen so that a camera reads it."""

import os
import sys

from mesh_clients.render import block, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue

DARK_ON_LIGHT = "\x1b[38;5;16;48;5;231m{}\x1b[0m"
"""Whatever the terminal's colours are."""


def print_code(answer: "dict[str, JsonValue]") -> None:
    """The field `qr` of an answer."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stdout.isatty()
    for line in block(answer, "qr").split("\n"):
        say(line if plain else DARK_ON_LIGHT.format(line))
