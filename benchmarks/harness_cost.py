"""What the harness itself costs: trials per minute, and the share of a trial spent compiling, verifying, timing, else.

Run by hand, on any machine with the runner's dependencies alone: `python benchmarks/harness_cost.py --device cpu`.
A trial's overhead is all that is neither building nor running the candidate or its references: process start,
transfer, comparison, bookkeeping. Candidates: plain PyTorch, a kernel compiled anew for each trial, and a wrong one.
"""

import argparse
import statistics
import time

from everforge.agents.runner_process import start_local_runner
from everforge.model.candidate import Candidate, GeneratorKind, language_of
from everforge.model.device import DeviceKind
from everforge.model.evaluation import Evaluation
from everforge.model.session import OpenSession, Progress, RunTrial
from everforge.model.task import TaskSpec, Variant
from everforge.search.runner_port import Runner

TASK = """
import torch
from torch import nn

rows = ROWS
columns = COLUMNS

class Model(nn.Module):
    def forward(self, x):
        return torch.softmax(x, dim=1)

def get_inputs():
    return [torch.rand(rows, columns)]

def get_init_inputs():
    return []
"""
HEAD = """
import torch
from torch import nn

"""
PYTORCH = (
    HEAD
    + """class ModelNew(nn.Module):
    def forward(self, x):
        e = torch.exp(x - x.amax(1, keepdim=True))
        return e / e.sum(1, keepdim=True)
"""
)
WRONG = (
    HEAD
    + """class ModelNew(nn.Module):
    def forward(self, x):
        return torch.zeros_like(x)
"""
)
CPP = (
    HEAD
    + '''import ctypes
from torch.utils.cpp_extension import load_inline

SOURCE = """
#include <cmath>
#include <cstdint>
extern "C" void softmax(const float* x, float* y, int64_t rows, int64_t columns) {
#pragma omp parallel for
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = x + r * columns;
    float* out = y + r * columns;
    float most = row[0];
    double sum = 0;  // a float would lose more than eager's pairwise sum does
    for (int64_t c = 1; c < columns; ++c) most = row[c] > most ? row[c] : most;
    for (int64_t c = 0; c < columns; ++c) sum += out[c] = std::exp(row[c] - most);
    for (int64_t c = 0; c < columns; ++c) out[c] /= sum;
  }
}
// TRIAL
"""
library = ctypes.CDLL(load_inline("softmax", SOURCE, extra_cflags=["-O3", "-fopenmp"], no_implicit_headers=True,
                                  extra_ldflags=["-fopenmp"], is_python_module=False))

class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        y = torch.empty_like(x)
        sizes = [ctypes.c_int64(size) for size in x.shape]
        library.softmax(ctypes.c_void_p(x.data_ptr()), ctypes.c_void_p(y.data_ptr()), *sizes)
        return y
'''
)
TRITON = (
    HEAD
    + """import triton
import triton.language as tl

@triton.jit
def softmax(x, y, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    values = tl.load(x + row * columns + at, mask=at < columns, other=float("-inf"))
    e = tl.exp(values - tl.max(values, 0))
    tl.store(y + row * columns + at, e / tl.sum(e, 0), mask=at < columns)  # TRIAL

class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        y = torch.empty_like(x)
        softmax[(x.shape[0],)](x, y, x.shape[1], triton.next_power_of_2(x.shape[1]))
        return y
"""
)
KERNELS = {DeviceKind.CPU: ("C++ kernel", CPP), DeviceKind.CUDA: ("Triton kernel", TRITON)}
# Half a millisecond of a GPU's bandwidth, and some of a CPU's.
SIZES = {DeviceKind.CPU: (2048, 4096), DeviceKind.CUDA: (16384, 16384)}


def variants(rows: int, columns: int) -> tuple[Variant, ...]:
    """Three shapes: as stated, an eighth of the rows, an odd number of columns."""
    return (
        Variant(name="large"),
        Variant(name="small", constants={"rows": rows // 8}),
        Variant(name="odd", constants={"columns": columns // 4 - 23}),
    )


STAGES = ("compile", "verify", "time", "overhead")


def main() -> None:
    """Measure and print one row per kind of candidate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", type=DeviceKind, default=DeviceKind.CPU)
    parser.add_argument("--trials", type=int, default=10, help="trials per kind of candidate")
    arguments = parser.parse_args()
    runner = start_local_runner()
    rows, columns = SIZES[arguments.device]
    source = TASK.replace("ROWS", str(rows)).replace("COLUMNS", str(columns))
    task = TaskSpec(name="softmax", source=source, variants=variants(rows, columns))
    began_s = time.monotonic()
    opened = runner.open_session(OpenSession(task=task, device=arguments.device), ignore)
    opening_s = time.monotonic() - began_s
    environment = opened.facts.environment
    print(f"{environment.device_name} ({environment.architecture}), {environment.cores} cores")
    print(f"softmax of {rows} x {columns}, 3 variants x 5 seeds; jail: {', '.join(environment.isolation) or 'none'}")
    print(f"opening the session, baselines compiled and timed: {opening_s:.1f} s")
    shares = "".join(f"{stage:>10}" for stage in STAGES)
    print(f"{'candidate':<16}{'verdict':<14}{'trials/min':>10}{shares}  a trial, s; overhead, s: medians [least, most]")
    for name, source in (("plain PyTorch", PYTORCH), KERNELS[arguments.device], ("wrong", WRONG)):
        began_s = time.monotonic()
        evaluations = [judge(runner, opened.session_id, source, number) for number in range(arguments.trials)]
        print(row(name, evaluations, time.monotonic() - began_s))
        print("".join(f"    {line}\n" for line in refusals(evaluations)), end="")
    runner.close()


def judge(runner: Runner, session_id: str, source: str, number: int) -> Evaluation:
    """One trial of a source that no trial had before, so that nothing is answered from a record or a cache."""
    unique = source.replace("TRIAL", f"trial {number}") + f"# {number}\n"
    made = Candidate(source=unique, language=language_of(unique), generator=GeneratorKind.BUILTIN)
    return runner.run_trial(session_id, RunTrial(trial_id=made.digest, candidate=made), ignore)


def row(name: str, evaluations: list[Evaluation], wall_s: float) -> str:
    """One line of the table."""
    stages = [evaluation.stages for evaluation in evaluations]
    total_s = sum(stage.total for stage in stages)
    shares = "".join(f"{sum(getattr(stage, part) for stage in stages) / total_s:>10.0%}" for part in STAGES)
    verdict = statistics.mode(evaluation.verdict for evaluation in evaluations)
    spreads = "; ".join(spread([getattr(stage, part) for stage in stages]) for part in ("total", "overhead"))
    return f"{name:<16}{verdict:<14}{len(stages) / wall_s * 60:>10.1f}{shares}  {spreads}"


def refusals(evaluations: list[Evaluation]) -> list[str]:
    """Why candidates were judged wrong, or worse: of all but the wrong one, a defect of the harness."""
    told = (" | ".join((each.reason, *each.evidence)) for each in evaluations if not each.verdict.is_correct)
    return list(dict.fromkeys(told))


def spread(values_s: list[float]) -> str:
    """Median, least and most."""
    return f"{statistics.median(values_s):.2f} [{min(values_s):.2f}, {max(values_s):.2f}]"


def ignore(_: Progress) -> None:
    """Progress is not shown: a display would be measured too."""


if __name__ == "__main__":
    main()
