"""Makes the modules beside the tests (the reference, the samples, the generator) importable by name."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
