"""NVIDIA GPUs: events around each call, CUDA graphs, L2 size and sensors from the driver."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch

from everforge.model.device import DeviceKind
from everforge.model.evaluation import DeviceReading
from everforge.model.precision import Precision
from everforge.runners.devices import nvml
from everforge.runners.devices.base import Call, Device
from everforge.runners.devices.events import event_times_us, launch_times_us
from everforge.runners.devices.replay import captured, replay_times_us

# `torch.cuda._sleep` counts the multiprocessors' cycles, of which current GPUs do about 2000 in a microsecond.
_CYCLES_PER_US = 2000
_DRIVER_VERSION = Path("/proc/driver/nvidia/version")


class CudaDevice(Device):
    """The first NVIDIA GPU that CUDA_VISIBLE_DEVICES shows."""

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

    def count(self) -> int:
        return torch.cuda.device_count()

    def uuid(self) -> str | None:
        uuid = getattr(torch.cuda.get_device_properties(0), "uuid", None)
        return None if uuid is None else str(uuid)

    def reading(self) -> DeviceReading:
        return DeviceReading() if self._sensors is None else self._sensors.reading()

    @cached_property
    def _sensors(self) -> nvml.Sensors | None:
        known = torch.cuda.get_device_properties(0)
        address = [getattr(known, name, None) for name in ("pci_domain_id", "pci_bus_id", "pci_device_id")]
        if any(part is None for part in address):
            return None
        return nvml.Sensors.of(nvml.bus_id_of(*(int(part) for part in address if part is not None)))

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

    def head_start(self, duration_us: float) -> None:
        torch.cuda._sleep(int(duration_us * _CYCLES_PER_US))  # type: ignore[no-untyped-call]

    def launch_times_us(self, call: Call, iterations: int) -> list[float]:
        return launch_times_us(torch.cuda, call, iterations)

    def captured(self, call: Call) -> Call | None:
        return captured(torch.cuda, call)

    def replay_us(self, call: Call, before: Call, iterations: int) -> list[float] | None:
        return replay_times_us(torch.cuda, call, before, iterations)
