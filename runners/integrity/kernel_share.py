"""The share of device time a candidate's own kernels take. Used by `coverage.py` inside the candidate's process.

On a GPU torch's profiler sees every kernel the device runs. Its hooks into the driver stay loaded once they were
used, so this is measured after everything that is timed.
"""

import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch._C._autograd import DeviceType
from torch.autograd.profiler_legacy import profile as host_profile

from everforge.model.device import DeviceKind
from everforge.runners.devices.base import Device
from everforge.runners.integrity.launches import Launch, intercepted
from everforge.runners.integrity.own_kernels import find_own_kernels, name_of

Call = Callable[[], object]

_SPAN = "everforge launch of "
_CALL = "everforge call"


def share_of_time(call: Call, device: Device) -> float | None:
    """The share of device time spent in own kernels during one call, from 0 to 1; None if it cannot be told.

    On a GPU: time of the kernels that own launches launched, or that are named like own Triton kernels, over the
    time of all kernels and copies. A graph launches without Python, so in one only Triton's are known.
    On the CPU: time inside own launches, less that of PyTorch's operators in them, over the time of the call.
    It takes 40 ms beside the call on a CPU.
    """
    with _quiet():
        return _host_share(call) if device.kind is DeviceKind.CPU else _device_share(call, device)


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing of the profiler's own in the candidate's output: its warnings are about uses that are not made here."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # read once, when the profiler is first used
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _marked(launch: Launch) -> Any:
    with torch.profiler.record_function(_SPAN + launch.kernel):
        return launch.run()


def names_on_host(call: Call) -> list[str]:
    """The names of all that PyTorch's dispatcher ran during a call, operators of extensions included."""
    with _quiet():
        return [event.name for event in _host_events(call)]


def _host_events(call: Call) -> list[Any]:
    # The profiler of the CPU alone starts in 1 ms; the one for devices looks for them first, for 0.6 s.
    with host_profile() as profile:  # type: ignore[no-untyped-call]
        call()
    return list(profile.function_events or ())


def _host_share(call: Call) -> float | None:
    def whole() -> None:
        with torch.profiler.record_function(_CALL):
            call()

    with intercepted(_marked):
        events = _host_events(whole)
    whole_us = sum(event.cpu_time_total for event in events if event.name == _CALL)
    own_us = sum(event.self_cpu_time_total for event in events if _is_own_on_host(event))
    return _fraction(own_us, whole_us)


def _is_own_on_host(event: Any) -> bool:
    """Whether an event is an own launch, or something other than an operator of PyTorch's inside one."""
    while event is not None and not event.name.startswith("aten::"):
        if event.name.startswith(_SPAN):
            return True
        event = event.cpu_parent
    return False


def _device_share(call: Call, device: Device) -> float | None:
    activities = [torch.profiler.ProfilerActivity.CPU, getattr(torch.profiler.ProfilerActivity, device.kind.name)]
    triton = {name_of(kernel) for kernel in find_own_kernels().triton}
    device.synchronize()
    with intercepted(_marked) as watch, torch.profiler.profile(activities=activities, acc_events=True) as profile:
        call()
        device.synchronize()
    return share_of_events(profile.events() or (), triton, replayed=watch.graph_replays > 0)


def share_of_events(events: Iterable[Any], triton: set[str], *, replayed: bool) -> float | None:
    """The share of a device's time in own kernels, from the profiler's events (`torch.autograd.profiler_util`).

    `triton` are the names of own Triton kernels. None if the device did nothing, and if a graph was `replayed`
    in which no own kernel can be told from others.
    """
    on_device = [event for event in events if event.device_type != DeviceType.CPU]
    # A marked launch appears once more on the device, over the kernels it launched.
    marks = [event.time_range for event in on_device if event.name.startswith(_SPAN)]
    kernels = [event for event in on_device if not event.is_user_annotation and not event.name.startswith(_SPAN)]
    own = [event for event in kernels if event.name in triton or _is_within(event.time_range, marks)]
    own_us, whole_us = (sum(event.time_range.elapsed_us() for event in part) for part in (own, kernels))
    return None if replayed and not own_us else _fraction(own_us, whole_us)


def _is_within(time_range: Any, marks: Iterable[Any]) -> bool:
    middle = (time_range.start + time_range.end) / 2
    return any(mark.start <= middle <= mark.end for mark in marks)


def _fraction(part: float, whole: float) -> float | None:
    return min(max(part / whole, 0.0), 1.0) if whole > 0 else None
