"""Matrix products in Triton with bias and pointwise epilogue fused into the accumulators.

`triton_emitter.py` calls it. Three kernels to choose from: `tile` (one program a tile, operands read through
pointers), `persistent` (one program a multiprocessor walks over tiles, operands through Hopper's tensor
descriptors) and `torch` (the vendor's product, the epilogue as a kernel of its own; no text from here).
"""

import math
from dataclasses import replace

from everforge.agents.builtin.plan import KernelRegion, Load, MatmulRegion, Plan, Size, Step
from everforge.agents.builtin.triton_domain import Domain
from everforge.agents.builtin.triton_operands import operand_pointers, operand_steps, right_sides
from everforge.agents.builtin.triton_rows import KernelText
from everforge.agents.builtin.triton_values import TILE_MASKS, ValueTexts, needed

DOT_TYPES = {"fp32": "tl.float32", "tf32": "tl.float32", "bf16": "tl.bfloat16", "fp16": "tl.float16"}
INPUT_PRECISION = {"fp32": "ieee", "tf32": "tf32", "bf16": "ieee", "fp16": "ieee"}


def with_split_epilogues(plan: Plan) -> Plan:
    """The plan with every epilogue that can be fused cut into rows and columns of its product."""
    return replace(plan, steps=tuple(_split(step, plan) for step in plan.steps))


def _split(step: Step, plan: Plan) -> Step:
    """A product whose epilogue's last axes are exactly the product's columns, where that can be had."""
    if not isinstance(step, MatmulRegion) or step.epilogue is None:
        return step
    # A twin has as many columns, read off another buffer.
    cut = (_cut(step.epilogue, plan.buffer(name).shape[-1]) for name in step.products)
    return replace(step, epilogue=next((epilogue for epilogue in cut if epilogue is not None), step.epilogue))


def _cut(epilogue: KernelRegion, columns: Size) -> KernelRegion | None:
    """The epilogue with `columns` as those of its rows; None where its axes do not say so.

    It can where the accumulators are the whole domain in order: an axis that spans rows and columns is cut in two.
    """
    extent, rows = 1, len(epilogue.domain)
    while extent < columns.literal and rows > 0:
        rows -= 1
        extent *= epilogue.domain[rows].literal
    if extent == columns.literal:
        return replace(epilogue, row_axes=rows)
    is_last = rows == len(epilogue.domain) - 1
    outer = _divided(epilogue.domain[rows], columns) if is_last else None
    if outer is None:
        return None
    loads = tuple(_widened(value, rows) if isinstance(value, Load) else value for value in epilogue.values)
    domain = (*epilogue.domain[:rows], outer, columns)
    return replace(epilogue, domain=domain, row_axes=rows + 1, values=loads)


