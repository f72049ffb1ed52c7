"""Makes the kits of daemon and broker importable."""

import sys
from pathlib import Path

for kit in ("meshd", "broker"):
    sys.path.insert(0, str(Path(__file__).parent.parent / kit))
