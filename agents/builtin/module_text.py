"""The parts of a candidate's Python that do not depend on the device: state by name, sizes, PyTorch's own calls.

`cpp_emitter.py` and `triton_module.py` write `class ModelNew` with it.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any

from everforge.agents.builtin.closing import reads
from everforge.agents.builtin.plan import (
    Buffer,
    BufferArg,
    DeviceOf,
    Layout,
    MatmulRegion,
    Plan,
    Size,
    TorchStep,
    describe,
)
from everforge.model.graph import TaskGraph

STATE_HELPERS = '''

def _declare(model, name, shape, dtype, is_parameter):
    """Make room for a parameter or buffer under its name in the reference, such as `net.0.weight`."""
    *path, leaf = name.split(".")
    for part in path:
        if part not in model._modules:
            model.add_module(part, nn.Module())
        model = model._modules[part]
    tensor = torch.zeros(shape, dtype=dtype)
    if is_parameter:
        model.register_parameter(leaf, nn.Parameter(tensor, requires_grad=tensor.is_floating_point()))
    else:
        model.register_buffer(leaf, tensor)


def _fit_shapes(model, state, prefix, *_):
    """Before loading: other variants of the task may have parameters of other shapes under the same names."""
    for name, value in state.items():
        *path, leaf = name.removeprefix(prefix).split(".")
        owner = model.get_submodule(".".join(path))
        held = getattr(owner, leaf, None)
        if isinstance(held, torch.Tensor) and held.shape != value.shape:
            held.data = torch.zeros(value.shape, dtype=held.dtype, device=held.device)
'''


def class_text(plan: Plan, graph: TaskGraph, forward: Iterable[str], constructor: Iterable[str] = ()) -> str:
    """The class: the reference's state under its names, and forward with these lines before it returns."""
    kept = ["self._arguments = _arguments, _named"] if plan.bound else []
    declared = "\n".join(f"        {line}" for line in [*kept, *state_lines(plan, graph), *constructor])
    opening = [*guard_lines(plan), *opening_lines(plan)]
    body = "\n".join(f"        {line}" for line in [*opening, *forward, f"return {returned_text(plan)}"])
    names = "".join(f", {name}" for name in argument_names(plan))
    return f'''{bound_text(plan)}

class ModelNew(nn.Module):
    """The task's Model with the steps above in place of its operations."""

    def __init__(self, *_arguments, **_named):
        super().__init__()
{declared}

    def forward(self{names}):
{body}
'''


_REFERENCE = '''

def _by_reference(model, *inputs):
    """The task's own operations on the candidate's parameters, at shapes that the steps above are not made for."""
    arguments, named = model._arguments
    with next(x.device for x in inputs if isinstance(x, torch.Tensor)):
        reference = Model(*arguments, **named).train(model.training)
    return torch.func.functional_call(reference, model.state_dict(), inputs, tie_weights=False)
'''


def bound_text(plan: Plan) -> str:
    """The reference, and the shapes at which it is not needed; nothing for a plan that serves any shape."""
    if plan.bound is None:
        return ""
    shapes = "".join(f"    {shape},\n" for shape in plan.bound.shapes)
    return f"\n\n{plan.bound.reference}\n\n_SHAPES = {{\n{shapes}}}\n{_REFERENCE}"


def guard_lines(plan: Plan) -> Iterator[str]:
    """Statements of forward that leave it at shapes the plan is not made for."""
    if plan.bound is not None:
        names = argument_names(plan)
        yield f"if ({''.join(f'{buffer.name}.shape, ' for buffer in inputs_of(plan))}) not in _SHAPES:"
        yield f"    return _by_reference(self, {', '.join(names)})"


def head_text(plan: Plan) -> str:
    """The docstring of the candidate: its steps."""
    steps = "\n".join(f"  {line}" for line in describe(plan))
    return f'"""Written by Everforge\'s builtin generator. Steps, in order:\n\n{steps}\n"""\n\n'


def opening_lines(plan: Plan) -> Iterator[str]:
    """Statements of forward that make inputs contiguous and bring what is read of the module's state."""
    for buffer in inputs_of(plan):
        yield f"{buffer.name} = {buffer.name}.contiguous()"
    for buffer in plan.buffers:
        if buffer.origin == "constant":
            yield f"{buffer.name} = self.{buffer.name}"
        elif buffer.origin in ("parameter", "buffer") and _is_read(plan, buffer.name):
            yield f'{buffer.name} = self.get_{buffer.origin}("{buffer.target}").contiguous()'


def _is_read(plan: Plan, name: str) -> bool:
    return name in plan.results or any(name in reads(step) for step in plan.steps)


