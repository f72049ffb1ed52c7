"""Makes the helpers of this folder importable and their fixtures known."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from claude_harness.fixtures import (
    _isolation_reported,
    claude_binary,
    claude_place,
    claude_stage,
    machine,
    settled,
)

__all__ = ["_isolation_reported", "claude_binary", "claude_place", "claude_stage", "machine", "settled"]
