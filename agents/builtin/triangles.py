"""Triangles of matrix products: `triu` and `tril` of a product cost its kernel nothing and save it half the tiles.

`planner.py` asks. A triangle of anything else is left to PyTorch.
"""

from dataclasses import replace
from typing import Any

from everforge.agents.builtin.axes import Source, Unfusable
from everforge.agents.builtin.plan import MatmulRegion, Triangle
from everforge.agents.builtin.workspace import Workspace
from everforge.model.graph import GraphNode

TRIANGLES: dict[str, Triangle] = {"tril": "lower", "triu": "upper"}
"""ATen's short name to the part that is kept."""


def in_triangle(space: Workspace, node: GraphNode, tensor: Any, kept: Triangle, diagonal: int) -> MatmulRegion:
    """The last step, a product that only `node` reads, with one triangle of it kept. Raises Unfusable."""
    last = space.steps[-1] if space.steps else None
    if not isinstance(last, MatmulRegion) or not isinstance(tensor, Source) or tensor.buffer != last.product:
        raise Unfusable("takes a triangle of something that is no product")
    if last.triangle is not None or space.in_memory(tensor) != last.product:
        raise Unfusable("takes another triangle of a product")
    position = space.graph.nodes.index(node)
    for key, held in space.known.items():
        if isinstance(held, Source) and held.buffer == last.product and space.last_use.get(key, -1) > position:
            raise Unfusable("takes a triangle of a product that is read whole, too")
    return replace(last, triangle=kept, diagonal=diagonal, fuses=(*last.fuses, node.op.split(".")[1]))
