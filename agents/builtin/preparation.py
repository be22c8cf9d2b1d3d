"""What of a rewritten plan depends on parameters alone: done once, at load, in float64 and rounded once.

`planner.py` marks the steps; `triton_module.py` and `cpp_emitter.py` write them as a function that a candidate calls
again only after a parameter changed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from everforge.agents.builtin.closing import reads
from everforge.agents.builtin.graph_view import GraphView
from everforge.agents.builtin.module_text import step_lines
from everforge.agents.builtin.plan import Buffer, BufferArg, DeviceOf, Plan, Size, Step, TorchStep
from everforge.model.graph import TaskGraph

AT_LOAD = "made at load, of parameters alone"

_PREPARED_TEXT = '''

def _prepared(copies, make, state):
    """What `make` makes of parameters: once, and again after one of them changed."""
    stamp = [(tensor.data_ptr(), tensor._version) for tensor in state]
    if "prepared" not in copies or copies["prepared"][0] != stamp:
        copies["prepared"] = (stamp, make(*(tensor.detach() for tensor in state)))
    return copies["prepared"][1]
'''


def made_at_load(graph: TaskGraph) -> dict[str, str]:
    """The nodes that need parameters alone, with the reason why no kernel computes them."""
    view = GraphView(graph)
    return {node.id: AT_LOAD for node in graph.nodes if view.is_made_at_load(node)}


def prepared_first(steps: Sequence[Step], buffers: Sequence[Buffer]) -> tuple[Step, ...]:
    """The steps with those that need parameters alone marked, and before all others."""
    known = {buffer.name for buffer in buffers if buffer.origin in ("parameter", "buffer", "constant")}
    once: list[Step] = []
    others: list[Step] = []
    for step in steps:
        if isinstance(step, TorchStep) and set(_named(step.args)) | set(_named(step.kwargs)) <= known:
            known |= {name for name in step.outputs if name is not None}
            once.append(replace(step, once=True))
        else:
            others.append(step)
    return (*once, *others)


def _named(value: Any) -> Iterator[str]:
    """Every buffer that an argument of a step needs, be it for a shape."""
    if isinstance(value, BufferArg | DeviceOf):
        yield value.name
    elif isinstance(value, Size):
        yield from (name for name, _ in value.factors)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _named(item)


@dataclass(frozen=True)
class Preparation:
    """The steps done at load: the state they read and the values that others read."""

    steps: tuple[TorchStep, ...]
    state: tuple[str, ...]
    values: tuple[str, ...]
    rewrites: tuple[str, ...]

    @staticmethod
    def of(plan: Plan) -> "Preparation | None":
        """None where there is nothing to prepare."""
        steps = tuple(step for step in plan.steps if isinstance(step, TorchStep) and step.once)
        if not steps:
            return None
        made = {name for step in steps for name in step.outputs if name is not None}
        needed = {name for step in steps for name in (*_named(step.args), *_named(step.kwargs))} - made
        read = set(plan.results).union(*(reads(step) for step in plan.steps if step not in steps))
        state = tuple(buffer.name for buffer in plan.buffers if buffer.name in needed)
        return Preparation(steps, state, tuple(sorted(made & read)), plan.rewrites)

    def function_text(self, dtypes: Mapping[str, str]) -> str:
        """The function that makes the values from the state; `dtypes` is what torch calls each value's."""
        given = "".join(f"{name}, " for name in self.state)
        made = "".join(f"{name}.to({dtypes[name]}), " for name in self.values)
        lines = [
            f'"""In float64, rounded once: {"; ".join(self.rewrites)}."""',
            f"{given}= (tensor.double() if tensor.is_floating_point() else tensor for tensor in ({given}))",
            *(line for step in self.steps for line in step_lines(step)),
            f"return ({made})",
        ]
        body = "\n".join(f"    {line}" for line in lines)
        return f"\n\ndef _prepare({', '.join(self.state)}):\n{body}\n"

    def call(self) -> str:
        """The statement of forward that brings the values."""
        return f"({', '.join(self.values)},) = _prepared(self._copies, _prepare, ({', '.join(self.state)},))"


def prepares(plan: Plan) -> bool:
    """Whether a plan has anything to prepare."""
    return Preparation.of(plan) is not None


def preparation_text(plan: Plan, low: Mapping[str, str] | None = None) -> str:
    """The functions a candidate needs for it; `low` names values that are kept in another dtype than the plan's."""
    preparation = Preparation.of(plan)
    dtypes = {buffer.name: f"torch.{buffer.dtype}" for buffer in plan.buffers} | dict(low or {})
    return _PREPARED_TEXT + preparation.function_text(dtypes) if preparation is not None else ""


def preparation_lines(plan: Plan) -> Iterator[str]:
    """The statements of forward that bring what was prepared."""
    preparation = Preparation.of(plan)
    if preparation is not None:
        yield preparation.call()
