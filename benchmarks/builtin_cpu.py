"""How the builtin generator's C++ kernels compare with eager PyTorch and torch.compile on this machine's CPU.

Run by hand: `python benchmarks/builtin_cpu.py [NAME …] [--set kernel_0_unroll=8]`. Prints one row per task: the median
time of each, and the ratio of the faster baseline to the kernel, timed in turn so that noise hits all of them alike.
"""

import argparse
import statistics
import time
import types
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from everforge.agents.builtin.cpp_emitter import emit_cpp
from everforge.agents.builtin.planner import plan_graph
from everforge.model.candidate import ParameterValue
from everforge.model.graph import TraceFailure
from everforge.runners.facts.tracing import trace_task


class Task(nn.Module):
    """A reference made of a function and its modules."""

    def __init__(self, function: Callable[..., torch.Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(parts)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.function(self.parts, *inputs)


def tasks() -> dict[str, tuple[nn.Module, tuple[torch.Tensor, ...]]]:
    """Row reductions, norms with tails and scans first; chains and products, where a draw is expected, last."""
    wide, image = torch.randn(512, 16384), torch.randn(16, 64, 64, 64)
    sequence, batch = torch.randn(8, 512, 1024), torch.randn(128, 1024)
    return {
        "softmax-lse": (Task(lambda m, x: torch.logsumexp(torch.softmax(x, 1), 1)), (wide,)),
        "softmax": (Task(lambda m, x: torch.softmax(x, 1)), (wide,)),
        "log-softmax-sum": (Task(lambda m, x: -F.log_softmax(x * 2.0, 1).sum(1)), (wide,)),
        "logsumexp-mish": (Task(lambda m, x: F.mish(torch.logsumexp(x, 1))), (wide,)),
        "cumsum": (Task(lambda m, x: torch.cumsum(x, 1)), (wide,)),
        "cumsum-masked": (Task(lambda m, x: torch.cumsum(torch.relu(x) * 0.5, 1)), (wide,)),
        "layer-norm-gelu": (Task(lambda m, x: F.gelu(m[0](x)), nn.LayerNorm(1024)), (sequence,)),
        "layer-norm-wide": (Task(lambda m, x: m[0](x), nn.LayerNorm((64, 64, 64))), (image,)),
        "rms-norm": (
            Task(lambda m, x: x / torch.sqrt(torch.mean(x**2, dim=-1, keepdim=True) + 1e-5)),
            (sequence,),
        ),
        "group-norm-pool": (Task(lambda m, x: m[0](x).mean(dim=(1, 2, 3)), nn.GroupNorm(8, 64)), (image,)),
        "group-norm-silu": (Task(lambda m, x: F.silu(m[0](x)), nn.GroupNorm(8, 64)), (image,)),
        "instance-norm": (Task(lambda m, x: m[0](x), nn.InstanceNorm2d(64)), (image,)),
        "variance": (Task(lambda m, x: x.var(dim=1)), (wide,)),
        "max-pool-rows": (Task(lambda m, x: torch.sigmoid(x).amax(1)), (wide,)),
        "sum-all": (Task(lambda m, x: (x * x).sum()), (wide,)),
        "mish-chain": (Task(lambda m, x: torch.tanh(F.mish(x) * 2.0)), (wide,)),
        "max-pool": (Task(lambda m, x: F.max_pool2d(x, 3, 2, 1)), (image,)),
        "max-pool-sliding": (Task(lambda m, x: F.max_pool2d(x, 4, 1, 1)), (image,)),
        "avg-pool": (Task(lambda m, x: F.avg_pool2d(x, 3, 1, 1)), (image,)),
        "avg-pool-apart": (Task(lambda m, x: F.avg_pool2d(x, 11)), (image,)),
        "cumsum-kept": (Task(lambda m, x, keep: torch.cumsum(x * keep, 1)), (wide, wide > 0)),
        "cross-entropy": (Task(lambda m, x, t: F.cross_entropy(x, t)), (wide, torch.randint(16384, (512,)))),
        "triplets": (Task(lambda m, x, y, z: F.triplet_margin_loss(x, y, z)), (wide, wide.flip(0), wide.flip(1))),
        "linear-gelu-softmax": (
            Task(lambda m, x: torch.softmax(F.gelu(m[0](x)), 1), nn.Linear(1024, 4096)),
            (batch,),
        ),
    }


def built(model: nn.Module, inputs: Sequence[torch.Tensor], parameters: dict[str, ParameterValue]) -> nn.Module:
    """The builtin generator's kernel for a reference."""
    graph = trace_task(model, inputs, "benchmark", [])
    if isinstance(graph, TraceFailure):
        raise SystemExit(graph.reason)
    module = types.ModuleType("candidate")
    exec(compile(emit_cpp(plan_graph(graph), graph, parameters), "candidate.py", "exec"), module.__dict__)
    candidate: nn.Module = module.ModelNew()
    candidate.load_state_dict(model.state_dict())
    return candidate.eval()


def medians_us(calls: Sequence[Callable[..., object]], inputs: Sequence[torch.Tensor], seconds: float) -> list[float]:
    """Median microseconds of each call, timed in turn until `seconds` are over; a large write empties the caches."""
    flush = torch.empty(16 << 20)
    for call in calls:
        for _ in range(3):
            call(*inputs)
    samples: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(samples[0]) < 5:
        for call, sample in zip(calls, samples, strict=True):
            flush.fill_(1.0)
            start = time.perf_counter()
            call(*inputs)
            sample.append((time.perf_counter() - start) * 1e6)
    return [statistics.median(sample) for sample in samples]


def main() -> None:
    """Measure the tasks named on the command line, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--set", action="append", default=[], metavar="PARAMETER=NUMBER")
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    parameters: dict[str, ParameterValue] = {}
    for item in options.set:
        name, _, text = item.partition("=")
        parameters[name] = int(text)
    print(f"{'task':22} {'eager us':>10} {'compile us':>10} {'builtin us':>10} {'ratio':>6} {'error':>9}")
    ratios = []
    for name, (model, inputs) in tasks().items():
        if options.names and name not in options.names:
            continue
        torch._dynamo.reset()
        with torch.no_grad():
            kernel, compiled = built(model.eval(), inputs, parameters), torch.compile(model, dynamic=False)
            error = (kernel(*inputs) - model(*inputs)).abs().max().item()
            eager_us, compile_us, builtin_us = medians_us([model, compiled, kernel], inputs, options.seconds)
        ratios.append(min(eager_us, compile_us) / builtin_us)
        times = f"{eager_us:10.0f} {compile_us:10.0f} {builtin_us:10.0f}"
        print(f"{name:22} {times} {ratios[-1]:6.2f} {error:9.1e}", flush=True)
    print(f"geometric mean {statistics.geometric_mean(ratios):.2f}")


if __name__ == "__main__":
    main()
