"""Calls captured in a device graph see the inputs that are loaded last, and each has an output of its own."""

from collections.abc import Callable
from typing import Any

import torch

from everforge.model.device import DeviceKind
from everforge.runners.clock.captured_calls import CapturedCalls
from everforge.runners.devices import device_of
from everforge.runners.devices.base import Call
from everforge.runners.tensors.mixing import Mix

SETS = [(torch.full((4,), 1.0),), (torch.full((4,), 2.0),)]
MASK = torch.full((4,), -1, dtype=torch.int32)


class Graphs:
    """Stands for a device with graphs: a captured call is called again."""

    def captured(self, call: Call) -> Call:
        call()
        return call


def captured(run: Callable[..., Any], flush: Call = lambda: None) -> CapturedCalls:
    return CapturedCalls(run, SETS, MASK, (0,), flush)


def test_replay_computes_on_the_inputs_loaded_last() -> None:
    flushed: list[int] = []
    calls = captured(lambda x: x * 10, lambda: flushed.append(1))
    device: Any = Graphs()
    assert calls.capture(device, 3)
    assert [result.tolist() for result in calls.results] == [[10.0] * 4] * 3
    calls.load(Mix(0, 1, 0))
    calls.replay(2)
    assert [result.tolist() for result in calls.results] == [[20.0] * 4] * 3
    assert len(flushed) == 3 + 2 * 3


def test_device_without_graphs_captures_nothing() -> None:
    assert not captured(lambda x: x).capture(device_of(DeviceKind.CPU), 3)
