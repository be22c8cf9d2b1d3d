"""NVIDIA's sensors, as far as no GPU is needed: what the bits mean, and that nothing there is no error."""

import pytest

from everforge.runners.devices import nvml


def test_each_reason_has_its_name_lowest_bit_first() -> None:
    assert nvml.reasons_of(0x1 | 0x4 | 0x40) == ("idle", "power_cap", "thermal_hardware")


def test_no_reason_has_no_name() -> None:
    assert nvml.reasons_of(0) == ()


def test_reason_of_a_newer_driver_is_kept_by_its_value() -> None:
    assert nvml.reasons_of(0x8 | 0x400) == ("hardware_slowdown", "reason_0x400")


def test_bus_id_has_the_eight_digit_domain_of_nvml() -> None:
    assert nvml.bus_id_of(domain=0, bus=0x3B, device=2) == "00000000:3b:02.0"


@pytest.mark.parametrize(
    "library",
    [
        pytest.param("libnvidia-ml-that-is-not-there.so.1", id="absent"),
        pytest.param("libc.so.6", id="not NVML"),
    ],
)
def test_machine_without_the_library_has_no_sensors(library: str) -> None:
    assert nvml.Sensors.of("00000000:00:00.0", library) is None
