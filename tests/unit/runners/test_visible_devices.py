"""Which device of its kind a runner shows itself, and what it then says of the device."""

import pytest

from everforge.model.device import DeviceKind
from everforge.runners.devices import device_of
from everforge.runners.devices.visible import only_device
from everforge.runners.environment import environment_of


@pytest.mark.parametrize(
    ("shown", "index", "cuda"),
    [
        pytest.param(None, 1, "1", id="all shown"),
        pytest.param("2,3", 1, "3", id="the second of those shown"),
        pytest.param(" GPU-5a , GPU-7b ", 1, "GPU-7b", id="by UUID"),
        pytest.param("2,3", 0, "2", id="the first of those shown"),
        pytest.param("2", 1, "-1", id="too few shown"),
        pytest.param("", 0, "-1", id="none shown"),
    ],
)
def test_one_of_the_visible_devices_is_left(shown: str | None, index: int, cuda: str) -> None:
    environment = {} if shown is None else {"CUDA_VISIBLE_DEVICES": shown}
    assert only_device(environment, index) == {"CUDA_VISIBLE_DEVICES": cuda, "ZE_AFFINITY_MASK": str(index)}


def test_intels_mask_is_respected_too() -> None:
    assert only_device({"ZE_AFFINITY_MASK": "0.1,1.0"}, 1)["ZE_AFFINITY_MASK"] == "1.0"


def test_processors_are_one_device_whichever_was_asked_for() -> None:
    environment = environment_of(device_of(DeviceKind.CPU), (), device_index=1)
    assert (environment.device_count, environment.device_index) == (1, 0)


def test_processor_has_no_graphs_to_replay() -> None:
    assert device_of(DeviceKind.CPU).replay_us(lambda: None, lambda: None, iterations=3) is None
