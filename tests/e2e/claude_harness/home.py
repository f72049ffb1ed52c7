"""A home folder in which Claude Code starts without asking anything, and the environment to start it with."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .binary import VERSION

API_KEY = "sk-ant-api03-dummy"
_KEY_TAIL = API_KEY[-20:]


@dataclass(frozen=True, slots=True)
class Home:
    """One machine's worth of folders below `root`; keep `root` short, socket paths hold 107 bytes."""

    root: Path

    @property
    def path(self) -> Path:
        return self.root / "home"

    @property
    def config(self) -> Path:
        """Claude's config dir: registry below `sessions`, transcripts below `projects`."""
        return self.path / ".claude"

    @property
    def temp(self) -> Path:
        """Claude's temporary folder: inbox sockets below `cc-socks`."""
        return self.root / "tmp"

    @property
    def project(self) -> Path:
        return self.root / "proj"

    def env(self, base_url: str, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """The whole environment of a session: built from nothing, so that nothing of the tests' own leaks in."""
        return {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(self.path),
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
            "CLAUDE_CODE_TMPDIR": str(self.temp),
            "ANTHROPIC_BASE_URL": base_url,
            "ANTHROPIC_API_KEY": API_KEY,
            "DISABLE_TELEMETRY": "1",
            "DISABLE_ERROR_REPORTING": "1",
            "DISABLE_AUTOUPDATER": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            **(more or {}),
        }


def seed_home(
    root: Path,
    *,
    settings: Mapping[str, object] | None = None,
    mcp_servers: Mapping[str, object] | None = None,
) -> Home:
    """Make the folders below `root`: onboarding done, key approved, project trusted; settings and servers as given."""
    home = Home(root)
    for folder in (home.config, home.temp, home.project):
        folder.mkdir(parents=True, mode=0o700)
    trusted = {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}
    config = {
        "hasCompletedOnboarding": True,
        "lastOnboardingVersion": VERSION,
        "theme": "dark",
        "customApiKeyResponses": {"approved": [_KEY_TAIL], "rejected": []},
        "projects": {str(home.project): trusted},
        "mcpServers": dict(mcp_servers or {}),
    }
    (home.path / ".claude.json").write_text(json.dumps(config))
    (home.config / "settings.json").write_text(json.dumps(dict(settings or {})))
    return home
