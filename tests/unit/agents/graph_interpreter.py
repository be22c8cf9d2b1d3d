"""An interpreter of traced graphs in float64, for tests of rewrites: the rewritten graph must compute the reference.

Test files load it by path, since tests are no package.
"""

from typing import Any

import torch

from everforge.model.graph import GraphNode, TaskGraph


def run_graph(graph: TaskGraph, state: dict[str, torch.Tensor], inputs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    """The graph's results under a reference's state, node by node with PyTorch's own operations."""
    given = iter(inputs)
    held: dict[str, Any] = {}
    for node in graph.nodes:
        if node.op == "input":
            held[node.id] = next(given).double()
        elif node.op in ("parameter", "buffer"):
            held[node.id] = state[node.target or ""].double()
        elif node.op == "constant":
            held[node.id] = torch.tensor(node.args[0], dtype=torch.float64)
        elif node.op == "getitem":
            held[node.id] = held[node.args[0]["node"]][node.args[1]]
        else:
            held[node.id] = called(node, held)
    results = [held[result.node] for result in graph.results]
    return [value[0] if isinstance(value, tuple) else value for value in results]


def called(node: GraphNode, held: dict[str, Any]) -> Any:
    _, name, overload = node.op.split(".")
    call = getattr(getattr(torch.ops.aten, name), overload)
    kwargs = {key: concrete(value, held) for key, value in node.kwargs.items()}
    value = call(*(concrete(arg, held) for arg in node.args), **kwargs)
    first = value[0] if isinstance(value, tuple) else value
    if tuple(first.shape) != node.outputs[0].shape:
        raise ValueError(f"{node.id} has the shape {tuple(first.shape)}, the graph says {node.outputs[0].shape}")
    return value


def concrete(arg: Any, held: dict[str, Any]) -> Any:
    if isinstance(arg, dict) and "node" in arg:
        value = held[arg["node"]]
        return value[arg["index"] or 0] if isinstance(value, tuple) else value
    if isinstance(arg, dict) and "float" in arg:
        return float(arg["float"])
    return [concrete(item, held) for item in arg] if isinstance(arg, list | tuple) else arg
