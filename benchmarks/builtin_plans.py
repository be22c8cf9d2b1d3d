"""What the builtin generator first proposes for each task of a directory, and what of it is left to PyTorch.

Run by hand, on any machine: `python benchmarks/builtin_plans.py [DIRECTORY] [--device cuda] [--precision bf16]
[--only 'level1/*'] [--left]`. Tasks are traced at their own sizes on tensors without memory, and a kernel is written
but never compiled, so that no device is needed.

`left` estimates how much of the reference's time is in the operations left to PyTorch: each operation takes as long as
its bytes or its FLOPs do on an H200. A task far above 0 % is one where the generator has something to learn.
"""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from everforge.agents.builtin.generator import BuiltinGenerator
from everforge.cli.suite_plan import PlannedTask, planned_tasks
from everforge.model.budget import Spend
from everforge.model.device import DeviceKind
from everforge.model.graph import GraphNode, TaskGraph, TraceFailure
from everforge.model.precision import Precision
from everforge.model.task import Mode, TaskSpec
from everforge.runners.facts.dataflow import LEAVES, Flow, operands, short_name
from everforge.runners.facts.operations import PARTS, SPLITS, VIEWS
from everforge.runners.facts.tracing import trace_task
from everforge.runners.facts.tracing_cost import node_flops, stored_bytes
from everforge.runners.truth.taskfile import load_task_file
from everforge.search.generator import SearchContext
from everforge.testing import samples

TASKS_DIR = Path(__file__).parent / "tasks"
# Measured on an H200 by everforge itself: a large copy, and a large product in bf16.
BYTES_PER_S = 4.3e12
FLOPS_PER_S = 790e12
# They only look at memory another way, unlike those of VIEWS that make a copy.
_FREE = (VIEWS | PARTS | SPLITS | {"expand", "getitem"}) - {"clone", "contiguous", "flip", "roll", "rot90", "_to_copy"}
_LEFT = re.compile(r"^left to PyTorch: (\S+): ")
_STEP = re.compile(r"; (?=left to PyTorch: |\w+_\d+: )")


@dataclass(frozen=True)
class FirstProposal:
    """What the generator proposes before anything was tried: a line for each step of its plan."""

    task: str
    source: str | None
    steps: tuple[str, ...]
    left_share: float

    @property
    def kernels(self) -> tuple[str, ...]:
        """The steps that are kernels of ours."""
        return tuple(step for step in self.steps if not _LEFT.match(step))


def first_proposal(planned: PlannedTask, device: DeviceKind, precision: Precision) -> FirstProposal:
    """Trace one task and ask the generator. Raises ValueError for a task that cannot be traced."""
    spec = planned.spec(precision, Mode.EVAL)
    graph = traced(spec)
    proposal = BuiltinGenerator().propose(_context(spec, device, graph))
    if proposal is None or proposal.candidate is None:
        return FirstProposal(planned.key, None, (), 1.0)
    steps = tuple(_STEP.split(proposal.note))
    left = {match[1] for step in steps if (match := _LEFT.match(step))}
    return FirstProposal(planned.key, proposal.candidate.source, steps, left_share(graph, left))


def traced(spec: TaskSpec) -> TaskGraph:
    """The graph of a task at its own sizes, made from tensors without memory. Raises ValueError."""
    task = load_task_file(spec.name, spec.source, {})
    with torch.device("meta"), torch.no_grad():
        init_args = task.get_init_inputs()
        model, inputs = task.model_class(*init_args).eval(), task.get_inputs()
    graph = trace_task(model, inputs, spec.variants[0].name, init_args)
    if isinstance(graph, TraceFailure):
        raise ValueError(f"{spec.name}: {graph.reason}")
    return graph


def _context(spec: TaskSpec, device: DeviceKind, graph: TaskGraph) -> SearchContext:
    facts = samples.task_facts(spec, device)
    variants = tuple(variant.model_copy(update={"graph": graph}) for variant in facts.variants)
    campaign = samples.campaign_spec(task=spec, device=device)
    return SearchContext(spec=campaign, facts=facts.model_copy(update={"variants": variants}), trials=(), spent=Spend())


def left_share(graph: TaskGraph, left: set[str]) -> float:
    """The share of the reference's time that its operations of these names take, 0 to 1."""
    flow = Flow(graph.nodes)
    seconds = {node.id: _seconds(node, flow) for node in graph.nodes if node.op not in LEAVES}
    whole = sum(seconds.values())
    return sum(seconds[node.id] for node in graph.nodes if node.op in left) / whole if whole else 0.0


def _seconds(node: GraphNode, flow: Flow) -> float:
    if short_name(node) in _FREE:
        return 0.0
    metas = [meta for name in operands(node) if (meta := flow.meta(name)) is not None]
    moved = sum(stored_bytes(meta) for meta in (*metas, *node.outputs))
    return max(moved / BYTES_PER_S, node_flops(node, flow) / FLOPS_PER_S)


def table(proposals: Sequence[FirstProposal]) -> str:
    """One line for each task: the share left to PyTorch, kernels of ours, and every step of the plan."""
    width = max(len(proposal.task) for proposal in proposals)
    lines = [f"{'task':{width}} {'left':>5} {'kernels':>7} plan"]
    for proposal in proposals:
        steps = "; ".join(proposal.steps) or "nothing to fuse: no candidate"
        lines.append(f"{proposal.task:{width}} {proposal.left_share:5.0%} {len(proposal.kernels):7} {steps}")
    own = sum(proposal.left_share < 0.01 for proposal in proposals)
    return "\n".join([*lines, f"{len(proposals)} tasks, {own} of them in kernels of ours alone"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table of the tasks named on the command line, or of all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", nargs="?", type=Path, default=TASKS_DIR)
    parser.add_argument("--device", type=DeviceKind, choices=list(DeviceKind), default=DeviceKind.CUDA)
    parser.add_argument("--precision", type=Precision, choices=list(Precision), default=Precision.BF16)
    parser.add_argument("--only", default="", help="globs of tasks, comma-separated")
    parser.add_argument("--left", action="store_true", help="only tasks of which something is left to PyTorch")
    options = parser.parse_args(arguments)
    tasks = planned_tasks(options.directory, [glob for glob in options.only.split(",") if glob])
    proposals = [first_proposal(task, options.device, options.precision) for task in tasks]
    shown = [proposal for proposal in proposals if proposal.left_share >= 0.01 or not options.left]
    print(table(shown) if shown else "nothing is left to PyTorch")


if __name__ == "__main__":
    main()
