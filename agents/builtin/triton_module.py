"""`class ModelNew` of a Triton candidate: the reference's parameters by name, and forward as a list of steps.

`triton_emitter.py` calls it with the launchers already written.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from everforge.agents.builtin.module_text import (
    STATE_HELPERS,
    class_text,
    inputs_of,
    laid_out_text,
    product_text,
    size_text,
    step_lines,
)
from everforge.agents.builtin.plan import BufferArg, KernelRegion, MatmulRegion, Plan, TorchStep
from everforge.agents.builtin.preparation import preparation_lines, preparation_text
from everforge.agents.builtin.triton_matmul_launch import matmul_buffers
from everforge.agents.builtin.triton_space import Choice, is_fused, tail_of, without_tail
from everforge.model.graph import TaskGraph

_TORCH_DTYPES = {"bf16": "torch.bfloat16", "fp16": "torch.float16"}

_PACKED = '''

def _packed(copies, name, parameter, dtype, transposed=False):
    """A low-precision or transposed copy of a parameter, made once, and again after the parameter changed."""
    stamp = (parameter.data_ptr(), parameter._version)
    if name not in copies or copies[name][0] != stamp:
        source = parameter.detach().t() if transposed else parameter.detach()
        copies[name] = (stamp, source.to(dtype).contiguous())
    return copies[name][1]
'''

_MULTIPROCESSORS = '''

@functools.cache
def _multiprocessors(device):
    """How many programs run side by side on the device; a few where kernels are interpreted on the CPU."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 4
'''


_CHECK = '''

def _check_extents(tensors, counts):
    """Refuse shapes of another structure than the kernels were made for, before they read past a tensor's end."""
    for position, (tensor, count) in enumerate(zip(tensors, counts, strict=True)):
        if tensor.numel() != count:
            raise ValueError(f"tensor {position} is {tuple(tensor.shape)}, where {count} elements are needed")
'''


_STRIDES = '''

def _strides(operand):
    """Elements from one index to the next along each dimension; none along those it is broadcast along."""
    return [0 if size == 1 else stride for size, stride in zip(operand.shape, operand.stride(), strict=True)]
