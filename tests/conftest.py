"""For all tests: generated examples are not judged by the clock, and child processes are measured only where asked for."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The kits that several folders use. Last, so that no folder of tests stands in a package's way.
sys.path.append(str(Path(__file__).parent))

# Other tests run beside them on the same cores.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("shared")


def pytest_configure(config: pytest.Config) -> None:
    """Hide coverage's call to measure child processes, once it has reached the processes that run tests.

    A program that is killed again and again, or started as another user, is not to be slowed down or to write files.
    The kits that run the `mesh` command hand the call on under its own name.
    """
    hands_tests_out = getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput")
    if not hands_tests_out and "COVERAGE_PROCESS_CONFIG" in os.environ:
        os.environ["MESH_TESTS_COVERAGE"] = os.environ.pop("COVERAGE_PROCESS_CONFIG")
