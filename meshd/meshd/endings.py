"""Waiting for another process's end: by pidfd where the system has one, by looking now and then elsewhere."""

import os
from typing import Final

import trio

from meshd.processes import ProcessTable

POLL_S: Final = 2.0


async def wait_end(processes: ProcessTable, pid: int, start: int) -> None:
    """Return once the process `pid` that started at `start` (the system's unit) is no more."""
    try:
        descriptor = os.pidfd_open(pid)
    except (OSError, AttributeError):  # gone, or a system without pidfd
        while True:  # for another process's end there is nothing to wait on
            if not lives(processes, pid, start):
                return
            await trio.sleep(POLL_S)
    try:
        if lives(processes, pid, start):  # else the number is another's by now
            await trio.lowlevel.wait_readable(descriptor)
    finally:
        os.close(descriptor)


def lives(processes: ProcessTable, pid: int, start: int) -> bool:
    """Whether the process `pid` that started at `start` is there."""
    process = processes.look(pid)
    return process is not None and process.start == start
