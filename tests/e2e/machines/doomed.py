"""Runs one of our programs so that it dies by SIGKILL at a named crash point.

`python doomed.py FP-09 3 mesh_broker run …`: the real program, killed by its own hand at the third arrival at FP-09.
"""

import importlib
import os
import runpy
import signal
import sys
from collections.abc import Callable


def dying(point: str, arrival: int) -> Callable[[str], None]:
    """A `Reached` that lets the process live until then."""
    left = [arrival]

    def reached(name: str) -> None:
        if name == point:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
                signal.pause()  # in the writer's thread the signal may take a moment, in which nothing may happen

    return reached


def main(point: str, arrival: str, module: str, *arguments: str) -> None:
    # Before any other module of ours is imported: what they do at a crash point by default is this from now on.
    points = importlib.import_module("mesh_protocol.crashpoints")
    vars(points)["unnoticed"] = dying(point, int(arrival))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
