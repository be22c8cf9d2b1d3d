"""Profiles taken on a real NVIDIA GPU: the torch profiler's timeline, and the driver's counts of a Triton kernel."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from everforge.model.device import DeviceKind
from everforge.model.kernel_profile import completed
from everforge.runners.profiles.torch_live import profile_calls
from everforge.runners.profiles.triton_metadata import of_compiled_kernels

pytestmark = pytest.mark.cuda

SCALE = """
import triton
import triton.language as tl

@triton.jit
def scale(x, out, size, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + index, tl.load(x + index, mask=index < size) * 2, mask=index < size)
"""
SIZE, BLOCK = 1 << 20, 1024


@pytest.fixture
def scale(tmp_path: Path) -> Iterator[Any]:
    """A Triton kernel from a file, as Triton needs its source."""
    (tmp_path / "scaling.py").write_text(SCALE)
    spec = importlib.util.spec_from_file_location("scaling", tmp_path / "scaling.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["scaling"] = module
    spec.loader.exec_module(module)
    yield module.scale
    del sys.modules["scaling"]


def test_timeline_of_calls_has_their_kernels_with_resources_and_the_gaps_between() -> None:
    x = torch.rand(1024, 1024, device="cuda")
    profile = profile_calls(lambda: torch.softmax(x @ x, dim=-1), DeviceKind.CUDA, calls=4)
    assert profile.device is DeviceKind.CUDA
    assert profile.device_name == torch.cuda.get_device_name()
    assert sum(kernel.share or 0 for kernel in profile.kernels) == pytest.approx(1)
    hottest = profile.hottest
    assert hottest is not None
    assert hottest.launches == 4
    assert None not in (hottest.registers_per_thread, hottest.blocks, hottest.threads_per_block)
    assert profile.host_gaps is not None
    assert profile.host_gaps.idle_us <= profile.host_gaps.span_us


def test_device_that_waits_for_the_host_has_gaps_and_a_busy_one_has_few() -> None:
    x = torch.rand(2048, 2048, device="cuda")

    def waiting() -> float:
        return float((x @ x).sum())  # a synchronisation in each call

    def busy() -> None:
        for _ in range(20):
            torch.mm(x, x)

    shares = [profile_calls(call, DeviceKind.CUDA).host_gaps for call in (waiting, busy)]
    assert shares[0] is not None
    assert shares[1] is not None
    assert shares[0].idle_share > shares[1].idle_share


def test_driver_and_machine_code_agree_on_a_loaded_kernel(scale: Any) -> None:
    x = torch.rand(SIZE, device="cuda")
    out = torch.empty_like(x)
    grid = (SIZE // BLOCK,)
    compiled = scale[grid](x, out, SIZE, BLOCK=BLOCK, num_warps=4)
    made = of_compiled_kernels([compiled])
    timed = profile_calls(lambda: scale[grid](x, out, SIZE, BLOCK=BLOCK, num_warps=4), DeviceKind.CUDA)
    kernel = next(kernel for kernel in completed(timed, made).kernels if kernel.name == "scale")
    assert made.kernels[0].registers_per_thread == kernel.registers_per_thread  # Kineto's count of the same launch
    assert (kernel.spilled_bytes, kernel.threads_per_block, kernel.blocks) == (0, 128, SIZE // BLOCK)
    assert kernel.time_us
