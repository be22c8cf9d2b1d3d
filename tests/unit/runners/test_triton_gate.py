"""Compiling Triton candidates for a GPU that is not there, and running them in the interpreter."""

import importlib.util
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from everforge.model.check import GateReport
from everforge.model.verdict import Verdict
from everforge.runners.gate.triton_gate import CONFIGURATIONS_PER_KERNEL, Compilation, compile_ahead

pytest.importorskip("triton")
from triton.runtime.errors import PTXASError

HEAD = """\
import torch
import torch.nn as nn
import triton
import triton.language as tl
"""
ADD_KERNEL = """
@triton.jit
def add(x, y, out, size, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = index < size
    total = tl.load(x + index, mask=inside) + tl.load(y + index, mask=inside)
    tl.store(out + index, total, mask=inside)
"""
ADD_MODEL = """
class ModelNew(nn.Module):
    def forward(self, x, y):
        out = torch.empty_like(x)
        add[(triton.cdiv(x.numel(), 1024),)](x, y, out, x.numel(), BLOCK=1024)
        return out
"""

Shapes = tuple[tuple[int, ...], ...]


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., GateReport]:
    """Compiles a candidate's source ahead for sm_90, its forward called on inputs of the given shapes."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))

    def compile_source(source: str, *shapes: tuple[int, ...], dtype: torch.dtype = torch.float32) -> GateReport:
        def run_forward() -> Any:
            with torch.device("cuda"), torch.no_grad():
                model = imported(tmp_path, source).ModelNew()
                return model(*(torch.rand(shape).to(dtype) for shape in shapes))

        return compile_ahead(run_forward, "sm_90")

    return compile_source


def imported(folder: Path, source: str) -> Any:
    path = folder / "candidate.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location("candidate", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def line_of(source: str, text: str) -> int:
    return next(number for number, line in enumerate(source.splitlines(), start=1) if text in line)


def test_correct_kernel_compiles_and_its_registers_are_counted(gate: Callable[..., GateReport]) -> None:
    report = gate(HEAD + ADD_KERNEL + ADD_MODEL, (1000, 77), (1000, 77))
    assert report.verdict is None
    assert report.not_checked is None
    (kernel,) = report.kernels
    assert (kernel.name, kernel.config["BLOCK"], kernel.config["num_warps"]) == ("add", 1024, 4)
    assert 0 < (kernel.registers or 0) <= 255
    assert kernel.stack_bytes == 0
    assert kernel.compile_seconds > 0


def test_nothing_is_allocated_for_tensors_larger_than_memory(gate: Callable[..., GateReport]) -> None:
    report = gate(HEAD + ADD_KERNEL + ADD_MODEL, (1 << 20, 1 << 20), (1 << 20, 1 << 20))
    assert report.verdict is None
    assert [kernel.name for kernel in report.kernels] == ["add"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        pytest.param("total = tl.load(x + indez)", "indez", id="undefined-name"),
        pytest.param("total = tl.dot(tl.load(x + index), index)", "equal ranks", id="type-error"),
        pytest.param("total = tl.no_such_function(index)", "no_such_function", id="unknown-function"),
        pytest.param("tl.static_assert(BLOCK == 7, 'block is not seven')", "seven", id="static-assert"),
        pytest.param("total = tl.arange(0, BLOCK - 1)", "power of 2", id="not-a-power-of-two"),
    ],
)
def test_compile_error_names_the_line_in_the_file(gate: Callable[..., GateReport], wrong: str, says: str) -> None:
    source = HEAD + ADD_KERNEL.replace("    inside =", f"    {wrong}\n    inside =") + ADD_MODEL
    report = gate(source, (4096,), (4096,))
    assert report.verdict is Verdict.COMPILE_ERROR
    assert report.fault is not None
    assert report.fault.line == line_of(source, wrong)
    assert says in report.fault.message
    assert report.fault.message.startswith(f"line {report.fault.line}: ")


def test_compile_error_in_a_called_function_names_the_line_there(gate: Callable[..., GateReport]) -> None:
    helper = "\n@triton.jit\ndef twice(value):\n    return value * undefined_scale\n"
    kernel = ADD_KERNEL.replace("tl.load(x + index, mask=inside)", "twice(tl.load(x + index, mask=inside))")
    source = HEAD + helper + kernel + ADD_MODEL
    report = gate(source, (4096,), (4096,))
    assert report.fault is not None
    assert report.fault.line == line_of(source, "undefined_scale")


def test_compile_error_the_candidate_catches_is_reported_and_not_held_against_it(
    gate: Callable[..., GateReport],
) -> None:
    model = """
