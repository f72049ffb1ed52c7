"""How a process grows: samples of its memory and descriptors, and the straight line through them."""

from dataclasses import dataclass, field
from typing import Final

import psutil

from machines.program import Program

MIB: Final = 1024 * 1024


@dataclass
class Growth:
    """Of one process that lives all the time. Times in seconds."""

    program: Program
    times: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)

    def look(self, now: float) -> None:
        process = psutil.Process(self.program.pid)
        self.times.append(now)
        self.memory.append(process.memory_info().rss)
        self.descriptors.append(process.num_fds())

    @property
    def memory_growth(self) -> float:
        """MiB gained between the first and the last sample, by the line through all of them."""
        return slope(self.times, self.memory) * (self.times[-1] - self.times[0]) / MIB

    @property
    def descriptor_growth(self) -> float:
        return slope(self.times, self.descriptors) * (self.times[-1] - self.times[0])

    def told(self) -> str:
        hours = (self.times[-1] - self.times[0]) / 3600
        return (
            f"{self.program.name}: {self.memory[0] / MIB:.1f} to {self.memory[-1] / MIB:.1f} MiB, the line gains"
            f" {self.memory_growth:.2f} MiB ({self.memory_growth / hours:.1f} MiB an hour); descriptors"
            f" {min(self.descriptors)} to {max(self.descriptors)}, the line gains {self.descriptor_growth:.1f}"
        )


def slope(xs: list[float], ys: list[int]) -> float:
    """Of the least-squares line."""
    middle_x, middle_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - middle_x) ** 2 for x in xs)
    return sum((x - middle_x) * (y - middle_y) for x, y in zip(xs, ys, strict=True)) / spread if spread else 0.0
