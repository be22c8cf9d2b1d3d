"""Intel GPUs through torch.xpu. Written against PyTorch's documentation; not run on hardware yet."""

import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch

from everforge.model.device import DeviceKind
from everforge.model.evaluation import DeviceReading
from everforge.model.precision import Precision
from everforge.runners.devices import sysfs_sensors
from everforge.runners.devices.base import Call, Device
from everforge.runners.devices.energy import EnergyMeter
from everforge.runners.devices.events import event_times_us, launch_times_us
from everforge.runners.devices.replay import captured, replay_times_us

# Level Zero device-id prefixes; anything else is named by its id.
_ARCHITECTURES = {0xE2: "xe2", 0x64: "xe2", 0x0B: "pvc"}
# 18 MiB: the L2 of an Arc B580, the largest Xe2 client part; used where the driver does not tell.
_XE2_L2_BYTES = 18 << 20


class XpuDevice(Device):
    """The first Intel GPU that ZE_AFFINITY_MASK shows."""

    kind = DeviceKind.XPU
    copy_bytes = 1 << 30
    product_size = 4096

    def __init__(self) -> None:
        self._meter = EnergyMeter()

    def missing(self) -> str | None:
        if not torch.xpu.is_available():
            return "no Intel GPU is usable; install its driver and PyTorch's XPU build (torch 2.11 for xpu)"
        return None

    def name(self) -> str:
        return torch.xpu.get_device_name()

    def architecture(self) -> str:
        return _ARCHITECTURES.get(self._device_id >> 8, f"device-{self._device_id:#06x}")

    @property
    def _device_id(self) -> int:
        return int(getattr(torch.xpu.get_device_properties(0), "device_id", 0))

    def driver(self) -> str | None:
        version = getattr(torch.xpu.get_device_properties(0), "driver_version", None)
        return None if version is None else str(version)

    def memory_bytes(self) -> int | None:
        return int(torch.xpu.get_device_properties(0).total_memory)

    def count(self) -> int:
        return torch.xpu.device_count()

    def uuid(self) -> str | None:
        return self._uuid.hex() or None

    @cached_property
    def _uuid(self) -> bytes:
        return bytes(getattr(torch.xpu.get_device_properties(0), "uuid", b""))

    def reading(self) -> DeviceReading:
        if self._card is None:
            return DeviceReading()
        power_w = self._meter.power_w(sysfs_sensors.intel_energy_uj(self._card), time.monotonic())
        return sysfs_sensors.intel_reading(self._card, power_w)

    @cached_property
    def _card(self) -> Path | None:
        return sysfs_sensors.intel_card(sysfs_sensors.DRM, self._device_id, self._uuid)

    def precisions(self) -> tuple[Precision, ...]:
        return tuple(Precision)

    def cache_bytes(self) -> int:
        return int(getattr(torch.xpu.get_device_properties(0), "last_level_cache_size", 0)) or _XE2_L2_BYTES

    def synchronize(self) -> None:
        torch.xpu.synchronize()

    def release_memory(self) -> None:
        torch.xpu.empty_cache()

    def time_us(self, calls: Sequence[Call], before: Call) -> list[float]:
        return event_times_us(torch.xpu, calls, before)

    def launch_times_us(self, call: Call, iterations: int) -> list[float]:
        return launch_times_us(torch.xpu, call, iterations)

    def captured(self, call: Call) -> Call | None:
        if not hasattr(torch.xpu, "XPUGraph"):
            return None
        return captured(torch.xpu, call)

    def replay_us(self, call: Call, before: Call, iterations: int) -> list[float] | None:
        if not hasattr(torch.xpu, "XPUGraph"):
            return None
        return replay_times_us(torch.xpu, call, before, iterations)
