"""Why the daemon does not start: one sentence for the person, one exit status for scripts."""

from typing import ClassVar

EXIT_TRY_LATER = 75
EXIT_CONFIG = 78


class StartRefused(Exception):
    """The ground is not fit to start on. The text is one line and says what to do next."""

    exit_status: ClassVar[int] = EXIT_CONFIG
