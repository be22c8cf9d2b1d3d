"""The sensors of an NVIDIA GPU, through the driver's management library and ctypes.

PyTorch's own readings of clocks and temperature need pynvml, which the runner does without: five calls of
`libnvidia-ml.so.1` are enough. Every call that fails, or that a driver does not have, is a sensor that does not
tell: None. Clocks are read, never set. `devices/cuda.py` asks.

Source of calls and constants: NVIDIA's NVML API Reference (R590), "Device Queries" and "NvmlClocksEventReasons".
"""

import ctypes

from everforge.model.evaluation import DeviceReading

LIBRARY = "libnvidia-ml.so.1"
_SUCCESS = 0
_CLOCK_SM, _CLOCK_MEMORY = 1, 2
_SENSOR_GPU = 0
# Until driver 535 clock event reasons were called throttle reasons; newer libraries have both calls.
_REASON_CALLS = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")

_REASONS = {
    0x001: "idle",
    0x002: "application_clocks",
    0x004: "power_cap",
    0x008: "hardware_slowdown",
    0x010: "sync_boost",
    0x020: "thermal_software",
    0x040: "thermal_hardware",
    0x080: "power_brake",
    0x100: "display_clocks",
}


def reasons_of(mask: int) -> tuple[str, ...]:
    """Names of the bits of a mask of clock event reasons, lowest first; an unknown bit by its value."""
    bits = [1 << position for position in range(mask.bit_length()) if mask >> position & 1]
    return tuple(_REASONS.get(bit, f"reason_{bit:#x}") for bit in bits)


def bus_id_of(domain: int, bus: int, device: int) -> str:
    """A GPU's PCI address as NVML takes it: 00000000:3b:00.0; a GPU is function 0 of its device."""
    return f"{domain:08x}:{bus:02x}:{device:02x}.0"


class Sensors:
    """Readings of one GPU."""

    def __init__(self, library: ctypes.CDLL, handle: ctypes.c_void_p) -> None:
        self._library = library
        self._handle = handle

    @classmethod
    def of(cls, bus_id: str, library: str = LIBRARY) -> "Sensors | None":
        """The sensors of the GPU at a PCI address; None where library, driver or GPU is not there.

        The address rather than an index: CUDA_VISIBLE_DEVICES renumbers CUDA's devices and not NVML's.
        """
        handle = ctypes.c_void_p()
        try:
            nvml = ctypes.CDLL(library)
            if nvml.nvmlInit_v2() != _SUCCESS:
                return None
            status = nvml.nvmlDeviceGetHandleByPciBusId_v2(bus_id.encode(), ctypes.byref(handle))
        except (OSError, AttributeError):  # no such library, or one that is not NVML
            return None
        return cls(nvml, handle) if status == _SUCCESS else None

    def reading(self) -> DeviceReading:
        """All sensors now. NVIDIA averages power over a second on recent GPUs, so it lags behind the clocks."""
        milliwatts = self._ask("nvmlDeviceGetPowerUsage")
        return DeviceReading(
            clock_mhz=self._ask("nvmlDeviceGetClockInfo", _CLOCK_SM),
            memory_clock_mhz=self._ask("nvmlDeviceGetClockInfo", _CLOCK_MEMORY),
            temperature_c=self._ask("nvmlDeviceGetTemperature", _SENSOR_GPU),
            power_w=None if milliwatts is None else milliwatts / 1000,
            throttled_by=reasons_of(self._reason_mask()),
        )

    def _reason_mask(self) -> int:
        masks = (self._ask(call, kind=ctypes.c_ulonglong) for call in _REASON_CALLS)
        return next((mask for mask in masks if mask is not None), 0)

    def _ask(
        self, call: str, *which: int, kind: type[ctypes.c_uint] | type[ctypes.c_ulonglong] = ctypes.c_uint
    ) -> int | None:
        """What a call writes to its last argument, None if the driver lacks the call or refuses it."""
        value = kind()
        try:
            status = getattr(self._library, call)(self._handle, *which, ctypes.byref(value))
        except AttributeError:
            return None
        return int(value.value) if status == _SUCCESS else None
