"""Small modules, traced: what the tests of floors and shortcuts count the work of."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from everforge.model.graph import TaskGraph
from everforge.runners.tracing import trace_task


class Forward(nn.Module):
    """A module made of its forward(), which gets the module's parts as `self.<name>`."""

    def __init__(self, forward: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self._forward = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self._forward(self, *inputs)


def graph_of(model: nn.Module | Callable[..., Any], *inputs: torch.Tensor, **parts: Any) -> TaskGraph:
    module = model if isinstance(model, nn.Module) else Forward(model, **parts)
    graph = trace_task(module.eval(), inputs, "main", [])
    assert isinstance(graph, TaskGraph), graph
    return graph
