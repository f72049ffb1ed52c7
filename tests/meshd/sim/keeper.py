"""What keeps a process of the simulation alive: its disk, its traps, and its being started again after each death."""

import gc
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from sim.crashes import Trap
from world.broker import BrokerHouse
from world.machine import Machine
from world.power import PowerDisk

AGAIN_S: Final = 0.5
"""Seconds between two starts of a process that died while it started."""


class FallibleDisk(PowerDisk):
    """A disk whose machine dies with it."""

    def __init__(self, chance: random.Random, gone: Callable[[], None]) -> None:
        super().__init__(chance)
        self._gone = gone

    def _switch_off(self) -> None:
        super()._switch_off()
        self._gone()

    def calm(self) -> None:
        """Nothing that was to befall it does."""
        self.full = False
        self.fail_syncs(0)
        if self.on:
            self._off_at = None


class Keeper:
    """Of a daemon or of a broker. `down_s` is how long it stays down after its next death; while it is `held`, for ever."""

    def __init__(
        self, process: Machine | BrokerHouse, name: str, chance: random.Random, note: Callable[[str], None]
    ) -> None:
        self.process = process
        self.name = name
        self.down_s = 1.0
        self.held = False
        self.deaths = 0
        self.statuses: list[int] = []
        """Exit statuses of daemons that ended by themselves."""
        self._chance = chance
        self._note = note
        self._backup: Path | None = None
        self._swap = False
        self.put_back_at = math.inf
        """Virtual time of the last restore from a backup."""
        self._calm = trio.Event()
        self.trap = Trap(self._die)
        self.disk = FallibleDisk(chance, process.kill)
        process.power = self.disk
        process.reached = self.trap.reached

    async def run(self) -> None:
        """Start the process again whenever it ends; for ever."""
        while True:
            await self.process.ended.wait()
            self.deaths += 1
            self._note(f"{self.name} ended")
            if isinstance(self.process, Machine) and not self.process.killed:
                self.statuses.append(self.process.app.exit_status)
            with trio.move_on_after(self.down_s):
                await self._calm.wait()
            while self.held:
                await trio.sleep(1)
            await self._start()

    async def _start(self) -> None:
        while True:
            gc.collect()  # connections of a start that failed half way
            self.disk.restore()
            if self._swap:
                self._put_back()
            self._note(f"{self.name} starts")
            try:
                await self.process.start()
                return
            except Exception:
                if not self.process.killed:
                    raise
            gc.collect()  # connections of a start that failed half way
            await trio.sleep(AGAIN_S)

    def calm(self, *, held: bool) -> None:
        """From now on nothing befalls it, and it starts at once if it is down, unless it is `held`."""
        self.trap.disarm()
        self.disk.calm()
        self.down_s, self.held = 0.1, held
        self._calm.set()

    # Ways to die.

    def kill(self, down_s: float) -> None:
        self.down_s = down_s
        if self.process.running:
            self.process.kill()

    def cut(self, after: int, down_s: float) -> None:
        """A power cut at the `after`-th change of the disk from now."""
        self.down_s = down_s
        if self.process.running:
            self.disk.cut(after)

    def _die(self, point: str) -> None:
        self._note(f"{self.name} dies at {point}")
        kind = self._chance.random()
        if point == "FP-15":  # somewhere within the checkpoint, not always before it
            after = self._chance.randrange(1, 30)
            (self.disk.kill if kind < 0.5 else self.disk.cut)(after)
        elif kind < 0.3:
            self.disk.cut()
        else:
            self.process.kill()

    # Backups.

    @property
    def home(self) -> Path:
        """Everything the process keeps."""
        process = self.process
        return process.paths.data if isinstance(process, Machine) else process.path.parent

    def back_up(self, into: Path) -> None:
        """Copy everything as it lies there now."""
        self._backup = into
        copy_home(self.home, into)

    @property
    def has_backup(self) -> bool:
        return self._backup is not None

    def put_back_next(self, down_s: float) -> None:
        """Die, and begin the next life with the backup."""
        self._swap = True
        self.kill(down_s)

    def _put_back(self) -> None:
        assert self._backup is not None
        self._swap = False
        self.put_back_at = trio.current_time()
        self._note(f"{self.name} gets its backup back")
        shutil.rmtree(self.home)
        shutil.copytree(self._backup, self.home)
        self.disk.forget()


def copy_home(home: Path, into: Path) -> None:
    """Files only: a socket is not copied, and SQLite makes its shared index anew."""

    def skipped(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if name.endswith("-shm") or (Path(folder) / name).is_socket()]

    shutil.copytree(home, into, ignore=skipped)
