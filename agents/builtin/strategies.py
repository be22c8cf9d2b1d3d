"""Ways to write one plan as a candidate: language, parameter space and emitter for a device and a precision.

`generator.py` tries the defaults of each strategy and then tunes the one that did best.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from everforge.agents.builtin.cpp_emitter import cpp_space, emit_cpp
from everforge.agents.builtin.gates import with_gates
from everforge.agents.builtin.plan import MatmulRegion, Plan, TorchStep, describe
from everforge.agents.builtin.triton_emitter import emit_triton, triton_space
from everforge.agents.builtin.triton_starts import triton_starts
from everforge.model.candidate import Language, ParameterValue
from everforge.model.device import DeviceKind
from everforge.model.graph import TaskGraph
from everforge.model.precision import Precision

Parameters = Mapping[str, ParameterValue]


@dataclass(frozen=True)
class Strategy:
    """One way to write a plan."""

    name: str
    language: Language
    space: Mapping[str, tuple[ParameterValue, ...]]
    emit: Callable[[Parameters], str]
    starts: tuple[Parameters, ...] = ()  # points of the space to try first, best guess first; none: the defaults
    is_fallback: bool = False  # tried once those before it are refuted or used up
    rewrites: tuple[str, ...] = ()  # the plan's algebra
    steps: tuple[str, ...] = ()  # of the plan, a line for each


def strategies_for(plan: Plan, graph: TaskGraph, device: DeviceKind, policy: Precision) -> tuple[Strategy, ...]:
    """The strategies for a device, most promising first; none where the plan leaves everything to PyTorch.

    Products are computed at the lowest precision the policy allows; a higher one is slower by its tensor cores'
    rates (tf32 2.5×, fp32 12× on an H200), so it waits until the lowest turned out incorrect.
    """
    if all(isinstance(step, TorchStep) for step in plan.steps):
        return ()
    if device is DeviceKind.CPU:
        if not cpp_space(plan):
            return ()
        return (_cpp(plan, graph),)
    multiplies = any(isinstance(step, MatmulRegion) for step in plan.steps)
    precisions = tuple(reversed(policy.allowed)) if multiplies else (Precision.FP32,)
    lowest = precisions[0]
    return tuple(_triton(plan, graph, device, precision, precision is not lowest) for precision in precisions)


def _cpp(plan: Plan, graph: TaskGraph) -> Strategy:
    """Fused C++ kernels around oneDNN's products."""

    def emit(chosen: Parameters) -> str:
        return emit_cpp(plan, graph, chosen)

    strategy = Strategy(_named("fused C++", plan), Language.CPP, cpp_space(plan), emit)
    return replace(strategy, rewrites=plan.rewrites, steps=describe(plan))


def _named(name: str, plan: Plan) -> str:
    return f"{name}, rewritten" if plan.rewrites else name


def _triton(plan: Plan, graph: TaskGraph, device: DeviceKind, precision: Precision, is_fallback: bool) -> Strategy:
    """Fused Triton kernels whose matrix products compute in `precision`."""
    plan = with_gates(plan)
    space: dict[str, tuple[ParameterValue, ...]] = {
        "precision": (precision.value,),
        **triton_space(plan, precision.value, device),
    }
    return Strategy(
        _named(f"fused Triton {precision}", plan),
        Language.TRITON,
        space,
        lambda chosen: emit_triton(plan, graph, chosen, device),
        triton_starts(plan, space),
        is_fallback,
        plan.rewrites,
        describe(plan),
    )
