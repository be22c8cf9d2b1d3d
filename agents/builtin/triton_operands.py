"""Where a Triton kernel that reads through pointers finds the operands of a product; `triton_matmul.py` calls it.

Operands that lie as rows, or as columns, of one matrix after another are addressed by their extents alone. Others come
with a stride for each of their four dimensions, as compile-time numbers, so that the compiler sees which one is 1.
"""

from everforge.agents.builtin.plan import MatmulRegion

_DIMENSIONS = {"lhs": ("OUTER", "INNER", "ROW", "K"), "rhs": ("OUTER", "INNER", "K", "COLUMN")}


def right_sides(region: MatmulRegion) -> tuple[str, ...]:
    """The kernel's names for the matrices that lhs is multiplied with."""
    return ("rhs",) if region.twin is None else ("rhs", "twin")


def operand_names(region: MatmulRegion) -> tuple[str, ...]:
    """The launcher's and the kernel's names for all operands."""
    return tuple(f"operand_{side}" for side in ("lhs", *right_sides(region)))


def stride_names(region: MatmulRegion) -> tuple[str, ...]:
    """Compile-time arguments of a kernel beyond its extents and tiles."""
    if region.layouts is None:
        return ()
    return ("BATCH_INNER", *(f"{side.upper()}_{name}" for side, names in _DIMENSIONS.items() for name in names))


def stride_lines(region: MatmulRegion) -> list[str]:
    """Statements of a launcher that read them off its operands."""
    if region.layouts is None:
        return []
    lines = ["batch_inner = max(operand_lhs.shape[1], operand_rhs.shape[1])"]
    for side, names in _DIMENSIONS.items():
        targets = ", ".join(f"{side}_{name.lower()}" for name in names)
        lines.append(f"{targets} = _strides(operand_{side})")
    return lines


def operand_pointers(region: MatmulRegion) -> list[str]:
    """First tile of each operand: of lhs (TILE_M, TILE_K), of rhs (TILE_K, TILE_N)."""
    if region.layouts is not None:
        lines = []
        for side, row, column in (("lhs", "row % ROWS", "k[None, :]"), ("rhs", "k[:, None]", "column % COLUMNS")):
            _, _, first, second = (f"{side.upper()}_{name}" for name in _DIMENSIONS[side])
            lines += [
                f"{side} = operand_{side} + batch // BATCH_INNER * {side.upper()}_OUTER",
                f"{side} += batch % BATCH_INNER * {side.upper()}_INNER",
                f"{side} = {side} + ({row}).to(tl.int64) * {first} + ({column}).to(tl.int64) * {second}",
            ]
        return lines
    wrapped = "(column % COLUMNS).to(tl.int64)"
    lhs = "k[None, :].to(tl.int64) * ROWS + row % ROWS" if region.lhs_transposed else "row % ROWS * K + k[None, :]"
    rhs = f"{wrapped} * K + k[:, None]" if region.rhs_transposed else f"k[:, None].to(tl.int64) * COLUMNS + {wrapped}"
    base = {"lhs": " + batch * ROWS * K", "rhs": " + batch * K * COLUMNS"} if region.batched else {"lhs": "", "rhs": ""}
    right = [f"{side} = operand_{side}{base['rhs']} + {rhs}" for side in right_sides(region)]
    return [f"lhs = operand_lhs{base['lhs']} + {lhs}", *right]


def operand_steps(region: MatmulRegion) -> list[str]:
    """Statements that go on to the next tile of each operand."""
    if region.layouts is not None:
        return ["lhs += TILE_K * LHS_K", "rhs += TILE_K * RHS_K"]
    return [
        f"lhs += TILE_K{' * ROWS' if region.lhs_transposed else ''}",
        *(f"{side} += TILE_K{'' if region.rhs_transposed else ' * COLUMNS'}" for side in right_sides(region)),
    ]
