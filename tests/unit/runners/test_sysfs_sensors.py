"""Intel GPUs' sensors, read from trees of files as the kernel documents them for its xe and i915 drivers."""

import struct
from collections.abc import Mapping
from pathlib import Path

import pytest

from everforge.model.evaluation import DeviceReading
from everforge.runners.devices.energy import EnergyMeter
from everforge.runners.devices.sysfs_sensors import intel_card, intel_energy_uj, intel_reading

B580 = 0xE20B
XE = {
    "device/tile0/gt0/freq0/act_freq": "2850\n",
    "device/tile0/gt0/freq0/throttle/status": "1\n",
    "device/tile0/gt0/freq0/throttle/reason_pl1": "1\n",
    "device/tile0/gt0/freq0/throttle/reason_pl2": "0\n",
    "device/tile0/gt0/freq0/throttle/reason_thermal": "1\n",
    "device/tile0/gt1/freq0/act_freq": "1300\n",
    "device/hwmon/hwmon3/name": "xe\n",
    "device/hwmon/hwmon3/temp2_input": "61000\n",
    "device/hwmon/hwmon3/temp3_input": "72000\n",
    "device/hwmon/hwmon3/energy1_input": "5000000\n",
    "device/hwmon/hwmon3/energy2_input": "4000000\n",
}
I915 = {
    "gt/gt0/rps_act_freq_mhz": "2400\n",
    "gt/gt0/throttle_reason_status": "1\n",
    "gt/gt0/throttle_reason_prochot": "1\n",
    "gt/gt0/throttle_reason_pl4": "0\n",
    "device/hwmon/hwmon2/name": "i915\n",
    "device/hwmon/hwmon2/temp1_input": "54000\n",
    "device/hwmon/hwmon2/energy1_input": "9000000\n",
    "device/hwmon/hwmon1/name": "i915_gt0\n",
    "device/hwmon/hwmon1/energy1_input": "7\n",
}


def plant(card: Path, files: Mapping[str, str], device_id: int = B580, address: str = "0000:03:00.0") -> Path:
    """A card of /sys/class/drm: `device` is a link to the directory of its PCI address."""
    place = card.parent.parent / "devices" / address
    place.mkdir(parents=True)
    card.mkdir(parents=True)
    (card / "device").symlink_to(place)
    for name, text in {"device/vendor": "0x8086\n", "device/device": f"{device_id:#06x}\n", **files}.items():
        (card / name).parent.mkdir(parents=True, exist_ok=True)
        (card / name).write_text(text)
    return card


@pytest.fixture
def drm(tmp_path: Path) -> Path:
    return tmp_path / "drm"


def uuid_of(domain: int, bus: int, vendor: int = 0x8086) -> bytes:
    return struct.pack("<HHHHBBB4xB", vendor, B580, 0, domain, bus, 0, 0, 0)


def test_xe_card_is_read_from_its_main_gt_and_its_package_sensor(drm: Path) -> None:
    assert intel_reading(plant(drm / "card0", XE), power_w=120.5) == DeviceReading(
        clock_mhz=2850, temperature_c=61.0, power_w=120.5, throttled_by=("pl1", "thermal")
    )


def test_i915_card_is_read_from_its_gt_and_the_cards_own_monitor(drm: Path) -> None:
    card = plant(drm / "card0", I915)
    assert intel_reading(card) == DeviceReading(clock_mhz=2400, temperature_c=54.0, throttled_by=("prochot",))
    assert intel_energy_uj(card) == 9_000_000


def test_older_i915_tells_its_clock_in_the_cards_directory(drm: Path) -> None:
    assert intel_reading(plant(drm / "card0", {"gt_act_freq_mhz": "1150\n"})).clock_mhz == 1150


def test_sleeping_gt_has_no_clock(drm: Path) -> None:
    assert intel_reading(plant(drm / "card0", XE | {"device/tile0/gt0/freq0/act_freq": "0\n"})).clock_mhz is None


def test_card_that_shows_nothing_reads_as_nothing(drm: Path) -> None:
    card = plant(drm / "card0", {})
    assert intel_reading(card) == DeviceReading()
    assert intel_energy_uj(card) is None


def test_file_without_a_number_reads_as_nothing(drm: Path) -> None:
    card = plant(drm / "card0", XE | {"device/tile0/gt0/freq0/act_freq": "unknown\n"})
    assert intel_reading(card).clock_mhz is None


def test_packages_energy_stands_in_where_the_cards_is_hidden(drm: Path) -> None:
    card = plant(drm / "card0", {name: text for name, text in XE.items() if not name.endswith("energy1_input")})
    assert intel_energy_uj(card) == 4_000_000


def test_card_is_found_by_its_device_id_among_other_cards_and_outputs(drm: Path) -> None:
    plant(drm / "card0", {}, device_id=0xA780, address="0000:00:02.0")
    wanted = plant(drm / "card1", XE)
    (drm / "card1-DP-1").mkdir()
    assert intel_card(drm, B580, uuid=b"") == wanted
    assert intel_card(drm, 0x56A0, uuid=b"") is None


def test_cards_alike_are_told_apart_by_the_address_in_the_uuid(drm: Path) -> None:
    plant(drm / "card0", XE, address="0000:03:00.0")
    second = plant(drm / "card1", XE, address="0001:c1:00.0")
    assert intel_card(drm, B580, uuid_of(domain=1, bus=0xC1)) == second


@pytest.mark.parametrize("uuid", [b"", uuid_of(0, 3, vendor=0x1234), uuid_of(0, 9)], ids=["none", "serial", "strange"])
def test_cards_alike_are_not_guessed_between(drm: Path, uuid: bytes) -> None:
    plant(drm / "card0", XE, address="0000:03:00.0")
    plant(drm / "card1", XE, address="0000:c1:00.0")
    assert intel_card(drm, B580, uuid) is None


def test_power_is_the_energy_between_two_looks_over_their_distance() -> None:
    meter = EnergyMeter()
    assert meter.power_w(1_000_000, now_s=10.0) is None
    assert meter.power_w(301_000_000, now_s=12.0) == 150.0


@pytest.mark.parametrize(
    ("energy_uj", "now_s"),
    [
        pytest.param(None, 12.0, id="hidden"),
        pytest.param(5, 12.0, id="began anew"),
        pytest.param(10**9, 10.0, id="no time"),
    ],
)
def test_power_is_unknown_without_two_looks_at_a_rising_counter(energy_uj: int | None, now_s: float) -> None:
    meter = EnergyMeter()
    meter.power_w(1_000_000, now_s=10.0)
    assert meter.power_w(energy_uj, now_s) is None
