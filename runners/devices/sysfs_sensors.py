"""The sensors of an Intel GPU as the kernel's xe and i915 drivers show them below /sys.

Pure functions over a directory, so that they can be tested on trees in the drivers' documented form; they have
not been run on Intel hardware. `devices/xpu.py` asks. What a driver does not show is None.

Sources, all in the Linux kernel's documentation or its drivers' headers: `gpu/xe/xe_gt_freq` (act_freq and
throttle/), `ABI/testing/sysfs-driver-intel-xe-hwmon`, `ABI/testing/sysfs-driver-intel-i915-hwmon`,
`drivers/gpu/drm/i915/gt/intel_gt_sysfs_pm.c`; for the UUID, Intel's compute-runtime, `generateUuidFromPciBusInfo`.
"""

import struct
from pathlib import Path

from everforge.model.evaluation import DeviceReading

DRM = Path("/sys/class/drm")
_INTEL = 0x8086


def number_in(path: Path) -> int | None:
    """The number a file of /sys holds, hexadecimal ones included; None if it is not there or may not be read."""
    try:
        return int(path.read_text(encoding="ascii"), 0)
    except (OSError, ValueError):
        return None


def text_in(path: Path) -> str | None:
    """The text a file of /sys holds, without the line's end; None if it is not there or may not be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def intel_card(drm: Path, device_id: int, uuid: bytes) -> Path | None:
    """The card below `drm` that is the GPU with this PCI device id; of several alike the one its UUID names.

    None if there is none, or if the UUID does not tell which of several it is.
    """
    cards = [card for card in sorted(drm.glob("card*")) if _is_device(card, device_id)]
    if len(cards) == 1:
        return cards[0]
    address = _address_in(uuid)
    return next((card for card in cards if (card / "device").resolve().name == address), None)


def intel_reading(card: Path, power_w: float | None = None) -> DeviceReading:
    """The sensors of a card; its power comes from `intel_energy_uj` and an EnergyMeter."""
    return DeviceReading(
        clock_mhz=_clock_mhz(card), temperature_c=_temperature_c(card), power_w=power_w, throttled_by=_reasons(card)
    )


def intel_energy_uj(card: Path) -> int | None:
    """Energy the card used since its driver was loaded, in microjoules; the package's where the card's is hidden."""
    for counter in ("energy1_input", "energy2_input"):
        for sensors in _monitors(card):
            if (energy_uj := number_in(sensors / counter)) is not None:
                return energy_uj
    return None


def _is_device(card: Path, device_id: int) -> bool:
    # `card0-DP-1` and the like are outputs of a card and have no vendor.
    return number_in(card / "device/vendor") == _INTEL and number_in(card / "device/device") == device_id


def _address_in(uuid: bytes) -> str | None:
    """The PCI address in an Intel GPU's UUID: vendor, device, revision and domain in 16 bits, then bus, device,
    function in 8 each, little end first. None for a UUID of another form, such as a chip's serial number."""
    if len(uuid) != 16:
        return None
    vendor, _, _, domain, bus, device, function = struct.unpack_from("<HHHHBBB", uuid)
    return f"{domain:04x}:{bus:02x}:{device:02x}.{function:x}" if vendor == _INTEL else None


def _clock_mhz(card: Path) -> int | None:
    """The actual clock of the first tile's main GT; None while it sleeps, when the drivers show 0."""
    files = ("device/tile0/gt0/freq0/act_freq", "gt/gt0/rps_act_freq_mhz", "gt_act_freq_mhz")
    clocks = (number_in(card / file) for file in files)
    return next((clock for clock in clocks if clock is not None), None) or None


def _reasons(card: Path) -> tuple[str, ...]:
    """Why the clock is held down, in the drivers' words: pl1 (sustained power), pl2, pl4, thermal, prochot, …"""
    xe = [(path, "reason_") for path in card.glob("device/tile0/gt0/freq0/throttle/reason_*")]
    i915 = [(path, "throttle_reason_") for path in card.glob("gt/gt0/throttle_reason_*")]
    set_now = {path.name.removeprefix(prefix) for path, prefix in xe + i915 if number_in(path)}
    return tuple(sorted(set_now - {"status"}))


def _temperature_c(card: Path) -> float | None:
    """The package's temperature: the second sensor of xe, the first of i915; files hold thousandths of a degree."""
    for sensors in _monitors(card):
        file = "temp2_input" if text_in(sensors / "name") == "xe" else "temp1_input"
        if (thousandths := number_in(sensors / file)) is not None:
            return thousandths / 1000
    return None


def _monitors(card: Path) -> list[Path]:
    """Directories of the card's own sensors; i915 has others for each GT, named i915_gt0 and so on."""
    found = sorted((card / "device/hwmon").glob("hwmon*"))
    return [sensors for sensors in found if text_in(sensors / "name") in ("xe", "i915")]
