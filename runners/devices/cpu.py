"""The CPU: synchronous calls, the host's clock, the last-level cache and the sensors from sysfs."""

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path

from everforge.model.device import DeviceKind
from everforge.model.evaluation import DeviceReading
from everforge.model.precision import Precision
from everforge.runners.devices import cpu_sensors
from everforge.runners.devices.base import Call, Device, wall_us
from everforge.runners.devices.energy import EnergyMeter

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
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
        sizes = [_parse_size(path.read_text()) for path in _CACHES.glob("index*/size")]
        return max(sizes, default=32 << 20)  # 32 MiB where sysfs is hidden: above most desktop parts

    def synchronize(self) -> None:
        """Nothing to wait for: calls return when they are done."""

    def time_us(self, calls: Sequence[Call], before: Call) -> list[float]:
        times_us = []
        for call in calls:
            before()
            times_us.append(wall_us(call))
        return times_us


def _parse_size(text: str) -> int:
    text = text.strip()
    return int(text[:-1]) * _SUFFIXES[text[-1]] if text[-1:] in _SUFFIXES else int(text)
