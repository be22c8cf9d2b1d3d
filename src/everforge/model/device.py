"""What runs a kernel, and the environment a measurement belongs to."""

from enum import StrEnum

from pydantic import Field

from everforge.model.base import Record
from everforge.model.precision import Precision


class DeviceKind(StrEnum):
    """The devices Everforge knows; one adapter in `runners/devices/` for each."""

    CPU = "cpu"
    CUDA = "cuda"
    XPU = "xpu"


class Environment(Record):
    """Where a measurement was made; results are comparable only within one environment."""

    device: DeviceKind
    device_name: str = Field(description="Marketing name as the driver or /proc/cpuinfo gives it")
    architecture: str = Field(description="x86_64, sm_90, xe2, …")
    driver: str | None = Field(None, description="Driver version; None where the device has none")
    toolchain: dict[str, str] = Field(description="Tool to version: python, torch, triton, g++, nvcc, …")
    host: str = Field(description="Host name of the machine")
    system: str = Field(description="Kernel and distribution")
    cores: int = Field(description="CPU cores the harness may use")
    memory_bytes: int | None = Field(None, description="Memory of the device; None if it cannot be read")
    device_count: int = Field(1, ge=1, description="Devices of this kind that the runner saw; a CPU counts as one")
    device_index: int = Field(0, ge=0, description="Which of them was used, from 0; above 0 where one was asked for")
    device_uuid: str | None = Field(None, description="What tells the device from its like; None where it does not say")
    isolation: tuple[str, ...] = Field((), description="Sandbox layers in force: uid, network, pids, files, …")


class Peaks(Record):
    """Rates of a device, measured on the spot; the roofline's two ceilings."""

    bandwidth_bytes_per_s: float = Field(
        description="The better of a large copy (bytes read plus written) and a large sum (bytes read)"
    )
    flops_per_s: dict[Precision, float] = Field(description="Large matrix product, 2·M·N·K over its time")
