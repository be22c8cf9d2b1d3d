"""Matrix products that Triton computes, with their host launchers; `triton_emitter.py` calls it for each of them."""

from everforge.agents.builtin import triton_matmul
from everforge.agents.builtin.plan import MatmulRegion, Plan
from everforge.agents.builtin.triton_kernel import (
    Kernel,
    element_count,
    function_text,
    fused_text,
    leave_if_none,
    pointers,
)
from everforge.agents.builtin.triton_operands import operand_names, right_sides, stride_lines, stride_names
from everforge.agents.builtin.triton_space import Choice


def matmul_source(region: MatmulRegion, choice: Choice) -> str:
    """Kernels and launcher of a product that Triton computes, with whatever of its epilogue is fused."""
    kind = choice.text(f"{region.name}_kernel")
    tile = _matmul_kernel(region, choice, "tile")
    if kind == "tile":
        return tile.source() + _matmul_launcher(region, choice, [_tile_launch(region, choice, tile)])
    persistent = _matmul_kernel(region, choice, "persistent")
    body = [
        "# The copy engine needs rows that start on 16 bytes.",
        f"aligned = all(row * operand_lhs.element_size() % 16 == 0 for row in ({_row_lengths(region)}))",
        f"if aligned and all(operand.data_ptr() % 16 == 0 for operand in ({', '.join(operand_names(region))})):",
        *(f"    {line}" for line in _persistent_launch(region, choice, persistent)),
        "else:",
        "    tile_n = min(tile_n, 128)  # pointers take registers that descriptors do not",
        "    tiles = triton.cdiv(rows, tile_m) * triton.cdiv(columns, tile_n)",
        f"    {_tile_launch(region, choice, tile)}",
    ]
    return tile.source() + persistent.source() + _matmul_launcher(region, choice, body)


def matmul_buffers(region: MatmulRegion, plan: Plan) -> tuple[str, ...]:
    """Buffers of a product's launcher after its two operands: bias, what the epilogue reads, what is stored."""
    fused = region.epilogue if triton_matmul.can_fuse(region, plan) else None
    names = list(region.biases)
    names += triton_matmul.epilogue_loads(region) if fused else []
    names += [region.product] if region.keeps_product or fused is None else []
    names += [store.buffer for store in fused.stores] if fused else []
    return tuple(dict.fromkeys(names))


def _matmul_kernel(region: MatmulRegion, choice: Choice, kind: str) -> Kernel:
    bodies = {"tile": triton_matmul.tile_body, "persistent": triton_matmul.persistent_body}
    purposes = {
        "tile": "One tile of a matrix product",
        "persistent": "Tiles of a matrix product, one after another, operands through tensor descriptors",
    }
    tail = f", then {fused_text(region.epilogue)}" if region.epilogue is not None else ""
    return Kernel(
        name=f"{region.name}_{kind}",
        purpose=f"{purposes[kind]}{tail}.",
        pointers=(*operand_names(region), *pointers(matmul_buffers(region, choice.plan))),
        numbers=("ROWS",),
        constants=("COLUMNS", "K", *stride_names(region), "TILE_M", "TILE_N", "TILE_K", "GROUP"),
        text=bodies[kind](region, choice.plan, choice.precision),
    )


def _tile_launch(region: MatmulRegion, choice: Choice, kernel: Kernel) -> str:
    values = [*operand_names(region), *matmul_buffers(region, choice.plan), "rows"]
    grid = "(tiles, batches)" if region.batched else "(tiles,)"
    return kernel.launch(grid, values, choice.launch_options(region.name, stages=True))


def _persistent_launch(region: MatmulRegion, choice: Choice, kernel: Kernel) -> list[str]:
    block = "[tile_n, tile_k]" if region.rhs_transposed else "[tile_k, tile_n]"
    seen = "operand_lhs, [tile_k, tile_m]" if region.lhs_transposed else "operand_lhs.view(rows, k), [tile_m, tile_k]"
    values = ["lhs", *right_sides(region), *matmul_buffers(region, choice.plan), "rows"]
    grid = "(min(tiles, _multiprocessors(operand_lhs.device)),)"
    return [
        f"lhs = TensorDescriptor.from_tensor({seen})",
        *(f"{side} = TensorDescriptor.from_tensor(operand_{side}, {block})" for side in right_sides(region)),
        kernel.launch(grid, values, choice.launch_options(region.name, stages=True)),
    ]


def _matmul_launcher(region: MatmulRegion, choice: Choice, body: list[str]) -> str:
    tile = [choice.number(f"{region.name}_tile_{side}") for side in "mnk"]
    fused = triton_matmul.can_fuse(region, choice.plan)
    axes = [f"d{axis}" for axis in range(len(region.epilogue.domain))] if region.epilogue and fused else []
    arguments = [*operand_names(region), *matmul_buffers(region, choice.plan), *axes]
    epilogue = region.epilogue if fused else None
    buffers = [name for name in matmul_buffers(region, choice.plan) if name not in (*region.biases, region.product)]
    counts = ", ".join(element_count(epilogue, name) for name in buffers) if epilogue is not None else ""
    lines = [
        *_extent_lines(region),
        *([f"_check_extents(({', '.join(buffers)},), ({counts},))"] if counts else []),
        *leave_if_none("batches * rows" if region.batched else "rows"),
        f"tile_m, tile_n, tile_k, group = {', '.join(map(str, tile))}, {choice.number(f'{region.name}_group')}",
        "tiles = triton.cdiv(rows, tile_m) * triton.cdiv(columns, tile_n)",
        *body,
    ]
    return function_text(f"run_{region.name}", arguments, lines)


def _extent_lines(region: MatmulRegion) -> list[str]:
    """Statements that read the product's extents off its operands."""
    if region.layouts is not None:
        batches = "batches = batch_inner * max(operand_lhs.shape[0], operand_rhs.shape[0])"
        return ["rows, k = operand_lhs.shape[2:]", "columns = operand_rhs.shape[3]", *stride_lines(region), batches]
    sides = "columns, k" if region.rhs_transposed else "k, columns"
    if not region.batched:
        return [f"{sides} = operand_rhs.shape", "rows = operand_lhs.numel() // k"]
    rows = f"operand_lhs.shape[{2 if region.lhs_transposed else 1}]"
    return [f"batches, {sides} = operand_rhs.shape", f"rows = {rows}"]


def _row_lengths(region: MatmulRegion) -> str:
    lengths = ["rows" if region.lhs_transposed else "k", "k" if region.rhs_transposed else "columns"]
    return ", ".join(dict.fromkeys(lengths)) + ","
