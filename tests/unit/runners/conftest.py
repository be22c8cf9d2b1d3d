"""A warm process, and sessions on small tasks: what every test of the runner stands on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from everforge.model.device import DeviceKind, Environment, Peaks
from everforge.model.precision import Precision
from everforge.runners.devices import device_of
from everforge.runners.environment import environment_of
from everforge.runners.nursery import Nursery


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """One warm process for all tests."""
    root = tmp_path_factory.mktemp("nursery")
    for directory in (root, *root.parents):  # workers' users must be able to reach their own directories
        if directory.stat().st_uid == Path.home().stat().st_uid and directory != Path("/"):
            directory.chmod(directory.stat().st_mode | 0o011)
    nursery = Nursery(root)
    yield nursery
    nursery.close()


@pytest.fixture(scope="session")
def environment(nursery: Nursery) -> Environment:
    return environment_of(device_of(DeviceKind.CPU), nursery.layers)


@pytest.fixture(scope="session")
def peaks() -> Peaks:
    """Round numbers: what the ceilings really are is the device's own test."""
    return Peaks(bandwidth_bytes_per_s=1e10, flops_per_s={Precision.FP32: 1e11})
