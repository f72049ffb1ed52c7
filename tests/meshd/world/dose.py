"""How much of a state machine is run: a small dose among the tests, `STATE_EXAMPLES=n` for more."""

import os

from hypothesis import settings


def dose(examples: int, steps: int) -> settings:
    """Settings for a state machine of which `examples` runs of `steps` steps are a small dose."""
    asked = os.environ.get("STATE_EXAMPLES")
    return settings(max_examples=int(asked) if asked else examples, stateful_step_count=steps)
