"""Profiles that no file carries: the torch profiler around real calls, and what Triton's compiler says of a kernel."""

import importlib.util
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from everforge.errors import UsageError
from everforge.model.device import DeviceKind
from everforge.model.kernel_profile import KernelProfile, Profile, ProfileTool, completed
from everforge.runners.profiles.torch_live import of_key_averages, profile_calls
from everforge.runners.profiles.triton_metadata import of_compiled_kernels

COPY = """
import triton
import triton.language as tl

@triton.jit
def copy(x, out, size, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + index, tl.load(x + index, mask=index < size), mask=index < size)

@triton.jit
def product(x, y, out, SIZE: tl.constexpr):
    row = tl.arange(0, SIZE)[:, None]
    column = tl.arange(0, SIZE)[None, :]
    tile = tl.dot(tl.load(x + row * SIZE + column), tl.load(y + row * SIZE + column))
    tl.store(out + row * SIZE + column, tile)
"""


@pytest.fixture(scope="module")
def on_cpu() -> Profile:
    """A product and a softmax, four times each."""
    left, right = torch.rand(96, 64), torch.rand(64, 128)
    return profile_calls(lambda: torch.softmax(left @ right, dim=-1), DeviceKind.CPU, calls=4)


def test_profile_of_calls_on_the_cpu_has_their_operators(on_cpu: Profile) -> None:
    kernels = {kernel.name: kernel for kernel in on_cpu.kernels}
    assert {"aten::mm", "aten::_softmax"} <= kernels.keys()
    assert kernels["aten::mm"].launches == 4
    assert (on_cpu.tool, on_cpu.device, on_cpu.host_gaps) == (ProfileTool.TORCH_PROFILER, DeviceKind.CPU, None)
    assert sum(kernel.share or 0 for kernel in on_cpu.kernels) == pytest.approx(1)


def test_flops_of_calls_are_those_of_the_products(on_cpu: Profile) -> None:
    mm = next(kernel for kernel in on_cpu.kernels if kernel.name == "aten::mm")
    softmax = next(kernel for kernel in on_cpu.kernels if kernel.name == "aten::_softmax")
    assert mm.flops_per_s is not None
    assert softmax.flops_per_s is None
    with torch.profiler.profile(with_flops=True, acc_events=True) as profiler:
        torch.rand(96, 64) @ torch.rand(64, 128)
    averages = of_key_averages(profiler.key_averages(), DeviceKind.CPU)
    mm = next(kernel for kernel in averages.kernels if kernel.name == "aten::mm")
    assert mm.flops_per_s is not None
    assert mm.time_us is not None
    assert mm.flops_per_s * mm.time_us / 1e6 == pytest.approx(2 * 96 * 64 * 128)


