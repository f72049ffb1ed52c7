"""What Claude Code tells our hooks, and what they answer: each handler in a home's settings runs behind a recorder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .home import Home

# Its first argument is the folder of the records; the hook's own command follows. A record is whole once it has an end.
_RECORDER = """\
file=$(mktemp -p "$0") || exit 0
cat > "$file"
"$@" < "$file" > "$file.said" 2>&1
status=$?
cat "$file.said"
echo "$status" > "$file.part" && mv "$file.part" "$file.end"
exit "$status"
"""


class Heard(NamedTuple):
    """One run of a hook: its event, all that it was told, its exit status, and what it said."""

    event: str
    told: Mapping[str, object]
    status: int
    said: str


@dataclass(frozen=True, slots=True)
class Tap:
    """The records of one home."""

    folder: Path

    def heard(self) -> list[Heard]:
        """The runs that have ended, in that order."""
        found: list[Heard] = []
        for end in sorted(self.folder.glob("*.end"), key=lambda path: path.stat().st_mtime_ns):
            told = json.loads(end.with_suffix("").read_bytes())
            said = end.with_suffix(".said").read_text()
            found.append(Heard(told["hook_event_name"], told, int(end.read_text()), said))
        return found

    def events(self) -> list[str]:
        return [each.event for each in self.heard()]


def tap_hooks(home: Home, *, without: str = "") -> Tap:
    """Put the recorder before every hook in the user's settings; the event `without` loses its hooks."""
    path = home.config / "settings.json"
    settings = json.loads(path.read_bytes())
    tap = Tap(home.root / "heard")
    tap.folder.mkdir()
    settings["hooks"].pop(without, None)
    for groups in settings["hooks"].values():
        for group in groups:
            for handler in group["hooks"]:
                command = [handler["command"], *handler["args"]]
                handler.update(command="/bin/sh", args=["-c", _RECORDER, str(tap.folder), *command])
    path.write_text(json.dumps(settings))
    return tap
