"""One adapter for each device; nothing else in Everforge asks which device it is on."""

from everforge.errors import DeviceFault
from everforge.model.device import DeviceKind
from everforge.runners.devices.base import Device
from everforge.runners.devices.cpu import CpuDevice
from everforge.runners.devices.cuda import CudaDevice
from everforge.runners.devices.xpu import XpuDevice

_ADAPTERS: dict[DeviceKind, type[Device]] = {
    DeviceKind.CPU: CpuDevice,
    DeviceKind.CUDA: CudaDevice,
    DeviceKind.XPU: XpuDevice,
}


def adapter_of(kind: DeviceKind) -> Device:
    """The adapter of a device, whether or not the device is there."""
    return _ADAPTERS[kind]()


def device_of(kind: DeviceKind) -> Device:
    """The adapter of a device that is there. Raises DeviceFault with what would mend it."""
    device = adapter_of(kind)
    if (missing := device.missing()) is not None:
        raise DeviceFault(missing)
    return device