def test_profile_without_anything_on_the_device_is_refused() -> None:
    with torch.profiler.profile(acc_events=True) as profiler:
        torch.rand(4).sum()
    with pytest.raises(UsageError, match="saw nothing on cuda"):
        of_key_averages(profiler.key_averages(), DeviceKind.CUDA)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Any]]:
    """Two kernels compiled ahead for sm_90, as in the compile-ahead gate."""
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    folder = tmp_path_factory.mktemp("triton")
    path = folder / "kernels.py"
    path.write_text(COPY)
    spec = importlib.util.spec_from_file_location("kernels", path)
    assert spec is not None
    assert spec.loader is not None
    kernels = importlib.util.module_from_spec(spec)
    sys.modules["kernels"] = kernels
    spec.loader.exec_module(kernels)
    target = GPUTarget("cuda", 90, 32)
    pointers = {"x": "*fp32", "out": "*fp32"}
    copy = ASTSource(kernels.copy, {**pointers, "size": "i32", "BLOCK": "constexpr"}, {"BLOCK": 1024})
    product = ASTSource(
        kernels.product, {"x": "*fp16", "y": "*fp16", "out": "*fp32", "SIZE": "constexpr"}, {"SIZE": 64}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_CACHE_DIR", str(folder / "cache"))
        yield [
            triton.compile(copy, target=target, options={"num_warps": 8}),
            triton.compile(product, target=target, options={"num_warps": 4, "num_stages": 3}),
        ]
    del sys.modules["kernels"]


def test_compiler_tells_registers_spills_and_shared_memory_ahead_of_time(compiled: list[Any]) -> None:
    profile = of_compiled_kernels(compiled)
    copy, product = profile.kernels
    assert (copy.name, product.name) == ("copy", "product")
    assert (copy.threads_per_block, product.threads_per_block) == (256, 128)
    assert copy.shared_bytes == 0
    assert product.shared_bytes is not None
    assert product.shared_bytes >= 64 * 64 * 2  # an operand at least
    assert copy.registers_per_thread is not None
    assert 8 <= copy.registers_per_thread <= 64
    assert (copy.spilled_bytes, product.pipeline_stages) == (0, 3)
    assert copy.block_limits["warps"] == 8
    assert (profile.device, profile.device_name) == (DeviceKind.CUDA, "cuda 90")


def test_compiler_measures_no_times(compiled: list[Any]) -> None:
    for kernel in of_compiled_kernels(compiled).kernels:
        assert (kernel.time_us, kernel.share, kernel.launches, kernel.bytes_read) == (None, None, None, None)


def test_counts_of_the_driver_go_before_those_of_the_machine_code() -> None:
    target = SimpleNamespace(backend="cuda", arch=90, warp_size=32)
    metadata = SimpleNamespace(name="spilling", target=target, num_warps=16, shared=49152, num_stages=2)
    loaded = SimpleNamespace(metadata=metadata, asm={}, n_regs=128, n_spills=6)
    kernel = of_compiled_kernels([loaded]).kernels[0]
    assert (kernel.registers_per_thread, kernel.spilled_bytes) == (128, 24)
    # 128 registers for each of 512 threads are all of a multiprocessor's 65,536.
    assert kernel.block_limits == {"warps": 4, "registers": 1}


def test_of_several_specialisations_the_one_that_spills_counts() -> None:
    target = SimpleNamespace(backend="xpu", arch="xe2", warp_size=16)
    metadata = SimpleNamespace(name="k", target=target, num_warps=4, shared=0)
    made = [
        SimpleNamespace(metadata=metadata, asm={}, n_regs=regs, n_spills=n) for regs, n in ((96, 0), (64, 2), (64, 1))
    ]
    profile = of_compiled_kernels(made)
    assert [(kernel.registers_per_thread, kernel.spilled_bytes) for kernel in profile.kernels] == [(64, 8)]
    assert profile.device is DeviceKind.XPU


def test_timeline_is_completed_with_what_the_compiler_knows() -> None:
    timed = Profile(
        tool=ProfileTool.TORCH_PROFILER,
        device=DeviceKind.CUDA,
        kernels=(
            KernelProfile(name="copy", launches=2, time_us=8.0, share=0.8, registers_per_thread=20),
            KernelProfile(name="other", launches=1, time_us=2.0, share=0.2),
        ),
        sources={"registers_per_thread": "registers per thread"},
    )
    made = Profile(
        tool=ProfileTool.TRITON,
        device=DeviceKind.CUDA,
        kernels=(KernelProfile(name="copy", registers_per_thread=22, spilled_bytes=16),),
        sources={"registers_per_thread": "n_regs", "spilled_bytes": "n_spills"},
        notes=("no times",),
    )
    both = completed(timed, made)
    copy, other = both.kernels
    assert (copy.spilled_bytes, copy.registers_per_thread, copy.time_us) == (16, 20, 8.0)
    assert other.spilled_bytes is None
    assert both.sources == {"registers_per_thread": "registers per thread", "spilled_bytes": "triton: n_spills"}
    assert both.notes == ("triton: no times",)
