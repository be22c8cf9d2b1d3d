"""Algebra that a compiler won't do: the same values from less work; `generator.py` plans the outcome as well.

Every rewrite takes a graph to a graph and says in a few words what it did; the words go into the candidate. None of
them is exact in floating point: the evaluator decides whether the error stays inside the policy's bound, and reports
what passes as algebraic. Operations that read nothing but parameters afterwards are done once, at load, in float64
(`preparation.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass

from everforge.agents.builtin import algebra_brackets, algebra_folds, algebra_sums
from everforge.agents.builtin.graph_view import Found, GraphView, without_unread
from everforge.model.graph import TaskGraph

Rewrite = Callable[[GraphView], Found | None]

REWRITES: tuple[Rewrite, ...] = (
    algebra_sums.single_elements,
    algebra_sums.diagonal_product,
    algebra_folds.into_product,
    algebra_folds.from_operand,
    algebra_brackets.merged_layers,
    algebra_brackets.cheaper_bracket,
    algebra_sums.sum_of_product,
    algebra_sums.split_sum,
)
"""In the order they are tried; after each that applied, from the first one on."""

_AT_LOAD = "values of parameters alone made at load"


@dataclass(frozen=True)
class Rewritten:
    """A graph with the same results, and what was done, each in a few words and once."""

    graph: TaskGraph
    rewrites: tuple[str, ...]


def rewritten(graph: TaskGraph) -> Rewritten | None:
    """The graph after every rewrite that applies; None where none does."""
    names: dict[str, None] = {}
    while (found := _first(graph)) is not None:
        graph = without_unread(found.graph)
        names[found.name] = None
    if not names and _has_work_at_load(graph):
        names[_AT_LOAD] = None
    return Rewritten(graph, tuple(names)) if names else None


def _first(graph: TaskGraph) -> Found | None:
    view = GraphView(graph)
    return next((found for rewrite in REWRITES if (found := rewrite(view)) is not None), None)


def _has_work_at_load(graph: TaskGraph) -> bool:
    view = GraphView(graph)
    return any(view.is_made_at_load(node) for node in graph.nodes)
