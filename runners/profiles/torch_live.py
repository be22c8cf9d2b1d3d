"""The torch profiler around calls of a candidate, read without a file in between.

For a device without its vendor's profiler: the timeline gives kernels and gaps, `key_averages` the operators' FLOPs.
"""

import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from everforge.errors import UsageError
from everforge.model.device import DeviceKind
from everforge.model.kernel_profile import KernelProfile, Profile, ProfileTool, completed, ranked
from everforge.runners.profiles.export_text import read_export
from everforge.runners.profiles.torch_trace import read_torch_trace

Call = Callable[[], object]

_ON_DEVICE = {DeviceKind.CUDA: DeviceType.CUDA, DeviceKind.XPU: DeviceType.XPU}
_STEP = "ProfilerStep"


def profile_calls(call: Call, device: DeviceKind, calls: int = 5, warm_ups: int = 2) -> Profile:
    """Profile `calls` calls one after the other, after some that are not looked at, which build and fill caches.

    Raises UsageError where nothing ran on the device.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # read at its first use: no word of devices that are not there
    activities = [ProfilerActivity.CPU]
    if device is not DeviceKind.CPU:
        activities.append(getattr(ProfilerActivity, device.name))
    for _ in range(warm_ups):
        call()
    _wait(device)
    with profile(activities=activities, with_flops=True, acc_events=True) as profiler:
        for _ in range(calls):
            call()
        _wait(device)
    averages = of_key_averages(profiler.key_averages(), device)
    return completed(_of_timeline(profiler, device), averages)


def of_key_averages(averages: Iterable[Any], device: DeviceKind) -> Profile:
    """The rows of `profiler.key_averages()`: kernels of the device, or operators with their own time on a CPU.

    Raises UsageError where there are none.
    """
    wanted = _ON_DEVICE.get(device, DeviceType.CPU)
    rows = [row for row in averages if row.device_type == wanted and not _is_annotation(row)]
    kernels = ranked(_kernel(row, device) for row in rows if row.count)
    if not kernels:
        raise UsageError(f"the torch profiler saw nothing on {device}; call the candidate inside it, on that device")
    return Profile(
        tool=ProfileTool.TORCH_PROFILER,
        device=device,
        kernels=kernels,
        sources={"time_us": "self time of key_averages", "flops_per_s": "flops of key_averages over self time"},
        notes=("no hardware counters: bytes, cache hits and stalls need the vendor's profiler",),
    )


def _is_annotation(row: Any) -> bool:
    return bool(row.is_user_annotation) or row.key.startswith(_STEP)


def _kernel(row: Any, device: DeviceKind) -> KernelProfile:
    time_us = row.self_cpu_time_total if device is DeviceKind.CPU else row.self_device_time_total
    seconds = max(0.0, time_us) / 1e6
    return KernelProfile(
        name=row.key,
        launches=row.count,
        time_us=max(0.0, time_us),
        flops_per_s=row.flops / seconds if row.flops and seconds > 0 else None,
    )


def _of_timeline(profiler: Any, device: DeviceKind) -> Profile:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        timeline = read_torch_trace(read_export(path))
    if timeline.device is not device:
        raise UsageError(f"the torch profiler saw nothing on {device}; call the candidate on that device")
    return timeline


def _wait(device: DeviceKind) -> None:
    if device is not DeviceKind.CPU:
        getattr(torch, device.value).synchronize()
