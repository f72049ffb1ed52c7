"""Why the daemon does not start: one sentence for the person, one exit status for scripts."""

import errno
from pathlib import Path
from typing import ClassVar

EXIT_TRY_LATER = 75
EXIT_CONFIG = 78


class StartRefused(Exception):
    """The ground is not fit to start on. The text is one line and says what to do next."""

    exit_status: ClassVar[int] = EXIT_CONFIG


NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system says when a file cannot grow: no space, no quota, the process's own limit."""


class DiskFull(StartRefused):
    """There is no room to start on. Exit status 75."""

    exit_status: ClassVar[int] = EXIT_TRY_LATER

    def __init__(self, directory: Path) -> None:
        super().__init__(f"the disk of {directory} is full: free some space, then start again; nothing is lost")
