"""A plan as a C++ candidate for the CPU: readable source of `class ModelNew` and of one C++ function per region.

The builtin generator calls `cpp_space` for what can be tuned and `emit_cpp` for the source under one choice. No torch
header is compiled (they would take most of a minute): the functions are plain C, called with pointers.
"""

from collections.abc import Iterator, Mapping

from everforge.agents.builtin.closing import reads
from everforge.agents.builtin.cpp_kernels import Tuning, region_buffers, region_source
from everforge.agents.builtin.cpp_prelude import prelude
from everforge.agents.builtin.module_text import (
    STATE_HELPERS,
    argument_names,
    inputs_of,
    returned_text,
    size_text,
    state_lines,
    step_lines,
)
from everforge.agents.builtin.plan import KernelRegion, MatmulRegion, Plan, Reduce, Step, describe
from everforge.model.candidate import ParameterValue
from everforge.model.graph import TaskGraph

FLAGS = ("-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-fno-trapping-math", "-w")
"""None of them lets the compiler assume that there are no NaN or infinities, as -ffast-math would."""


def cpp_space(plan: Plan) -> dict[str, tuple[ParameterValue, ...]]:
    """What can be tuned and its choices, the default first."""
    space: dict[str, tuple[ParameterValue, ...]] = {}
    for region in _regions(plan):
        name = region.name
        if any(isinstance(value, Reduce) for value in region.values):
            space[f"{name}_unroll"] = (4, 2, 8, 1)
            space[f"{name}_keep_from"] = (4, 10, 1000)
        else:
            space[f"{name}_unroll"] = (2, 1, 4)
            space[f"{name}_chunk"] = (8192, 2048, 32768)
        if any(not store.per_row for store in region.stores):
            space[f"{name}_streams"] = (False, True)
    if space:
        space["lanes"] = (16, 8)
    return space


def emit_cpp(plan: Plan, graph: TaskGraph, parameters: Mapping[str, ParameterValue]) -> str:
    """Source of a candidate for `plan` under the chosen `parameters`; what is missing takes its default."""
    chosen = {name: parameters.get(name, choices[0]) for name, choices in cpp_space(plan).items()}
    kernels = "".join(region_source(region, _tuning(region, chosen)) for region in _regions(plan))
    forward = "\n".join(f"        {line}" for line in _forward_lines(plan))
    state = "\n".join(f"        {line}" for line in state_lines(plan, graph))
    steps = "\n".join(f"  {line}" for line in describe(plan))
    built = _build_text(prelude(kernels, int(chosen.get("lanes", 16))) + kernels) if kernels else ""
    names = "".join(f", {name}" for name in argument_names(plan))
    return f'''"""Written by Everforge's builtin generator. Steps, in order:

{steps}
"""

{_IMPORTS if kernels else "import torch"}
from torch import nn
{built}{STATE_HELPERS}

class ModelNew(nn.Module):
    """The task's Model with the steps above in place of its operations."""

    def __init__(self, *_arguments, **_named):
        super().__init__()
{state}

    def forward(self{names}):
{forward}
'''


_IMPORTS = """import ctypes
import hashlib

import torch
from torch.utils.cpp_extension import load_inline"""


def _build_text(cpp: str) -> str:
    """The C++ source as a raw string, its build, and the function that calls into it."""
    return f'''
CPP_SOURCE = r"""
{cpp}"""

_library = ctypes.CDLL(
    load_inline(
        name="everforge_" + hashlib.sha256(CPP_SOURCE.encode()).hexdigest()[:16],
        cpp_sources=[CPP_SOURCE],
        extra_cflags={list(FLAGS)},
        extra_ldflags=["-fopenmp"],
        is_python_module=False,
        no_implicit_headers=True,
    )
)


def _run(kernel, tensors, extents, counts):
    """Call a kernel on contiguous float32 tensors; `counts` are the elements it takes each tensor to have."""
    for position, (tensor, count) in enumerate(zip(tensors, counts)):
        if tensor.numel() != count or tensor.dtype != torch.float32 or not tensor.is_contiguous():
            raise ValueError(
                f"{{kernel}}: tensor {{position}} is {{tuple(tensor.shape)}} {{tensor.dtype}}, where {{count}} float32 "
                "elements are needed: this shape does not have the structure the kernel was made for"
            )
    at = (ctypes.c_void_p * len(tensors))(*[tensor.data_ptr() for tensor in tensors])
    sizes = (ctypes.c_int64 * len(extents))(*extents)
    getattr(_library, kernel)(at, sizes, torch.get_num_threads())
'''


def _regions(plan: Plan) -> Iterator[KernelRegion]:
    """Every kernel of the plan; a product's epilogue is one, since the product itself is left to oneDNN."""
    for step in plan.steps:
        if isinstance(step, KernelRegion):
            yield step
        elif isinstance(step, MatmulRegion) and step.epilogue is not None:
            yield step.epilogue


