"""Makes `fuzz_bytes` and the samples of `tests/vectors` importable by name."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "vectors"))
sys.path.insert(0, str(Path(__file__).parent))
