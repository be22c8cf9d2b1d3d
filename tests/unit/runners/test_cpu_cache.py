"""The cache a timed call must find cold is all of the last level that the process can use."""

from pathlib import Path

import pytest

from everforge.model.device import DeviceKind
from everforge.runners.devices import device_of
from everforge.runners.devices.cpu import last_level_bytes


def cache(processors: Path, number: int, level: int, size: str, sharers: str) -> None:
    directory = processors / f"cpu{number}" / "cache" / f"index{level}"
    directory.mkdir(parents=True)
    for name, text in (("level", str(level)), ("size", size), ("shared_cpu_list", sharers)):
        (directory / name).write_text(text + "\n")


@pytest.fixture
def chiplets(tmp_path: Path) -> Path:
    """Four processors, two to a chiplet, as sysfs shows them."""
    for number in range(4):
        cache(tmp_path, number, 2, "1024K", str(number))
        cache(tmp_path, number, 3, "32M", "0-1" if number < 2 else "2-3")
    return tmp_path


def test_every_chiplet_in_use_counts_once(chiplets: Path) -> None:
    assert last_level_bytes(chiplets, range(4)) == 64 << 20
    assert last_level_bytes(chiplets, [0, 1]) == 32 << 20


def test_hidden_caches_are_unknown(tmp_path: Path) -> None:
    assert last_level_bytes(tmp_path, range(4)) is None


def test_this_machine_has_a_cache() -> None:
    assert device_of(DeviceKind.CPU).cache_bytes() >= 1 << 20