def _divided(whole: Size, part: Size) -> Size | None:
    """The extent that times `part` is `whole`, where it can be read off their factors."""
    left = list(whole.factors)
    for factor in part.factors:
        if factor not in left:
            return None
        left.remove(factor)
    if part.over != 1 or whole.times % part.times or whole.literal % part.literal:
        return None
    return Size(whole.literal // part.literal, tuple(left), whole.times // part.times, whole.over)


def _widened(load: Load, axis: int) -> Load:
    """The load after the last axis of the domain, `axis`, was cut in two."""
    return replace(load, axes=tuple(new for old in load.axes for new in ((old, old + 1) if old == axis else (old,))))


def can_fuse(region: MatmulRegion, plan: Plan) -> bool:
    """Whether the epilogue can work on the accumulators: pointwise, and the product its whole domain in order."""
    epilogue = region.epilogue
    if epilogue is None or not epilogue.is_pointwise or any(store.per_row for store in epilogue.stores):
        return False
    everything = tuple(range(len(epilogue.domain)))
    if any(load.axes != everything for load in epilogue.loads() if load.buffer in region.products):
        return False
    columns = math.prod(size.literal for size in epilogue.domain[epilogue.row_axes :])
    return columns == plan.buffer(region.product).shape[-1].literal


def tile_body(region: MatmulRegion, plan: Plan, precision: str) -> KernelText:
    """One tile of the product; operands are read through pointers and cast in registers."""
    tail = _tail(region, plan)
    lines = [
        "m_tile, n_tile = _tile_of(",
        "    tl.program_id(0), tl.cdiv(ROWS, TILE_M), tl.cdiv(COLUMNS, TILE_N), GROUP",
        ")",
        *(["batch = tl.program_id(1).to(tl.int64)"] if region.batched else []),
        *_place_lines(region),
        "k = tl.arange(0, TILE_K)",
        "# Rows and columns past the edge read others' operands again; they are never stored.",
        *operand_pointers(region),
        *_accumulators(region),
        f"for start in range(0, {_k_end(region)}, TILE_K):",
        "    k_live = start + k < K",
        "    lhs_tile = tl.load(lhs, mask=k_live[None, :], other=0.0)",
        *(f"    {side}_tile = tl.load({side}, mask=k_live[:, None], other=0.0)" for side in right_sides(region)),
        *(f"    {line}" for line in _dots(region, precision)),
        *(f"    {line}" for line in operand_steps(region)),
        *_kept_lines(region),
        *(["row = batch * ROWS + row"] if region.batched else []),
        *tail.body,
    ]
    return KernelText(lines, tail.sizes, tail.domain)


def persistent_body(region: MatmulRegion, plan: Plan, precision: str) -> KernelText:
    """Every program walks over tiles, a grid apart; the copy engine brings the operands to shared memory."""
    right = "[n_tile * TILE_N, start]).T" if region.rhs_transposed else "[start, n_tile * TILE_N])"
    lhs = "[start, m_tile * TILE_M]).T" if region.lhs_transposed else "[m_tile * TILE_M, start])"
    tail = _tail(region, plan)
    inner = [
        "m_tile, n_tile = _tile_of(tile, m_tiles, n_tiles, GROUP)",
        *_place_lines(region),
        *_accumulators(region),
        f"for start in range(0, {_k_end(region)}, TILE_K):",
        f"    lhs_tile = operand_lhs.load({lhs}",
        *(f"    {side}_tile = operand_{side}.load({right}" for side in right_sides(region)),
        *(f"    {line}" for line in _dots(region, precision)),
        *_kept_lines(region),
        *tail.body,
    ]
    lines = [
        "m_tiles = tl.cdiv(ROWS, TILE_M)",
        "n_tiles = tl.cdiv(COLUMNS, TILE_N)",
        "# One stage: loading the next tile's operands early would need shared memory beside this tile's store.",
        "for tile in tl.range(tl.program_id(0), m_tiles * n_tiles, tl.num_programs(0), num_stages=1):",
        *(f"    {line}" for line in inner),
    ]
    return KernelText(lines, tail.sizes, tail.domain)


def _place_lines(region: MatmulRegion) -> list[str]:
    """Rows and columns of the tile, and where the product is a triangle, which of its elements are in it."""
    lines = [
        "row = (m_tile * TILE_M + tl.arange(0, TILE_M))[:, None].to(tl.int64)",
        "column = (n_tile * TILE_N + tl.arange(0, TILE_N))[None, :]",
        "row_live = row < ROWS",
    ]
    if region.triangle is None:
        return lines
    first, last = "{0}_tile * TILE_{1}", "{0}_tile * TILE_{1} + TILE_{1} - 1"
    lower = f"{first.format('n', 'N')} <= {last.format('m', 'M')}"
    upper = f"{last.format('n', 'N')} >= {first.format('m', 'M')}"
    return [
        *lines,
        "# A tile that lies wholly outside the triangle multiplies nothing.",
        f"k_end = tl.where({lower if region.triangle == 'lower' else upper}{_diagonal(region)}, K, 0)",
    ]


def _kept_lines(region: MatmulRegion) -> list[str]:
    """Which elements of the tile are in the triangle; known after the products, so that they keep no registers."""
    if region.triangle is None:
        return []
    place = f"(row{_diagonal(region)}).to(tl.int32)"  # 64-bit comparisons of a whole tile spill
    return [f"kept = column {'<=' if region.triangle == 'lower' else '>='} {place}"]


def _diagonal(region: MatmulRegion) -> str:
    return f" + {region.diagonal}" if region.diagonal else ""


def _k_end(region: MatmulRegion) -> str:
    return "K" if region.triangle is None else "k_end"


_SUM = {"rhs": "accumulator", "twin": "twin_accumulator"}


def _accumulators(region: MatmulRegion) -> list[str]:
    return [f"{_SUM[side]} = tl.zeros((TILE_M, TILE_N), tl.float32)" for side in right_sides(region)]


def _dots(region: MatmulRegion, precision: str) -> list[str]:
    kind = DOT_TYPES[precision]
    how = f'input_precision="{INPUT_PRECISION[precision]}"'
    return [
        f"{_SUM[side]} = tl.dot(lhs_tile.to({kind}), {side}_tile.to({kind}), {_SUM[side]}, {how})"
        for side in right_sides(region)
    ]


def _tail(region: MatmulRegion, plan: Plan) -> KernelText:
    """Bias, epilogue and stores: from `accumulator`, `row` and `column` to memory."""
    lines = ["column_live = column < COLUMNS", "live = row_live & column_live"]
    lines += _with_bias("", region.bias)
    if region.twin is not None:
        lines += _with_bias("twin_", region.twin.bias)
    if region.triangle is not None:
        lines.append("product = tl.where(kept, product, 0.0)")
    epilogue = region.epilogue if can_fuse(region, plan) else None
    if region.keeps_product or epilogue is None:
        lines.append(f"tl.store({region.product}_ptr + row * COLUMNS + column, product, mask=live)")
    if epilogue is None:
        return KernelText(lines, (), Domain(groups=(), row_count=0))
    return _with_epilogue(lines, epilogue, region)


def _with_bias(which: str, bias: str | None) -> list[str]:
    """The product, or its twin, of the accumulators."""
    if bias is None:
        return [f"{which}product = {which}accumulator"]
    return [
        f"{which}bias = tl.load({bias}_ptr + column, mask=column_live, other=0.0).to(tl.float32)",
        f"{which}product = {which}accumulator + {which}bias",
    ]


def _with_epilogue(lines: list[str], epilogue: KernelRegion, region: MatmulRegion) -> KernelText:
    domain = Domain.of(epilogue, epilogue.row_axes)
    names = dict(zip(region.products, ("product", "twin_product"), strict=False))
    texts = ValueTexts(epilogue, domain, TILE_MASKS, names)
    body = list(lines)
    for number in needed(epilogue, [store.value for store in epilogue.stores]):
        body += [line for line in [texts.line(number)] if line]
    body += [texts.store(store) for store in epilogue.stores]
    return KernelText(body, tuple(sorted(domain.sizes_used)), domain)


def epilogue_loads(region: MatmulRegion) -> tuple[str, ...]:
    """Buffers the epilogue reads besides the product, each once."""
    loads = region.epilogue.loads() if region.epilogue is not None else ()
    names = [load.buffer for load in loads if load.buffer not in region.products]
    return tuple(dict.fromkeys(names))
