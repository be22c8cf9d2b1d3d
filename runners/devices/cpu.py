"""The CPU: synchronous calls, the host's clock, the last-level cache and the sensors from sysfs."""

import os
import platform
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from everforge.model.device import DeviceKind
from everforge.model.evaluation import DeviceReading
from everforge.model.precision import Precision
from everforge.runners.devices import cpu_sensors
from everforge.runners.devices.base import Call, Device, wall_us
from everforge.runners.devices.energy import EnergyMeter

_PROCESSORS = Path("/sys/devices/system/cpu")
_SUFFIXES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class CpuDevice(Device):
    """The host's processor."""

    kind = DeviceKind.CPU
    copy_bytes = 256 << 20
    product_size = 1024
    shares_host_memory = True

    def __init__(self, root: Path = cpu_sensors.ROOT) -> None:
        self._root = root
        self._meter = EnergyMeter()
        self._throttled: dict[str, int] = {}

    def missing(self) -> str | None:
        return None

    def name(self) -> str:
        try:
            lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        except OSError:
            return platform.processor() or platform.machine()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        return names[0] if names else platform.machine()

    def architecture(self) -> str:
        return platform.machine()

    def driver(self) -> str | None:
        return None

    def memory_bytes(self) -> int | None:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    def reading(self) -> DeviceReading:
        cpus = os.sched_getaffinity(0)
        before, self._throttled = self._throttled, cpu_sensors.throttle_counts(self._root, cpus)
        return DeviceReading(
            clock_mhz=cpu_sensors.clock_mhz(self._root, cpus),
            temperature_c=cpu_sensors.temperature_c(self._root),
            power_w=self._meter.power_w(cpu_sensors.energy_uj(self._root), time.monotonic()),
            throttled_by=cpu_sensors.grown(before, self._throttled),
        )

    def precisions(self) -> tuple[Precision, ...]:
        return (Precision.FP32, Precision.BF16, Precision.FP16)

    def cache_bytes(self) -> int:
        return last_level_bytes(_PROCESSORS, os.sched_getaffinity(0)) or 32 << 20  # hidden: above most desktop parts

    def synchronize(self) -> None:
        """Nothing to wait for: calls return when they are done."""

    def time_us(self, calls: Sequence[Call], before: Call) -> list[float]:
        times_us = []
        for call in calls:
            before()
            times_us.append(wall_us(call))
        return times_us


def last_level_bytes(processors: Path, used: Iterable[int]) -> int | None:
    """Bytes of last-level cache behind these processors, from sysfs; None where it does not tell.

    A processor of several chiplets has one such cache for each: inputs may lie in any of them.
    """
    slices: dict[tuple[int, str], int] = {}
    for number in used:
        for cache in (processors / f"cpu{number}" / "cache").glob("index*"):
            try:
                level = int((cache / "level").read_text())
                sharers = (cache / "shared_cpu_list").read_text().strip()
                slices[level, sharers] = _parse_size((cache / "size").read_text())
            except (OSError, ValueError):
                continue
    last = max((level for level, _ in slices), default=0)
    return sum(size for (level, _), size in slices.items() if level == last) or None


def _parse_size(text: str) -> int:
    text = text.strip()
    return int(text[:-1]) * _SUFFIXES[text[-1]] if text[-1:] in _SUFFIXES else int(text)
