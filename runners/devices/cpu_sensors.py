"""The sensors of the host's processor, as Linux shows them below /sys and /proc.

Functions over a root directory, so that they can be tested on trees in the kernel's documented form;
`devices/cpu.py` asks. What a machine does not show (virtual ones show little) is None.

Sources, in the Linux kernel's documentation: `admin-guide/pm/cpufreq` (scaling_cur_freq, in kHz),
`ABI/testing/sysfs-class-thermal` and `hwmon/sysfs-interface` (thousandths of a degree),
`power/powercap/powercap` (energy_uj), `ABI/testing/sysfs-devices-system-cpu` (thermal_throttle/).
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from statistics import fmean

from everforge.runners.devices.sysfs_sensors import number_in, text_in

ROOT = Path("/")
_CPUS = "sys/devices/system/cpu"
_THERMAL_ZONES = ("x86_pkg_temp", "cpu-thermal", "cpu_thermal")
_MONITORS = ("coretemp", "k10temp", "zenpower")
_COUNTERS = {"core_throttle_count": "core_thermal", "package_throttle_count": "package_thermal"}


def clock_mhz(root: Path, cpus: Collection[int]) -> float | None:
    """Mean clock of these processors."""
    kilohertz = [number_in(root / _CPUS / f"cpu{cpu}/cpufreq/scaling_cur_freq") for cpu in sorted(cpus)]
    known = [value / 1000 for value in kilohertz if value is not None] or _listed_mhz(root, cpus)
    return fmean(known) if known else None


def temperature_c(root: Path) -> float | None:
    """The hottest of the processor's own sensors."""
    files = [
        *(zone / "temp" for zone in _named(root / "sys/class/thermal", "thermal_zone*", "type", _THERMAL_ZONES)),
        *(
            sensor
            for monitor in _named(root / "sys/class/hwmon", "hwmon*", "name", _MONITORS)
            for sensor in monitor.glob("temp*_input")
        ),
    ]
    thousandths = [value for value in map(number_in, files) if value is not None]
    return max(thousandths) / 1000 if thousandths else None


def energy_uj(root: Path) -> int | None:
    """Energy all processor packages used, in microjoules; only root may read it on most systems."""
    packages = [number_in(zone / "energy_uj") for zone in (root / "sys/class/powercap").glob("intel-rapl:[0-9]")]
    known = [value for value in packages if value is not None]
    return sum(known) if known else None


def throttle_counts(root: Path, cpus: Collection[int]) -> dict[str, int]:
    """How often heat has held down each processor, by reason; empty where the kernel does not count it."""
    counts: dict[str, int] = {}
    for file, reason in _COUNTERS.items():
        told = [number_in(root / _CPUS / f"cpu{cpu}/thermal_throttle/{file}") for cpu in cpus]
        known = [value for value in told if value is not None]
        if known:
            counts[reason] = sum(known)
    return counts


def grown(before: Mapping[str, int], after: Mapping[str, int]) -> tuple[str, ...]:
    """The reasons whose counts are higher than they were."""
    return tuple(sorted(reason for reason, count in after.items() if count > before.get(reason, count)))


def _listed_mhz(root: Path, cpus: Collection[int]) -> list[float]:
    """Clocks from /proc/cpuinfo, which virtual machines fill in too; its processors are in order."""
    lines = (text_in(root / "proc/cpuinfo") or "").splitlines()
    clocks = [line.partition(":")[2] for line in lines if line.startswith("cpu MHz")]
    return [float(clock) for cpu, clock in enumerate(clocks) if cpu in cpus]


def _named(directory: Path, pattern: str, file: str, names: Collection[str]) -> list[Path]:
    return [path for path in sorted(directory.glob(pattern)) if text_in(path / file) in names]
