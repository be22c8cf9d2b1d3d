"""The processor's sensors, read from trees of files as the kernel documents them."""

import os
from collections.abc import Mapping
from pathlib import Path

from everforge.model.evaluation import DeviceReading
from everforge.runners.devices import cpu_sensors
from everforge.runners.devices.cpu import CpuDevice

CPU = "sys/devices/system/cpu"
CPUINFO = "".join(f"processor\t: {cpu}\ncpu MHz\t\t: {2000.5 + 1000 * cpu}\n\n" for cpu in range(3))


def plant(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_clock_is_the_mean_of_the_processors_in_use(tmp_path: Path) -> None:
    clocks = {0: 3_000_000, 1: 4_000_000, 2: 800_000}
    plant(tmp_path, {f"{CPU}/cpu{cpu}/cpufreq/scaling_cur_freq": f"{khz}\n" for cpu, khz in clocks.items()})
    assert cpu_sensors.clock_mhz(tmp_path, {0, 1}) == 3500.0


def test_clock_of_a_virtual_machine_comes_from_cpuinfo(tmp_path: Path) -> None:
    assert cpu_sensors.clock_mhz(plant(tmp_path, {"proc/cpuinfo": CPUINFO}), {0, 2}) == 3000.5


def test_temperature_is_that_of_the_hottest_processor_sensor(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {
            "sys/class/thermal/thermal_zone0/type": "acpitz\n",
            "sys/class/thermal/thermal_zone0/temp": "90000\n",
            "sys/class/thermal/thermal_zone1/type": "x86_pkg_temp\n",
            "sys/class/thermal/thermal_zone1/temp": "61000\n",
            "sys/class/hwmon/hwmon0/name": "nvme\n",
            "sys/class/hwmon/hwmon0/temp1_input": "95000\n",
            "sys/class/hwmon/hwmon1/name": "k10temp\n",
            "sys/class/hwmon/hwmon1/temp1_input": "64250\n",
        },
    )
    assert cpu_sensors.temperature_c(tmp_path) == 64.25


def test_energy_is_the_sum_of_the_packages_without_their_parts(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {
            "sys/class/powercap/intel-rapl:0/energy_uj": "7000\n",
            "sys/class/powercap/intel-rapl:0:0/energy_uj": "5000\n",
            "sys/class/powercap/intel-rapl:1/energy_uj": "300\n",
        },
    )
    assert cpu_sensors.energy_uj(tmp_path) == 7300


def test_machine_that_shows_nothing_reads_as_nothing(tmp_path: Path) -> None:
    assert CpuDevice(tmp_path).reading() == DeviceReading()


def test_throttling_is_told_once_when_its_count_rises(tmp_path: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    counter = f"{CPU}/cpu{cpu}/thermal_throttle/core_throttle_count"
    device = CpuDevice(plant(tmp_path, {counter: "41\n"}))
    first = device.reading()
    plant(tmp_path, {counter: "42\n"})
    second, third = device.reading(), device.reading()
    assert first.throttled_by == ()  # the count since the machine was started says nothing about now
    assert second.throttled_by == ("core_thermal",)
    assert third.throttled_by == ()


def test_real_processor_is_read_without_error() -> None:
    reading = CpuDevice().reading()
    assert reading.clock_mhz is None or reading.clock_mhz > 100
    assert reading.temperature_c is None or -20 < reading.temperature_c < 130