def product_text(region: MatmulRegion, plan: Plan, lhs: str, rhs: str, bias: str | None) -> str:
    """PyTorch's own product of operands under these names."""
    shape = plan.buffer(region.product).shape
    if region.layouts is not None:
        left, right = (laid_out_text(name, layout) for name, layout in zip((lhs, rhs), region.layouts, strict=True))
        product = f"torch.matmul({left}, {right}).reshape({', '.join(map(size_text, shape))})"
    elif region.batched:
        left, right = (f"{lhs}{'.mT' * region.lhs_transposed}", f"{rhs}{'.mT' * region.rhs_transposed}")
        product = f"torch.bmm({left}, {right})"
    else:
        weight = rhs if region.rhs_transposed else f"{rhs}.t()"
        given = "" if bias is None else f", {bias}"
        product, bias = f"nn.functional.linear({lhs}{'.t()' * region.lhs_transposed}, {weight}{given})", None
    shifted = product if bias is None else f"({product} + {bias})"
    if region.triangle is None:
        return shifted
    return f"torch.{'tril' if region.triangle == 'lower' else 'triu'}({shifted}, {region.diagonal})"


def laid_out_text(name: str, layout: Layout) -> str:
    """An operand with the dimensions of its product, without moving it."""
    axes = [axis for axis in layout.order if axis is not None]
    text = f"{name}.view({', '.join(map(size_text, layout.shape))}).permute({', '.join(map(str, axes))})"
    broadcast = [str(position) for position, axis in enumerate(layout.order) if axis is None]
    return text + "".join(f".unsqueeze({position})" for position in broadcast)


def state_lines(plan: Plan, graph: TaskGraph) -> Iterator[str]:
    """Statements of the constructor that declare the reference's state, and the graph's constants beside it."""
    for node in graph.nodes:
        if node.op in ("parameter", "buffer") and node.target is not None and node.outputs:
            meta, kind = node.outputs[0], node.op == "parameter"
            yield f'_declare(self, "{node.target}", {meta.shape}, torch.{meta.dtype}, {kind})'
    for buffer in plan.buffers:
        if buffer.origin == "constant" and buffer.values is not None:
            tensor = f"torch.tensor({literal_text(buffer.values)}, dtype=torch.{buffer.dtype})"
            yield f'self.register_buffer("{buffer.name}", {tensor}, persistent=False)'
    yield "self.register_load_state_dict_pre_hook(_fit_shapes)"


def inputs_of(plan: Plan) -> list[Buffer]:
    """The buffers that are arguments of forward, in order."""
    found = [buffer for buffer in plan.buffers if buffer.origin == "input"]
    return sorted(found, key=lambda buffer: buffer.position or 0)


def argument_names(plan: Plan) -> list[str]:
    """Names of forward's arguments; those that are no tensors are taken and not read."""
    named = {buffer.position: buffer.name for buffer in inputs_of(plan)}
    return [named.get(position, f"_unused_{position}") for position in range(plan.input_count)]


def step_lines(step: TorchStep) -> Iterator[str]:
    """The call of a step that is left to PyTorch."""
    given = [literal_text(arg) for arg in step.args] + [f"{key}={literal_text(value)}" for key, value in step.kwargs]
    if not step.reason.startswith("a view"):
        yield f"# left to PyTorch: {step.reason}"
    yield f"{', '.join(name or '_' for name in step.outputs)} = torch.ops.{step.op}({', '.join(given)})"
    for name in step.outputs:
        if name is not None:
            yield f"{name} = {name}.contiguous()"


def returned_text(plan: Plan) -> str:
    """What forward returns, in the reference's form."""
    if plan.structure == "tensor":
        return plan.results[0]
    return f"[{', '.join(plan.results)}]" if plan.structure == "list" else f"({', '.join(plan.results)},)"


def size_text(size: Size) -> str:
    """An extent as an expression over the shapes of buffers."""
    factors = [f"{buffer}.shape[{dimension}]" for buffer, dimension in size.factors]
    if size.times != 1 or not factors:
        factors.append(str(size.times))
    text = " * ".join(factors)
    return text if size.over == 1 else f"({text}) // {size.over}"


def literal_text(value: Any) -> str:
    """An argument of a TorchStep, or a constant's values, as source."""
    match value:
        case BufferArg():
            return value.name
        case DeviceOf():
            return f"{value.name}.device"
        case Size():
            return size_text(value)
        case dict() if "dtype" in value:
            return f"torch.{value['dtype']}"
        case dict() if "float" in value:
            return f'float("{value["float"]}")'
        case float() if not math.isfinite(value):
            return f'float("{value}")'
        case tuple() | list():
            return f"[{', '.join(literal_text(item) for item in value)}]"
        case _:
            return repr(value)
