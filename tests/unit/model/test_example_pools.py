"""The pools that users are shown validate against the model that the CustomResourceDefinition is made from."""

from pathlib import Path

import pytest
import yaml

from everforge.model.device_pool import DevicePool

POOLS = sorted((Path(__file__).parents[3] / "examples" / "pools").glob("*.yaml"))


@pytest.mark.parametrize("path", POOLS, ids=[path.stem for path in POOLS])
def test_example_is_a_pool_named_as_its_file(path: Path) -> None:
    pool = DevicePool.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    assert pool.metadata.name == path.stem


def test_there_is_one_with_devices_and_one_without() -> None:
    assert len(POOLS) == 2
