"""A plan as a C++ candidate for the CPU: readable source of `class ModelNew` and of one C++ function per region.

The builtin generator calls `cpp_space` for what can be tuned and `emit_cpp` for the source under one choice. No torch
header is compiled (they would take most of a minute): the functions are plain C, called with pointers.
"""

from collections.abc import Iterator, Mapping

from everforge.agents.builtin.closing import reads
from everforge.agents.builtin.cpp_kernels import Tuning, region_source
from everforge.agents.builtin.cpp_prelude import prelude
from everforge.agents.builtin.cpp_schedule import levels
from everforge.agents.builtin.module_text import (
    STATE_HELPERS,
    class_text,
    head_text,
    product_text,
    size_text,
    step_lines,
)
from everforge.agents.builtin.plan import KernelRegion, MatmulRegion, Plan, Pooled, Reduce, Step, TorchStep
from everforge.agents.builtin.preparation import preparation_lines, preparation_text, prepares
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
    booleans = frozenset(buffer.name for buffer in plan.buffers if buffer.dtype == "bool")
    kernels = "".join(region_source(region, _tuning(region, chosen), booleans) for region in _regions(plan))
    built = _build_text(prelude(kernels, int(chosen.get("lanes", 16))) + kernels) if kernels else ""
    imports = f"{_IMPORTS if kernels else 'import torch'}\nfrom torch import nn\n"
    module = class_text(plan, graph, _forward_lines(plan), ["self._copies = {}"] if prepares(plan) else [])
    return head_text(plan) + imports + built + STATE_HELPERS + preparation_text(plan) + module


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
    """Call a kernel on contiguous tensors; `counts` are the elements it takes each tensor to have."""
    for position, (tensor, count) in enumerate(zip(tensors, counts)):
        is_read = tensor.dtype in (torch.float32, torch.bool) and tensor.is_contiguous()
        if tensor.numel() != count or not is_read:
            raise ValueError(
                f"{{kernel}}: tensor {{position}} is {{tuple(tensor.shape)}} {{tensor.dtype}}, where {{count}} "
                "elements of float32 or bool are needed: this shape does not have the structure the kernel was made for"
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
    yield from preparation_lines(plan)
    for number, step in enumerate(plan.steps):
        match step:
            case KernelRegion():
                yield from _call_lines(plan, step, plan.steps[number + 1 :])
            case MatmulRegion():
                yield from _product_lines(plan, step, plan.steps[number + 1 :])
            case TorchStep() if not step.once:
                yield from step_lines(step)


def _product_lines(plan: Plan, step: MatmulRegion, later: tuple[Step, ...]) -> Iterator[str]:
    yield f"{step.product} = {product_text(step, plan, step.lhs, step.rhs, step.bias)}"
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
    names = region.buffers()
    yield f"n_{region.name} = [{', '.join(size_text(size) for size in region.domain)}]"
    elements = [_elements(region, name) for name in names]
    given = [_given(plan, name) for name in names]
    yield f'_run("{region.name}", [{", ".join(given)}], n_{region.name}, [{", ".join(elements)}])'


def _given(plan: Plan, name: str) -> str:
    """A buffer as kernels read it: floats, or booleans as they are."""
    dtype = plan.buffer(name).dtype
    return f"{name}.bool()" if dtype == "bool" else name if dtype == "float32" else f"{name}.float()"


def _elements(region: KernelRegion, name: str) -> str:
    """How many elements a region takes a buffer to have."""
    pooled = region.pooled_extent(name)
    sizes = [*(f"n_{region.name}[{axis}]" for axis in region.axes_of(name)), *([str(pooled)] if pooled > 1 else [])]
    return " * ".join(sizes) or "1"


def _replaceable(plan: Plan, region: KernelRegion, later: tuple[Step, ...]) -> str | None:
    """A temporary the region may overwrite: read in full and in order, in the sweep of the only store, then never."""
    stores = [store for store in region.stores if not store.per_row]
    if len(stores) != 1:
        return None
    everything = tuple(range(len(region.domain)))
    for load in region.loads():
        needed = load.buffer in plan.results or any(load.buffer in reads(step) for step in later)
        owned = any(_makes(step, load.buffer) for step in plan.steps)
        same = [other for other in region.loads() if other.buffer == load.buffer]
        whole = all(other.axes == everything and not isinstance(other, Pooled) for other in same)
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
    level = levels(region)
    stored = min(level[store.value] for store in region.stores if not store.per_row)
    folds = [number for number, value in enumerate(region.values) if isinstance(value, Reduce)]
    return all(level[number] - 1 <= stored for number in folds)
