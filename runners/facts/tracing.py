"""Traces a reference into a `TaskGraph`, so that generators can plan kernels without importing torch.

The session calls it once for each variant, inside the trusted runner process. torch.export comes first,
because it lifts parameters, keeps high-level ATen operations and functionalises; torch.fx comes second.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx
from torch.fx.passes.shape_prop import ShapeProp

from everforge.model.graph import GraphNode, Ref, TaskGraph, TensorMeta, TraceFailure
from everforge.runners.facts.tracing_cost import bytes_read_of, bytes_written_of, flops_of

_INLINE_ELEMENTS = 256  # a constant tensor up to this size travels as a list; above it only its shape does


def trace_task(
    model: torch.nn.Module, inputs: Sequence[Any], variant: str, init_args: Sequence[Any]
) -> TaskGraph | TraceFailure:
    """The reference as data under the shapes of `inputs`, or why neither tracer could read it."""
    reasons = []
    for name, tracer in (("torch.export", _exported), ("torch.fx", _symbolic)):
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")
                return tracer(model, tuple(inputs), variant, _plain_data(tuple(init_args)))
        except Exception as error:  # noqa: BLE001  the model is the user's code: whatever it raises is a reason
            reasons.append(f"{name}: {type(error).__name__}: {str(error).strip().splitlines()[:1]}")
    return TraceFailure(variant=variant, reason="; ".join(reasons))


def _exported(model: torch.nn.Module, inputs: tuple[Any, ...], variant: str, init_args: tuple[Any, ...]) -> TaskGraph:
    """The graph torch.export makes: functional, parameters lifted, high-level operations kept."""
    program = torch.export.export(model, inputs, strict=False).run_decompositions({})
    signature = program.graph_signature
    origins: dict[str, tuple[str, str | None]] = {}
    for spec in signature.input_specs:
        origins[str(getattr(spec.arg, "name", ""))] = (_ORIGINS.get(spec.kind.name, "input"), spec.target)
    constants = {**program.constants, **program.state_dict}
    nodes = []
    for node in program.graph.nodes:
        if node.op == "placeholder":
            op, target = origins.get(node.name, ("input", None))
            if op == "buffer" and target in signature.non_persistent_buffers:
                op = "constant"
            nodes.append(_leaf(node.name, op, target, node.meta.get("val"), constants.get(target or "")))
        elif node.op == "call_function":
            nodes.append(_call(node))
    mutated = {**signature.buffers_to_mutate, **signature.user_inputs_to_mutate}
    if mutated:
        names = ", ".join(sorted(str(name) for name in mutated.values()))
        raise ValueError(f"forward changes {names} in place")
    returned = [arg for arg in next(n for n in program.graph.nodes if n.op == "output").args[0]]
    structure = _structure_of(program.call_spec.out_spec)
    return _finish(model, variant, init_args, nodes, returned, structure)


_ORIGINS = {
    "PARAMETER": "parameter",
    "BUFFER": "buffer",
    "CONSTANT_TENSOR": "constant",
    "USER_INPUT": "input",
}


def _symbolic(model: torch.nn.Module, inputs: tuple[Any, ...], variant: str, init_args: tuple[Any, ...]) -> TaskGraph:
    """The graph torch.fx makes; calls of modules and methods keep their own names, which no planner fuses."""
    traced = fx.symbolic_trace(model)
    ShapeProp(traced).propagate(*inputs)  # type: ignore[no-untyped-call]
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    parameters = {name for name, _ in model.named_parameters()}
    nodes = []
    for node in traced.graph.nodes:
        if node.op == "placeholder":
            nodes.append(_leaf(node.name, "input", None, node.meta.get("tensor_meta"), None))
        elif node.op == "get_attr":
            op = "parameter" if str(node.target) in parameters else "buffer"
            value = tensors[str(node.target)]
            nodes.append(_leaf(node.name, op, str(node.target), value, None))
        elif node.op != "output":
            nodes.append(_call(node))
    returned = next(n for n in traced.graph.nodes if n.op == "output").args[0]
    structure = "tensor" if isinstance(returned, fx.Node) else type(returned).__name__
    flat = [returned] if isinstance(returned, fx.Node) else list(returned)
    return _finish(model, variant, init_args, nodes, flat, structure if structure in _PLAIN else "other")


_PLAIN = ("tensor", "tuple", "list")


def _finish(
    model: torch.nn.Module,
    variant: str,
    init_args: tuple[Any, ...],
    nodes: list[GraphNode],
    returned: list[Any],
    structure: str,
) -> TaskGraph:
    """Put the parts together; state that is never read is listed too: a candidate must declare it."""
    if not all(isinstance(item, fx.Node) for item in returned):
        raise ValueError("forward returns something that is not a tensor")
    known = {node.target for node in nodes}
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    unused = [
        _leaf(f"unused_{index}", "parameter" if name in parameters else "buffer", name, value, None)
        for index, (name, value) in enumerate(model.state_dict().items())
        if name not in known and isinstance(value, torch.Tensor)
    ]
    results = tuple(_reference(item) for item in returned)
    everything = (*unused, *nodes)
    read, written = bytes_read_of(everything), bytes_written_of(everything, results)
    return TaskGraph(
        variant=variant,
        nodes=everything,
        results=results,
        structure=structure,
        init_args=init_args,
        flops=flops_of(everything),
        bytes=read + written,
        bytes_read=read,
        bytes_written=written,
    )


def _leaf(name: str, op: str, target: str | None, value: Any, data: Any) -> GraphNode:
    """An input, parameter, buffer or constant; a small constant carries its values."""
    args: tuple[Any, ...] = ()
    if op == "constant" and isinstance(data, torch.Tensor) and data.numel() <= _INLINE_ELEMENTS:
        args = (_plain_data(data.detach().cpu().tolist()),)
    elif op == "input" and isinstance(value, bool | int | float | str):
        args = (value,)
    return GraphNode(id=name, op=op, target=target, args=args, outputs=_metas(value))


def _call(node: fx.Node) -> GraphNode:
    """One operation; a pick from several outputs is left as `getitem` with a Ref that carries the index."""
    meta = node.meta.get("val", node.meta.get("tensor_meta"))
    return GraphNode(
        id=node.name,
        op=_op_name(node),
        args=tuple(_plain(arg) for arg in node.args),
        kwargs={name: _plain(arg) for name, arg in node.kwargs.items()},
        outputs=_metas(meta),
    )


def _op_name(node: fx.Node) -> str:
    if isinstance(node.target, torch._ops.OpOverload):
        return str(node.target)
    if callable(node.target):
        module = (getattr(node.target, "__module__", None) or "").lstrip("_")
        return "getitem" if node.target.__name__ == "getitem" else f"{module}.{node.target.__name__}"
    return f"{node.op}.{node.target}"


def _metas(value: Any) -> tuple[TensorMeta, ...]:
    """Shapes of whatever a node yields; parts that are no tensors are left out."""
    if isinstance(value, list | tuple) and not hasattr(value, "dtype"):
        return tuple(meta for item in value for meta in _metas(item))
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is None or dtype is None:
        return ()
    stride = value.stride
    strides = tuple(int(step) for step in (stride() if isinstance(stride, Callable) else stride))  # type: ignore[arg-type]
    return (TensorMeta(shape=tuple(int(size) for size in shape), strides=strides, dtype=_dtype(dtype)),)


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _reference(node: fx.Node) -> Ref:
    return Ref(node=node.name)


def _plain(arg: Any) -> Any:
    """An argument as JSON: nodes become Refs; dtypes, devices and infinities tagged texts."""
    if isinstance(arg, fx.Node):
        return Ref(node=arg.name).model_dump()
    if isinstance(arg, list | tuple):
        return [_plain(item) for item in arg]
    if isinstance(arg, torch.dtype):
        return {"dtype": _dtype(arg)}
    if isinstance(arg, float) and (arg != arg or arg in (float("inf"), float("-inf"))):
        return {"float": str(arg)}
    if isinstance(arg, torch.device):
        return {"device": str(arg)}
    if arg is None or isinstance(arg, bool | int | float | str):
        return arg
    return {"object": str(arg)}


def _plain_data(value: Any) -> Any:
    """Constructor arguments or tensor values as JSON; what is not plain data is named, not kept."""
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    return _plain(value)


def _structure_of(spec: Any) -> str:
    """Form of the return value; anything nested is `other`."""
    if spec.is_leaf():
        return "tensor"
    kind = "tuple" if spec.type is tuple else "list" if spec.type is list else "other"
    return kind if all(child.is_leaf() for child in spec.children()) else "other"
