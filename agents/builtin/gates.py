"""Two products of one input whose results meet in one epilogue, as a gate and what it lets through: one kernel.

The input's tiles are read once for both, neither product goes to memory, and the tail works on both accumulators.
`strategies.py` calls it for Triton; C++ leaves products to oneDNN, one at a time.
"""

from dataclasses import replace

from everforge.agents.builtin.closing import reads
from everforge.agents.builtin.plan import MatmulRegion, Plan, Step, Twin
from everforge.agents.builtin.triton_matmul import can_fuse, with_split_epilogues


def with_gates(plan: Plan) -> Plan:
    """The plan with each such pair of neighbouring products joined; a plan without one as it is."""
    steps: list[Step] = []
    for number, step in enumerate(plan.steps):
        before = steps[-1] if steps else None
        others = plan.steps[number + 1 :]
        joined = _joined(plan, before, step, others) if isinstance(before, MatmulRegion) else None
        if joined is None:
            steps.append(step)
        else:
            steps[-1] = joined
    return replace(plan, steps=tuple(steps))


def _joined(plan: Plan, gate: MatmulRegion, step: Step, others: tuple[Step, ...]) -> MatmulRegion | None:
    """Two products as one with a twin; None where they are not a pair."""
    if not isinstance(step, MatmulRegion) or step.epilogue is None or gate.epilogue is not None:
        return None
    if not _alike(plan, gate, step) or step.keeps_product or gate.product not in reads(step.epilogue):
        return None
    if gate.product in plan.results or any(gate.product in reads(other) for other in others):
        return None
    twin = Twin(gate.rhs, gate.bias, gate.product)
    joined = replace(step, twin=twin, fuses=(*gate.fuses, *step.fuses))
    cut = with_split_epilogues(replace(plan, steps=(joined,))).steps[0]
    return joined if isinstance(cut, MatmulRegion) and can_fuse(cut, plan) else None


def _alike(plan: Plan, gate: MatmulRegion, step: MatmulRegion) -> bool:
    """Whether two products read the same lhs and have the same extents and the same form."""
    for product in (gate, step):
        if product.batched or product.triangle is not None or product.twin is not None:
            return False
    extents = [[size.literal for size in plan.buffer(product.product).shape] for product in (gate, step)]
    orders = [(product.lhs, product.lhs_transposed, product.rhs_transposed) for product in (gate, step)]
    return extents[0] == extents[1] and orders[0] == orders[1] and step.rhs != gate.product
