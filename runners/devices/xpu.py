"""Intel GPUs through torch.xpu. Written against PyTorch's documentation; not run on hardware yet."""

from collections.abc import Sequence

import torch

from everforge.model.device import DeviceKind
from everforge.model.precision import Precision
from everforge.runners.devices.base import Call, Device
from everforge.runners.devices.cuda import event_times_us

# Level Zero device-id prefixes; anything else is named by its id.
_ARCHITECTURES = {0xE2: "xe2", 0x64: "xe2", 0x0B: "pvc"}
# 18 MiB: the L2 of an Arc B580, the largest Xe2 client part; used where the driver does not tell.
_XE2_L2_BYTES = 18 << 20


class XpuDevice(Device):
    """The first Intel GPU."""

    kind = DeviceKind.XPU
    copy_bytes = 1 << 30
    product_size = 4096

    def missing(self) -> str | None:
        if not torch.xpu.is_available():
            return "no Intel GPU is usable; install its driver and PyTorch's XPU build (torch 2.11 for xpu)"
        return None

    def name(self) -> str:
        return torch.xpu.get_device_name()

    def architecture(self) -> str:
        device_id = int(getattr(torch.xpu.get_device_properties(0), "device_id", 0))
        return _ARCHITECTURES.get(device_id >> 8, f"device-{device_id:#06x}")

    def driver(self) -> str | None:
        version = getattr(torch.xpu.get_device_properties(0), "driver_version", None)
        return None if version is None else str(version)

    def memory_bytes(self) -> int | None:
        return int(torch.xpu.get_device_properties(0).total_memory)

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
