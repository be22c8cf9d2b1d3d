"""What a variant asks for before any candidate: its graph, its floors, its shortcuts, and what to say of them.

Called by `sessions.py`, once for each variant.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from everforge.model.device import Peaks
from everforge.model.graph import GraphNode, Shortcut, TaskGraph, TraceFailure
from everforge.runners.facts.algebra import shortcuts
from everforge.runners.facts.dataflow import Flow, argument, short_name
from everforge.runners.facts.input_structure import known_inputs
from everforge.runners.facts.operations import REDUCTIONS
from everforge.runners.facts.roofline import floor_us, shortcut_floor_us, suspicion_floor_us
from everforge.runners.facts.tracing import trace_task
from everforge.runners.truth.reference import ReferenceBuilder

_NORMALISING = ("softmax", "log_softmax", "_softmax", "_log_softmax", "logcumsumexp", "cumsum", "cumprod")


@dataclass(frozen=True)
class VariantWork:
    """The traced reference and its floors in microseconds; see `roofline.py` for what each is for."""

    graph: TaskGraph | TraceFailure
    floor_us: float | None
    suspicion_floor_us: float | None
    shortcut_floor_us: float | None
    notes: tuple[str, ...]


def work_of(builder: ReferenceBuilder, peaks: Peaks, cache_bytes: int) -> VariantWork:
    """Trace one variant of a reference and work out its floors. `cache_bytes`: the device's last-level cache."""
    policy = builder.task.precision
    graph = trace_task(builder.model, builder.inputs(), builder.variant.name, builder.init_args)
    known = known_inputs(graph, (builder.inputs(), builder.inputs()))
    found = () if isinstance(graph, TraceFailure) else shortcuts(graph, known.zeros)
    return VariantWork(
        graph=graph,
        floor_us=floor_us(graph, peaks, policy),
        suspicion_floor_us=suspicion_floor_us(graph, peaks, policy, cache_bytes, known.dense),
        shortcut_floor_us=shortcut_floor_us(graph, found, peaks, policy, cache_bytes, known.dense),
        notes=notes_of(graph, found),
    )


def notes_of(graph: TaskGraph | TraceFailure, found: Sequence[Shortcut]) -> tuple[str, ...]:
    """What a person should know of a variant's work, in sentences."""
    if isinstance(graph, TraceFailure):
        return (f"variant {graph.variant}: the reference could not be traced, so that no floor is known of its time",)
    return tuple(f"variant {graph.variant}: {note}" for note in (*_shortcut_notes(graph, found), *_idle_notes(graph)))


def _shortcut_notes(graph: TaskGraph, found: Sequence[Shortcut]) -> Iterator[str]:
    for shortcut in found:
        yield (
            f"{shortcut.reason}: {shortcut.flops:.3g} FLOPs are enough where the reference states {graph.flops:.3g}; "
            "a speedup that comes from it is algebraic"
        )


def _idle_notes(graph: TaskGraph) -> Iterator[str]:
    """Operations and parameters without effect: often a mistake in the reference."""
    flow = Flow(graph.nodes)
    idle = [node.id for node in graph.nodes if node.op.startswith("aten.") and _acts_on_one_element(node, flow)]
    if idle:
        verb = "works" if len(idle) == 1 else "work"
        yield f"{', '.join(idle)} {verb} along a dimension of size 1, where there is nothing to reduce"
    unread = [node.target for node in graph.nodes if node.op == "parameter" and not flow.readers[node.id]]
    # Where torch.fx had to trace, a module reads its parameters out of sight.
    if unread and not any(node.op.startswith("call_module") for node in graph.nodes):
        yield f"parameter {', '.join(str(name) for name in unread)} is never read"


def _acts_on_one_element(node: GraphNode, flow: Flow) -> bool:
    """Whether a reduction or a softmax runs along dimensions of size 1 alone."""
    name, source = short_name(node), flow.operand(node, 0)
    meta = None if source is None else flow.meta(source)
    dims = argument(node, 1, "dim")
    if meta is None or not meta.shape or name not in (*REDUCTIONS, *_NORMALISING):
        return False
    listed = [dims] if isinstance(dims, int) else dims if isinstance(dims, list | tuple) else []
    whole = [index for index in listed if isinstance(index, int) and -len(meta.shape) <= index < len(meta.shape)]
    return bool(whole) and len(whole) == len(listed) and all(meta.shape[index] == 1 for index in whole)
