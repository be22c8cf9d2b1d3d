"""What two readings of a device's sensors say about the time between them."""

import pytest

from everforge.model.evaluation import DeviceReading
from everforge.runners.devices.throttling import throttling_note


def at(clock_mhz: float | None = 1980.0, *reasons: str) -> DeviceReading:
    return DeviceReading(clock_mhz=clock_mhz, throttled_by=reasons)


@pytest.mark.parametrize(
    "reason",
    [
        *("power_cap", "thermal_software", "thermal_hardware", "hardware_slowdown", "power_brake"),  # NVML
        *("pl1", "pl2", "pl4", "prochot", "ratl", "vr_tdc", "vr_thermalert", "soc_thermal", "iccmax"),  # xe, i915
        *("core_thermal", "package_thermal"),  # x86
    ],
)
def test_reason_of_heat_or_power_is_told(reason: str) -> None:
    note = throttling_note(at(), at(1980.0, reason))
    assert note is not None
    assert reason in note


@pytest.mark.parametrize("reason", ["idle", "application_clocks", "sync_boost", "display_clocks", "p0_freq"])
def test_reason_that_is_a_setting_or_rest_is_no_throttling(reason: str) -> None:
    assert throttling_note(at(1980.0, reason), at(1980.0, reason)) is None


def test_reason_seen_before_and_after_is_told_once() -> None:
    note = throttling_note(at(1980.0, "power_cap"), at(1980.0, "power_cap"))
    assert note is not None
    assert note.count("power_cap") == 1


def test_clock_that_fell_by_more_than_a_tenth_is_told_with_both_values() -> None:
    note = throttling_note(at(2000.0), at(1790.0))
    assert note is not None
    assert "2000" in note
    assert "1790" in note


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(at(2000.0), at(1800.0), id="a tenth"),
        pytest.param(at(1500.0), at(2000.0), id="rise"),
        pytest.param(at(2000.0), at(345.0, "idle"), id="at rest again"),
        pytest.param(at(None), at(1000.0), id="unknown before"),
        pytest.param(at(1000.0), at(None), id="unknown after"),
        pytest.param(DeviceReading(), DeviceReading(), id="device without sensors"),
    ],
)
def test_nothing_is_told_where_nothing_was_held_down(before: DeviceReading, after: DeviceReading) -> None:
    assert throttling_note(before, after) is None
