"""NVIDIA GPUs: events around each call, L2 size and clocks from the driver."""

from collections.abc import Sequence
from pathlib import Path

import torch

from everforge.model.device import DeviceKind
from everforge.model.precision import Precision
from everforge.runners.devices.base import Call, Device

_DRIVER_VERSION = Path("/proc/driver/nvidia/version")


class CudaDevice(Device):
    """The first NVIDIA GPU."""

    kind = DeviceKind.CUDA
    copy_bytes = 2 << 30
    product_size = 8192

    def missing(self) -> str | None:
        if torch.version.cuda is None:
            return "this PyTorch has no CUDA; install the accelerator build: pip install torch==2.11.0"
        if not torch.cuda.is_available():
            return "no NVIDIA GPU is visible; install the driver (nvidia-smi must list a GPU)"
        return None

    def name(self) -> str:
        return torch.cuda.get_device_name()

    def architecture(self) -> str:
        major, minor = torch.cuda.get_device_capability()
        return f"sm_{major}{minor}"

    @property
    def compiles_ahead(self) -> str | None:
        return self.architecture()

    def driver(self) -> str | None:
        try:
            words = _DRIVER_VERSION.read_text(encoding="utf-8").split()
        except OSError:
            return None
        return next((word for word in words if word[:1].isdigit() and "." in word), None)

    def memory_bytes(self) -> int | None:
        return int(torch.cuda.get_device_properties(0).total_memory)

    def precisions(self) -> tuple[Precision, ...]:
        return tuple(Precision)

    def cache_bytes(self) -> int:
        return int(torch.cuda.get_device_properties(0).L2_cache_size)

    def synchronize(self) -> None:
        torch.cuda.synchronize()

    def release_memory(self) -> None:
        torch.cuda.empty_cache()

    def time_us(self, calls: Sequence[Call], before: Call) -> list[float]:
        return event_times_us(torch.cuda, calls, before)


def event_times_us(backend: object, calls: Sequence[Call], before: Call) -> list[float]:
    """Times by a pair of events around each call; `backend` is torch.cuda or torch.xpu."""
    pairs = []
    for call in calls:
        start, end = (backend.Event(enable_timing=True) for _ in range(2))  # type: ignore[attr-defined]
        before()
        start.record()
        call()
        end.record()
        pairs.append((start, end))
    backend.synchronize()  # type: ignore[attr-defined]
    return [start.elapsed_time(end) * 1e3 for start, end in pairs]