'''


def helpers_text(module: str, kernels: str) -> str:
    """The helper functions a candidate needs."""
    chosen = [
        _CHECK if "_check_extents(" in kernels else "",
        _STRIDES if "_strides(" in kernels else "",
        _PACKED if "_packed(" in module else "",
        _MULTIPROCESSORS if "_multiprocessors(" in kernels else "",
    ]
    return STATE_HELPERS + "".join(chosen)


def module_text(graph: TaskGraph, choice: Choice) -> str:
    """The class: constructor with every parameter and buffer declared, and forward."""
    forward = list(_Forward(choice).lines())
    copies = ["self._copies = {}"] if any("self._copies" in line for line in forward) else []
    return preparation_text(choice.plan, _Forward(choice).low_dtypes()) + class_text(
        choice.plan, graph, forward, copies
    )


class _Forward:
    """Writes the body of forward, one step after another."""

    def __init__(self, choice: Choice) -> None:
        self.plan = choice.plan
        self.choice = choice
        self.buffers = {buffer.name: buffer for buffer in self.plan.buffers}
        self.low = _TORCH_DTYPES.get(choice.precision)
        self.stored_low = _stored_low(self.plan) if self.low else frozenset()

    def lines(self) -> Iterator[str]:
        first = next(iter(inputs_of(self.plan)), None) or self.plan.buffers[0]
        yield f"device = {first.name}.device"
        yield from preparation_lines(self.plan)
        for step in self.plan.steps:
            match step:
                case KernelRegion():
                    yield from self._region(step)
                case MatmulRegion():
                    yield from self._matmul(step)
                case TorchStep() if not step.once:
                    yield from step_lines(step)

    def low_dtypes(self) -> dict[str, str]:
        """The buffers that are stored at the products' precision, as torch names it."""
        return dict.fromkeys(self.stored_low, self.low or "")

    def _dtype(self, name: str) -> str:
        return self.low if self.low and name in self.stored_low else f"torch.{self.buffers[name].dtype}"

    def _region(self, region: KernelRegion) -> Iterator[str]:
        for store in region.stores:
            yield self._allocation(store.buffer)
        yield self._call(region.name, [*region.buffers(), *map(size_text, region.domain)])

    def _matmul(self, region: MatmulRegion) -> Iterator[str]:
        if self.choice.text(f"{region.name}_kernel") == "torch":
            yield from self._vendor_product(region)
            if region.twin is not None:
                twin = region.twin
                yield from self._vendor_product(replace(region, rhs=twin.rhs, bias=twin.bias, product=twin.product))
            if region.epilogue is not None:
                yield from self._region(tail_of(region))
            return
        fused = is_fused(region, self.choice)
        shown = region if fused else without_tail(region)
        if shown.keeps_product or shown.epilogue is None:
            yield self._allocation(region.product)
        epilogue = shown.epilogue
        for store in epilogue.stores if epilogue is not None else ():
            yield self._allocation(store.buffer)
        axes = [size_text(size) for size in epilogue.domain] if epilogue is not None else []
        persistent = self.choice.text(f"{region.name}_kernel") == "persistent"
        names = [region.lhs, region.rhs, *([region.twin.rhs] if region.twin is not None else [])]
        operands = [self._operand(name, casts=persistent) for name in names]
        if region.layouts is not None:
            operands = [laid_out_text(text, layout) for text, layout in zip(operands, region.layouts, strict=True)]
        yield self._call(region.name, [*operands, *matmul_buffers(shown, self.plan), *axes])
        if region.epilogue is not None and not fused:
            yield from self._region(tail_of(region))

    def _vendor_product(self, region: MatmulRegion) -> Iterator[str]:
        lhs, rhs = self._operand(region.lhs, casts=True), self._operand(region.rhs, casts=True)
        bias = self._operand(region.bias, casts=True) if region.bias is not None else None
        product = product_text(region, self.plan, lhs, rhs, bias)
        returns_low = region.product in self.stored_low or (region.epilogue is not None and not region.keeps_product)
        yield f"{region.product} = {product}{'' if returns_low or not self.low else '.float()'}"

    def _operand(self, name: str, casts: bool) -> str:
        """An operand of a product; a parameter as the copy made once, anything else cast where asked for."""
        if self.low is None or name in self.stored_low:
            return name
        if self.buffers[name].origin == "parameter":
            return f'_packed(self._copies, "{name}", {name}, {self.low})'
        return f"{name}.to({self.low})" if casts else name

    def _allocation(self, name: str) -> str:
        sizes = "".join(f"{size_text(size)}, " for size in self.buffers[name].shape)
        return f"{name} = torch.empty(({sizes}), dtype={self._dtype(name)}, device=device)"

    def _call(self, name: str, arguments: list[str]) -> str:
        return f"run_{name}({', '.join(arguments)})"


def _stored_low(plan: Plan) -> frozenset[str]:
    """Temporaries that can be stored at the products' precision: what only products read, and products.

    A product in bf16 is what PyTorch's own bf16 gives, and half the bytes to write and to read again.
    """
    products = {name for step in plan.steps if isinstance(step, MatmulRegion) for name in step.products}
    made = {name for step in plan.steps for name in _stored_by(step)} | products
    for step in plan.steps:
        match step:
            case KernelRegion():
                made -= {load.buffer for load in step.loads()} - products
            case MatmulRegion():
                made -= {load.buffer for load in step.epilogue.loads()} - products if step.epilogue else set()
                made -= set(step.biases)
            case TorchStep() if not step.once:
                made -= {name for arg in (*step.args, *(v for _, v in step.kwargs)) for name in _buffers_in(arg)}
    return frozenset(made - set(plan.results))


def _stored_by(step: KernelRegion | MatmulRegion | TorchStep) -> set[str]:
    match step:
        case KernelRegion():
            return {store.buffer for store in step.stores}
        case MatmulRegion():
            stores = {store.buffer for store in step.epilogue.stores} if step.epilogue else set()
            return stores | ({step.product} if step.keeps_product else set())
        case TorchStep():
            return {name for name in step.outputs if name is not None} if step.once else set()


def _buffers_in(value: Any) -> set[str]:
    if isinstance(value, BufferArg):
        return {value.name}
    return {name for item in value for name in _buffers_in(item)} if isinstance(value, tuple | list) else set()