class ModelNew(nn.Module):
    def forward(self, x, y):
        out = torch.empty_like(x)
        try:
            broken[(1,)](x)
        except Exception:
            pass
        add[(1,)](x, y, out, x.numel(), BLOCK=1024)
        return out
"""
    broken = "\n@triton.jit\ndef broken(x):\n    tl.store(x, undefined_name)\n"
    report = gate(HEAD + ADD_KERNEL + broken + model, (1024,), (1024,))
    assert report.verdict is None
    assert [kernel.fault is None for kernel in report.kernels] == [False, True]


SCALE_MODEL = """
class ModelNew(nn.Module):
    def forward(self, x):
        out = torch.empty_like(x)
        scale[lambda meta: (triton.cdiv(x.numel(), meta["BLOCK"]),)](x, out, x.numel())
        return out
"""
SCALE_KERNEL = """
@triton.jit
def scale(x, out, size, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + index, tl.load(x + index, mask=index < size) * 2, mask=index < size)
"""


def test_autotuned_kernel_compiles_a_few_of_its_configurations(gate: Callable[..., GateReport]) -> None:
    configs = ", ".join(f"triton.Config({{'BLOCK': {128 << power}}}, num_warps=4)" for power in range(6))
    tuned = f"\n@triton.autotune(configs=[{configs}], key=['size'])" + SCALE_KERNEL
    report = gate(HEAD + tuned + SCALE_MODEL, (100000,))
    assert report.verdict is None
    assert report.not_checked is None
    assert [kernel.config["BLOCK"] for kernel in report.kernels] == [128, 256][:CONFIGURATIONS_PER_KERNEL]


@pytest.mark.parametrize(
    "before",
    [
        pytest.param("x = x.t().contiguous()", id="transposed"),
        pytest.param("x = x.clone().copy_(x)", id="copied"),
        pytest.param("x = x + nn.Linear(64, 64).half().float().weight", id="module-converted"),
    ],
)
def test_work_on_tensors_before_the_launch_needs_no_device(gate: Callable[..., GateReport], before: str) -> None:
    chosen = SCALE_KERNEL.replace("BLOCK: tl.constexpr", "BLOCK: tl.constexpr = 128")
    model = SCALE_MODEL.replace('lambda meta: (triton.cdiv(x.numel(), meta["BLOCK"]),)', "(32,)")
    report = gate(HEAD + chosen + model.replace("        out =", f"        {before}\n        out ="), (64, 64))
    assert report.not_checked is None
    assert [kernel.name for kernel in report.kernels] == ["scale"]
    assert not torch.cuda.is_initialized()


def test_heuristics_choose_the_constant(gate: Callable[..., GateReport]) -> None:
    chosen = "\n@triton.heuristics({'BLOCK': lambda args: triton.next_power_of_2(args['size'])})" + SCALE_KERNEL
    report = gate(HEAD + chosen + SCALE_MODEL, (1000,))
    assert [kernel.config["BLOCK"] for kernel in report.kernels] == [1024]


MATMUL_KERNEL = """
@triton.jit
def matmul(a, b, c, rows, columns, depth, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    row = tl.program_id(0) * M + tl.arange(0, M)
    column = tl.program_id(1) * N + tl.arange(0, N)
    inner = tl.arange(0, K)
    total = tl.zeros((M, N), dtype=tl.float32)
    for start in range(0, depth, K):
        left = tl.load(a + row[:, None] * depth + (start + inner)[None, :])
        right = tl.load(b + (start + inner)[:, None] * columns + column[None, :])
        total = tl.dot(left, right, total)
    tl.store(c + row[:, None] * columns + column[None, :], total.to(tl.bfloat16))
"""
MATMUL_MODEL = """
class ModelNew(nn.Module):
    def forward(self, a, b):
        c = torch.empty(a.shape[0], b.shape[1], device=a.device, dtype=a.dtype)
        grid = lambda meta: (a.shape[0] // meta["M"], b.shape[1] // meta["N"])
        matmul[grid](a, b, c, a.shape[0], b.shape[1], a.shape[1] LAUNCH)
        return c
"""
SQUARES = ((512, 512), (512, 512))


def test_bf16_matmul_uses_the_tensor_cores_of_the_target(gate: Callable[..., GateReport]) -> None:
    model = MATMUL_MODEL.replace(" LAUNCH", ", M=128, N=128, K=64, num_warps=8")
    report = gate(HEAD + MATMUL_KERNEL + model, *SQUARES, dtype=torch.bfloat16)
    (kernel,) = report.kernels
    assert "wgmma" in kernel.features
    assert (kernel.shared_bytes or 0) > 0


BIG = "triton.Config({'M': 256, 'N': 256, 'K': 128}, num_warps=8, num_stages=4)"
SMALL = "triton.Config({'M': 64, 'N': 64, 'K': 32}, num_warps=4, num_stages=2)"


def test_configuration_that_fits_no_multiprocessor_does_not_fail_the_others(
    gate: Callable[..., GateReport],
) -> None:
    tuned = f"\n@triton.autotune(configs=[{BIG}, {SMALL}], key=['depth'])" + MATMUL_KERNEL
    report = gate(HEAD + tuned + MATMUL_MODEL.replace(" LAUNCH", ""), *SQUARES, dtype=torch.bfloat16)
    assert report.verdict is None
    assert report.not_checked is None
    assert {kernel.config["M"] for kernel in report.kernels} == {256, 64}


def test_kernel_that_fits_no_multiprocessor_is_a_compile_error(gate: Callable[..., GateReport]) -> None:
    model = MATMUL_MODEL.replace(" LAUNCH", ", M=256, N=256, K=128, num_warps=8, num_stages=4")
    report = gate(HEAD + MATMUL_KERNEL + model, *SQUARES, dtype=torch.bfloat16)
    assert report.verdict is Verdict.COMPILE_ERROR
    assert report.fault is not None
    assert "shared memory" in report.fault.message


def test_tensor_descriptors_compile_to_bulk_copies(gate: Callable[..., GateReport]) -> None:
    source = """
from triton.tools.tensor_descriptor import TensorDescriptor

@triton.jit
def copy(source, target, M: tl.constexpr, N: tl.constexpr):
    row, column = tl.program_id(0) * M, tl.program_id(1) * N
    target.store([row, column], source.load([row, column]) * 2)

class ModelNew(nn.Module):
    def forward(self, x):
        out = torch.empty_like(x)
        blocks = [64, 64]
        source, target = (TensorDescriptor.from_tensor(tensor, blocks) for tensor in (x, out))
        copy[(x.shape[0] // 64, x.shape[1] // 64)](source, target, M=64, N=64)
        return out
"""
    report = gate(HEAD + source, (512, 512))
    assert report.not_checked is None
    assert [kernel.features for kernel in report.kernels] == [("tma",)]


def test_questions_about_the_device_are_answered(gate: Callable[..., GateReport]) -> None:
    model = """
from triton.runtime import driver

PROGRAMS = torch.cuda.get_device_properties(0).multi_processor_count
SHARED = driver.active.utils.get_device_properties(driver.active.get_current_device())["max_shared_mem"]

class ModelNew(nn.Module):
    def forward(self, x, y):
        assert x.is_cuda and torch.cuda.get_device_capability(x.device)[0] == 9
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        out = torch.empty_like(x)
        with torch.cuda.device(x.device), torch.cuda.stream(stream):
            add[(PROGRAMS,)](x, y, out, x.numel(), BLOCK=SHARED // 227)
        torch.cuda.current_stream().wait_stream(stream)
        return out
"""
    report = gate(HEAD + ADD_KERNEL + model, (4096,), (4096,))
    assert report.not_checked is None
    assert [kernel.config["BLOCK"] for kernel in report.kernels] == [1024]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        pytest.param("return x + y", "no Triton kernel", id="no-launch"),
        pytest.param("return x * float(y.sum().item())", "on the host", id="values-on-the-host"),
        pytest.param("raise SystemExit(0)", "SystemExit", id="leaves"),
        pytest.param("add[(1,)](x, y, x, 4, BLOCK=1024, colour=3)", "colour", id="unknown-launch-option"),
    ],
)
def test_what_the_stand_in_cannot_follow_is_not_checked(gate: Callable[..., GateReport], body: str, says: str) -> None:
    model = f"\nclass ModelNew(nn.Module):\n    def forward(self, x, y):\n        {body}\n"
    report = gate(HEAD + ADD_KERNEL + model, (1024,), (1024,))
    assert report.verdict is None
    assert says in (report.not_checked or "")
    if says != "no Triton kernel":
        source = HEAD + ADD_KERNEL + model
        assert (report.not_checked or "").endswith(f"at line {line_of(source, body)}")


def test_architecture_without_a_compiler_is_not_checked() -> None:
    def never() -> None:
        raise AssertionError("the candidate was run")

    report = compile_ahead(never, "xe2")
    assert report.verdict is None
    assert "xe2" in (report.not_checked or "")


def test_nothing_of_the_stand_in_stays_behind(gate: Callable[..., GateReport]) -> None:
    from triton.runtime.driver import driver

    before = vars(driver).copy(), vars(torch.cuda).copy()
    gate(HEAD + ADD_KERNEL + ADD_MODEL, (1024,), (1024,))
    after = vars(driver), vars(torch.cuda)
    for earlier, later in zip(before, after, strict=True):
        assert {name for name in earlier if later.get(name) is not earlier[name]} == set()
    assert type(torch.zeros(1)) is torch.Tensor


@pytest.mark.parametrize(
    ("error", "says"),
    [
        pytest.param(PTXASError("`ptxas` failed with error code -9"), "did not run", id="ptxas-killed"),
        pytest.param(RuntimeError("Cannot find ptxas"), "did not run", id="no-ptxas"),
        pytest.param(OSError("No space left on device"), "No space left", id="full-disk"),
    ],
)
def test_broken_compiler_is_not_held_against_the_candidate(error: Exception, says: str) -> None:
    function = SimpleNamespace(__name__="kernel", arg_names=[], get_capture_scope=dict, module="candidate")
    source = SimpleNamespace(name="kernel", constants={}, fn=function)

    def fail() -> None:
        raise error

    compilation = Compilation()
    with pytest.raises(type(error)):
        compilation.compile(fail, source, {})
    report = compilation.report("sm_90", error)
    assert report.verdict is None
    assert says in (report.not_checked or "")


SOFTMAX = """
@triton.autotune(configs=[triton.Config({}, num_warps=4), triton.Config({}, num_warps=8)], key=["columns"])
@triton.jit
def softmax(x, out, columns, BLOCK: tl.constexpr):
    column = tl.arange(0, BLOCK)
    start = tl.program_id(0) * columns
    values = tl.load(x + start + column, mask=column < columns, other=-float("inf"))
    weights = tl.exp(values - tl.max(values, axis=0))
    tl.store(out + start + column, weights / tl.sum(weights, axis=0), mask=column < columns)

class ModelNew(nn.Module):
    def forward(self, x):
        out = torch.empty_like(x)
        softmax[(x.shape[0],)](x, out, x.shape[1], BLOCK=triton.next_power_of_2(x.shape[1]))
        return out
"""
INTERPRET = """
    import sys
    import torch
    {first}
    from everforge.runners.gate.triton_interpret import interpret
    x = torch.randn(5, 123)
    with interpret():
        from candidate import ModelNew
        outputs = ModelNew()(x)
    torch.testing.assert_close(outputs, x.softmax(-1))
    assert abs(float(outputs.sum()) - 5) < 1e-3
"""


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        pytest.param({"TRITON_INTERPRET": "1"}, "", id="started-so"),
        pytest.param({}, "import triton.language", id="entered-after-import"),
    ],
)
def test_interpreted_softmax_gives_the_right_values(tmp_path: Path, environment: dict[str, str], first: str) -> None:
    (tmp_path / "candidate.py").write_text(HEAD + SOFTMAX)
    script = textwrap.dedent(INTERPRET).format(first=first)
    run = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(tmp_path), "TRITON_CACHE_DIR": str(tmp_path), **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
