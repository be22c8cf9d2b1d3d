"""The runner on a real NVIDIA GPU: the adapter's readings, and what candidates of each kind are judged to be."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch

from everforge.agents.runner_process import start_local_runner
from everforge.errors import DeviceFault
from everforge.model.candidate import Candidate, GeneratorKind, language_of
from everforge.model.device import DeviceKind
from everforge.model.evaluation import Evaluation
from everforge.model.precision import Precision
from everforge.model.session import EvaluationSettings, OpenSession, RunTrial
from everforge.model.task import TaskSpec, Variant
from everforge.model.verdict import Verdict
from everforge.runners.devices import device_of
from everforge.runners.environment import environment_of
from everforge.runners.isolation.nursery import Nursery
from everforge.runners.sessions import Session

pytestmark = pytest.mark.cuda

TASK = """
import torch
from torch import nn

rows = 4096
columns = 16384

class Model(nn.Module):
    def forward(self, x):
        return torch.softmax(x, dim=1).amax(dim=1)

def get_inputs():
    return [torch.randn(rows, columns)]

def get_init_inputs():
    return []
"""

HEAD = """
import torch
import triton
import triton.language as tl
from torch import nn

@triton.jit
def kernel(x, y, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    values = tl.load(x + row * columns + at, mask=at < columns, other=float("-inf"))
    e = tl.exp(values - tl.max(values, 0))
    p = e / tl.sum(e, 0)
    tl.store(y + row, tl.max(p, 0))

class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        y = x.new_empty(x.shape[0])
"""
LAUNCH = "        kernel[(x.shape[0],)](x, y, x.shape[1], triton.next_power_of_2(x.shape[1]), num_warps=16)\n"
HONEST = HEAD + LAUNCH + "        return y\n"


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    root = tmp_path_factory.mktemp("nursery")
    for directory in (root, *root.parents[:-2]):
        directory.chmod(directory.stat().st_mode | 0o011)
    nursery = Nursery(root)
    device = device_of(DeviceKind.CUDA)
    variants = (Variant(name="wide"), Variant(name="odd", constants={"rows": 37, "columns": 1001}))
    task = TaskSpec(name="largest-probability", source=TASK, variants=variants)
    request = OpenSession(task=task, device=DeviceKind.CUDA, settings=EvaluationSettings(timeout_s=60))
    environment = environment_of(device, nursery.layers)
    session = Session(request, device, environment, device.peaks(Precision.FP32), nursery)
    session.open(lambda stage, detail: None)
    yield session
    session.close()
    nursery.close()


def judge(session: Session, source: str, timed: bool = False) -> Evaluation:
    made = Candidate(source=source, language=language_of(source), generator=GeneratorKind.USER)
    request = RunTrial(trial_id=made.digest + str(timed), candidate=made, timed=timed)
    return session.run(request, lambda stage, detail: None)


def test_adapter_reads_the_device() -> None:
    device = device_of(DeviceKind.CUDA)
    assert device.architecture().startswith("sm_")
    assert re.fullmatch(r"\d+(\.\d+)+", device.driver() or "")
    assert device.memory_bytes() == torch.cuda.get_device_properties(0).total_memory
    assert device.cache_bytes() >= 1 << 20


def test_peaks_rise_as_precision_falls() -> None:
    rates = device_of(DeviceKind.CUDA).peaks(Precision.BF16).flops_per_s
    assert rates[Precision.FP32] < rates[Precision.TF32] < rates[Precision.BF16]


def test_time_of_a_copy_agrees_with_the_hosts_clock() -> None:
    device = device_of(DeviceKind.CUDA)
    source = torch.ones(1 << 28, device="cuda")
    target = torch.empty_like(source)
    event_us = min(device.time_us([lambda: target.copy_(source)] * 5, before=lambda: None))
    host_us = min(host_time_us(source, target) for _ in range(5))
    assert 0.5 * host_us < event_us <= 1.05 * host_us


def host_time_us(source: torch.Tensor, target: torch.Tensor) -> float:
    torch.cuda.synchronize()
    began_s = time.perf_counter()
    target.copy_(source)
    torch.cuda.synchronize()
    return (time.perf_counter() - began_s) * 1e6


def test_sensors_tell_clocks_temperature_and_power() -> None:
    reading = device_of(DeviceKind.CUDA).reading()
    assert reading.clock_mhz is not None
    assert reading.clock_mhz > 0
    assert reading.memory_clock_mhz is not None
    assert reading.memory_clock_mhz > 0
    assert reading.temperature_c is not None
    assert 10 < reading.temperature_c < 110
    assert reading.power_w is not None
    assert reading.power_w > 0
    assert not any(reason.startswith("reason_") for reason in reading.throttled_by)


def many_small_launches() -> Callable[[], torch.Tensor]:
    start = torch.ones(256, device="cuda")

    def call() -> torch.Tensor:
        value = start
        for _ in range(100):
            value = value + 1
        return value

    return call


def test_many_small_launches_replay_faster_than_they_launch() -> None:
    device, call = device_of(DeviceKind.CUDA), many_small_launches()
    flush = device.flusher()
    launched_us = median(device.time_us([call] * 20, flush))
    replayed_us = device.replay_us(call, flush, iterations=20)
    assert replayed_us is not None
    assert len(replayed_us) == 20
    assert 0 < median(replayed_us) < 0.8 * launched_us


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda x: x.sum().item(), id="waits for the device"),
        pytest.param(lambda x: x.cpu(), id="copies to the host"),
        pytest.param(lambda x: x[x > 0.5], id="size known on the device alone"),
        pytest.param(lambda x: torch.rand_like(x).max().item(), id="draws numbers and waits"),
        pytest.param(lambda _x: None, id="launches nothing"),
    ],
)
def test_call_that_cannot_be_captured_has_no_replay_and_leaves_the_device_usable(
    call: Callable[[torch.Tensor], object],
) -> None:
    device = device_of(DeviceKind.CUDA)
    x = torch.rand(1 << 20, device="cuda")
    stream = torch.cuda.current_stream()
    assert device.replay_us(lambda: call(x), before=lambda: None, iterations=5) is None
    assert torch.cuda.current_stream() == stream
    assert float(torch.rand(1 << 20, device="cuda").mean()) == pytest.approx(0.5, abs=0.01)
    device.release_memory()
    assert device.replay_us(many_small_launches(), before=lambda: None, iterations=5) is not None


def test_failed_captures_give_their_memory_back() -> None:
    device = device_of(DeviceKind.CUDA)
    x = torch.rand(1 << 26, device="cuda")
    before = torch.cuda.memory_reserved()
    for _ in range(3):
        assert device.replay_us(lambda: (x + 1).sum().item(), before=lambda: None, iterations=5) is None
    device.release_memory()
    assert torch.cuda.memory_reserved() <= before + (64 << 20)


def test_runner_pinned_to_the_second_device_uses_it_or_says_that_there_is_none() -> None:
    runner = start_local_runner(device_index=1)
    try:
        if torch.cuda.device_count() == 1:
            with pytest.raises(DeviceFault, match="no NVIDIA GPU is visible"):
                runner.environment(DeviceKind.CUDA)
        else:
            environment = runner.environment(DeviceKind.CUDA)
            assert environment.device_index == 1
            assert environment.device_uuid == str(torch.cuda.get_device_properties(1).uuid)
    finally:
        runner.close()


def test_fused_triton_kernel_is_faster_than_both_baselines(session: Session) -> None:
    evaluation = judge(session, HONEST, timed=True)
    assert evaluation.verdict is Verdict.FASTER
    assert evaluation.sol_fraction is not None
    assert 0 < evaluation.sol_fraction <= 1.05


@pytest.mark.parametrize(
    ("source", "verdict"),
    [
        pytest.param(HEAD + "        return y.zero_()\n", Verdict.INCORRECT, id="zeros"),
        pytest.param(HEAD + "        return y\n", Verdict.INCORRECT, id="unwritten"),
        pytest.param(HONEST.replace("tl.max(values, 0)", "tl.most(values, 0)"), Verdict.COMPILE_ERROR, id="no such op"),
        pytest.param(HONEST.replace("x + row * columns", "x + row * columns * 100000"), Verdict.CRASH, id="far read"),
        pytest.param(HONEST.replace("return y", "return y.cpu()"), Verdict.INCORRECT, id="wrong device"),
    ],
)
def test_wrong_candidate_gets_its_verdict(session: Session, source: str, verdict: Verdict) -> None:
    assert judge(session, source).verdict is verdict


def test_device_is_usable_after_an_illegal_access(session: Session) -> None:
    judge(session, HONEST.replace("x + row * columns", "x + row * columns * 200000"))
    assert judge(session, HONEST + "# again\n").verdict.is_correct


COVERAGE_HEAD = """
import torch
import triton
import triton.language as tl
from torch import nn

@triton.jit
def add_exp(x, y, count, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + at, tl.exp(tl.load(x + at, mask=at < count)) + 1, mask=at < count)

def launch(x):
    y = torch.empty_like(x)
    add_exp[(triton.cdiv(x.numel(), 1024),)](x, y, x.numel(), BLOCK=1024)
    return y

tuned = triton.autotune([triton.Config({"BLOCK": 256}), triton.Config({"BLOCK": 1024})], key=["count"])(add_exp)

class ModelNew(nn.Module):
    def forward(self, x):
"""
GRAPHED = (
    COVERAGE_HEAD.removesuffix("    def forward(self, x):\n")
    + """
    graph = None

    def forward(self, x):
        if self.graph is None:
            self.x = x.clone()
            launch(self.x)
            torch.cuda.synchronize()
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.y = launch(self.x)
        self.x.copy_(x)
        self.graph.replay()
        return self.y
"""
)
BY_NVRTC = """
import torch
from torch import nn
SOURCE = 'extern "C" __global__ void f(const float* x, float* y, int n) {'
SOURCE += ' int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) y[i] = expf(x[i]) + 1; }'
f = torch.cuda._compile_kernel(SOURCE, "f")

class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        f(grid=((x.numel() + 255) // 256, 1, 1), block=(256, 1, 1), args=[x, y, x.numel()])
        return y
"""
COMPILED = "@torch.compile\ndef run(x):\n    return launch(x * 2) * 2\n\n"
COVERED = {
    "plain": COVERAGE_HEAD + "        return launch(x)\n",
    "autotuned": COVERAGE_HEAD
    + "        y = torch.empty_like(x)\n"
    + "        tuned[lambda meta: (triton.cdiv(x.numel(), meta['BLOCK']),)](x, y, x.numel())\n        return y\n",
    "beside a product": COVERAGE_HEAD + "        return launch(x @ x @ x @ x)\n",
    "compiled around": COVERAGE_HEAD.replace("class ModelNew", COMPILED + "class ModelNew") + "        return run(x)\n",
    "nvrtc": BY_NVRTC,
    "graph": GRAPHED,
    "on a dummy": COVERAGE_HEAD + "        launch(x[:1, :1].clone())\n        return x.exp() + 1\n",
    "never": COVERAGE_HEAD + "        return x.exp() + 1\n",
}


@pytest.fixture(scope="module")
def coverage(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Launch coverage of each candidate on the device, all from one process."""
    program = str(Path(__file__).parents[1] / "unit" / "runners" / "coverage_process.py")
    cases = [
        {"source": source, "claim": "cuda" if name == "nvrtc" else "triton", "shape": [2048, 2048]}
        for name, source in COVERED.items()
    ]
    done = subprocess.run(
        [sys.executable, program, "compiled", "cuda"],
        input=json.dumps(cases), capture_output=True, text=True, cwd=tmp_path_factory.mktemp("coverage"), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    reports = dict(zip(COVERED, map(json.loads, done.stdout.splitlines()), strict=True))
    assert not [report["raised"] for report in reports.values() if "raised" in report]
    return reports


@pytest.mark.parametrize("name", ["plain", "autotuned", "beside a product", "compiled around", "nvrtc"])
def test_own_kernel_is_launched_and_matters(coverage: dict[str, dict[str, Any]], name: str) -> None:
    assert sum(coverage[name]["launches"].values()) >= 1
    assert coverage[name]["contributes"] is True


def test_share_of_device_time_tells_an_epilogue_from_a_kernel(coverage: dict[str, dict[str, Any]]) -> None:
    assert coverage["plain"]["share"] > 0.3  # the copy of its inputs takes about as long as the kernel
    assert 0 < coverage["beside a product"]["share"] < 0.2
    assert coverage["nvrtc"]["share"] > 0
    assert coverage["never"]["share"] == 0


def test_kernel_in_a_graph_is_counted_when_captured_and_known_by_name(coverage: dict[str, dict[str, Any]]) -> None:
    assert coverage["graph"]["launches"]["add_exp"] >= 1
    assert coverage["graph"]["contributes"] is None
    assert coverage["graph"]["share"] > 0


def test_decoy_on_the_device_does_not_matter(coverage: dict[str, dict[str, Any]]) -> None:
    assert coverage["on a dummy"]["contributes"] is False
    assert coverage["never"]["launches"] == {}