def _tuning(region: KernelRegion, chosen: Mapping[str, ParameterValue]) -> Tuning:
    def number(name: str, default: int) -> int:
        return int(chosen.get(f"{region.name}_{name}", default))

    return Tuning(
        unroll=number("unroll", 4),
        chunk=number("chunk", 8192),
        keep_from=number("keep_from", 4),
        streams=bool(chosen.get(f"{region.name}_streams", False)),
    )


def _forward_lines(plan: Plan) -> Iterator[str]:
    for buffer in inputs_of(plan):
        yield f"{buffer.name} = {buffer.name}.contiguous()"
    for buffer in plan.buffers:
        if buffer.origin == "constant":
            yield f"{buffer.name} = self.{buffer.name}"
        elif buffer.origin in ("parameter", "buffer") and _is_read(plan, buffer.name):
            yield f'{buffer.name} = self.get_{buffer.origin}("{buffer.target}").contiguous()'
    for number, step in enumerate(plan.steps):
        match step:
            case KernelRegion():
                yield from _call_lines(plan, step, plan.steps[number + 1 :])
            case MatmulRegion():
                yield from _product_lines(plan, step, plan.steps[number + 1 :])
            case _:
                yield from step_lines(step)
    yield f"return {returned_text(plan)}"


def _is_read(plan: Plan, name: str) -> bool:
    return name in plan.results or any(name in reads(step) for step in plan.steps)


def _product_lines(plan: Plan, step: MatmulRegion, later: tuple[Step, ...]) -> Iterator[str]:
    if step.batched:
        yield f"{step.product} = torch.bmm({step.lhs}, {step.rhs}{'.mT' if step.rhs_transposed else ''})"
    else:
        weight = step.rhs if step.rhs_transposed else f"{step.rhs}.t()"
        bias = f", {step.bias}" if step.bias else ""
        yield f"{step.product} = nn.functional.linear({step.lhs}, {weight}{bias})"
    if step.epilogue is not None:
        yield from _call_lines(plan, step.epilogue, later)


def _call_lines(plan: Plan, region: KernelRegion, later: tuple[Step, ...]) -> Iterator[str]:
    """Make room for what a region stores (in place of a buffer nobody needs any more, if it may), and call it."""
    shapes = {buffer.name: "".join(f"{size_text(size)}, " for size in buffer.shape) for buffer in plan.buffers}
    free = _replaceable(plan, region, later)
    for store in region.stores:
        if free is not None and not store.per_row:
            yield f"{store.buffer} = {free}.view({shapes[store.buffer]})  # in place: nothing else reads it"
            free = None
        else:
            yield f"{store.buffer} = torch.empty(({shapes[store.buffer]}))"
    names = region_buffers(region)
    yield f"n_{region.name} = [{', '.join(size_text(size) for size in region.domain)}]"
    elements = [_elements(region, name) for name in names]
    yield f'_run("{region.name}", [{", ".join(names)}], n_{region.name}, [{", ".join(elements)}])'


def _elements(region: KernelRegion, name: str) -> str:
    """How many elements a region takes a buffer to have."""
    axes: tuple[int, ...] | None = next((load.axes for load in region.loads() if load.buffer == name), None)
    if axes is None:
        per_row = next(store.per_row for store in region.stores if store.buffer == name)
        axes = tuple(range(region.row_axes if per_row else len(region.domain)))
    return " * ".join(f"n_{region.name}[{axis}]" for axis in axes) or "1"


def _replaceable(plan: Plan, region: KernelRegion, later: tuple[Step, ...]) -> str | None:
    """A temporary the region may overwrite: read in full and in order, in the sweep of the only store, then never."""
    stores = [store for store in region.stores if not store.per_row]
    if len(stores) != 1:
        return None
    everything = tuple(range(len(region.domain)))
    for load in region.loads():
        needed = load.buffer in plan.results or any(load.buffer in reads(step) for step in later)
        owned = any(_makes(step, load.buffer) for step in plan.steps)
        whole = all(other.axes == everything for other in region.loads() if other.buffer == load.buffer)
        if owned and whole and not needed and _stores_last(region):
            return load.buffer
    return None


def _makes(step: Step, name: str) -> bool:
    """Whether a buffer is memory that a kernel or product of this plan allocated (a view would not be)."""
    if isinstance(step, MatmulRegion):
        return name == step.product or (step.epilogue is not None and _makes(step.epilogue, name))
    return isinstance(step, KernelRegion) and any(store.buffer == name for store in step.stores)


def _stores_last(region: KernelRegion) -> bool:
    """Whether no sweep follows the one that stores elements."""
    level = region.sweeps()
    stored = min(level[store.value] for store in region.stores if not store.per_row)
    return all(level[value.arg] <= stored for value in region.values if isinstance(value, Reduce))
