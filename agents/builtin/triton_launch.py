"""Pointwise kernels and row programs with their host launchers: what stands between bodies and `ModelNew.forward`.

`triton_emitter.py` calls it once for each step. A launcher `run_<step>` takes the step's buffers and the extents of
its domain's axes, and picks grid, block and kernel from them at run time.
"""

from dataclasses import replace

from everforge.agents.builtin import triton_pointwise, triton_rows, triton_split
from everforge.agents.builtin.plan import KernelRegion
from everforge.agents.builtin.triton_kernel import (
    Kernel,
    element_count,
    extents_product,
    function_text,
    fused_text,
    leave_if_none,
    pointers,
)
from everforge.agents.builtin.triton_rows import indented
from everforge.agents.builtin.triton_space import Choice
from everforge.agents.builtin.triton_strided import inner_axes, is_strided
from everforge.agents.builtin.triton_strips import can_strip, strip_body, striped


def region_source(region: KernelRegion, choice: Choice) -> str:
    """Kernels and launcher of a pointwise chain or row program."""
    if not region.is_pointwise:
        return _rows_source(region, choice)
    if can_strip(region) and choice.number(f"{region.name}_strip"):
        return _strip_source(region, choice)
    return _flat_source(region, choice) if triton_pointwise.is_flat(region) else _tiled_source(region, choice)


def _flat_source(region: KernelRegion, choice: Choice) -> str:
    kernel = Kernel(
        name=f"{region.name}_flat",
        purpose=f"Pointwise over neighbouring elements: {fused_text(region)}.",
        pointers=pointers(region.buffers()),
        numbers=("COLUMNS",),
        constants=("WIDE", "BLOCK"),
        text=triton_pointwise.flat_body(region),
    )
    body = [
        f"columns = {_all_axes(region)}",
        *leave_if_none("columns"),
        "wide = columns >= 2**31",
        f"block = {choice.number(f'{region.name}_block')}",
        kernel.launch(
            "(triton.cdiv(columns, block),)",
            [*region.buffers(), "columns"],
            choice.launch_options(region.name),
        ),
    ]
    return kernel.source() + _launcher(region, body)


def _strip_source(region: KernelRegion, choice: Choice) -> str:
    region = striped(region)
    kernel = Kernel(
        name=f"{region.name}_strips",
        purpose=f"Images from the top of a strip to its bottom, every row folded once: {fused_text(region)}.",
        pointers=pointers(region.buffers()),
        numbers=(),
        constants=("COLUMNS", "HEIGHT", "SPAN", "BLOCK"),
        text=strip_body(region),
    )
    block = "min(triton.next_power_of_2(columns), 256)"
    body = [
        *_extents(region),
        f"height = d{region.row_axes - 1}",
        f"span, block = {choice.number(f'{region.name}_strip')}, {block}",
        kernel.launch(
            "(rows // height * triton.cdiv(height, span), triton.cdiv(columns, block))",
            region.buffers(),
            choice.launch_options(region.name),
        ),
    ]
    return kernel.source() + _launcher(region, body)


def _tiled_source(region: KernelRegion, choice: Choice) -> str:
    region = triton_pointwise.tiled(region)
    kernel = Kernel(
        name=f"{region.name}_tiled",
        purpose=f"Pointwise over tiles, because an operand is transposed: {fused_text(region)}.",
        pointers=pointers(region.buffers()),
        numbers=("ROWS",),
        constants=("COLUMNS", "TILE_ROWS", "BLOCK"),
        text=triton_pointwise.tile_body(region),
    )
    body = [
        *_extents(region),
        f"tile_rows, block = {choice.number(f'{region.name}_rows')}, {choice.number(f'{region.name}_block')}",
        kernel.launch(
            "(triton.cdiv(rows, tile_rows), triton.cdiv(columns, block))",
            [*region.buffers(), "rows"],
            choice.launch_options(region.name),
        ),
    ]
    return kernel.source() + _launcher(region, body)


def _rows_source(region: KernelRegion, choice: Choice) -> str:
    name, strided = region.name, is_strided(region)
    values = [*region.buffers(), *([] if strided else ["rows"])]
    whole = Kernel(
        name=f"{name}_whole",
        purpose=f"Rows held in registers: {fused_text(region)}.",
        pointers=pointers(region.buffers()),
        numbers=() if strided else ("ROWS",),
        constants=("COLUMNS", *(["INNER"] if strided else []), "TILE_ROWS", "BLOCK"),
        text=triton_rows.whole_row_body(region),
    )
    swept = replace(
        whole,
        name=f"{name}_swept",
        purpose=f"Rows too wide for registers, swept in blocks: {fused_text(region)}.",
        text=triton_rows.swept_row_body(region),
    )
    parts = _part_kernels(region) if choice.splits(region) else []
    options = choice.launch_options(name)
    grid = "(rows // inner * triton.cdiv(inner, tile_rows),)" if strided else "(triton.cdiv(rows, tile_rows),)"
    swept_rows = choice.number(f"{name}_tile") if strided else 1
    is_held = choice.has(f"{name}_rows")
    body = [
        *_extents(region),
        *([f"inner = {_inner_extent(region)}"] if strided else []),
    ]
    branches = []
    if is_held:
        tile = f"{choice.number(f'{name}_rows')}, triton.next_power_of_2(max(columns, 1))"
        lines = [f"tile_rows, block = {tile}", whole.launch(grid, values, options)]
        branches.append((f"columns <= {choice.number(f'{name}_whole')}", lines))
    if parts:
        branches.append(_split_branch(region, choice, parts))
    lines = [
        f"tile_rows, block = {swept_rows}, {choice.number(f'{name}_block')}",
        swept.launch(grid, values, options),
    ]
    body += _branched(branches, lines)
    kernels = [*([whole] if is_held else []), swept, *parts]
    return "".join(kernel.source() for kernel in kernels) + _launcher(region, body)


def _part_kernels(region: KernelRegion) -> list[Kernel]:
    """The kernels that sweep the parts of long rows side by side, in the order they run."""
    kernels, strided = [], is_strided(region)
    for suffix, text in triton_split.split_bodies(region).items():
        used = [name for name in region.buffers() if any(f"{name}_ptr" in line for line in text.body)]
        kernels.append(
            Kernel(
                name=f"{region.name}_{suffix}",
                purpose=f"Parts of few long rows, side by side: {fused_text(region)}.",
                pointers=pointers([*used, *triton_split.partials(text)]),
                numbers=() if strided else ("ROWS",),
                constants=("COLUMNS", *(["INNER"] if strided else []), "PARTS", "SPAN", "TILE_ROWS", "BLOCK"),
                text=text,
            )
        )
    return kernels


def _split_branch(region: KernelRegion, choice: Choice, kernels: list[Kernel]) -> tuple[str, list[str]]:
    """The branch for few rows: how many parts, room for their results, and the kernels one after another."""
    name, strided = region.name, is_strided(region)
    rows = choice.number(f"{name}_tile") if strided else 1
    names = dict.fromkeys(partial for kernel in kernels for partial in triton_split.partials(kernel.text))
    device = region.buffers()[0]
    programs = f"rows // inner * triton.cdiv(inner, {rows})" if strided else "rows"
    lines = [
        f"tile_rows, block = {rows}, {choice.number(f'{name}_block')}",
        "# Some sixteen programs for each of a big GPU's multiprocessors, none without a block of its own.",
        f"programs = {programs}",
        f"parts = min(triton.next_power_of_2(triton.cdiv(2048, programs)), {min(1024, 8192 // rows)})",
        "parts = max(min(parts, triton.next_power_of_2(triton.cdiv(columns, block))), 1)",
        "span = triton.cdiv(triton.cdiv(columns, parts), block) * block",
    ]
    for part in names:
        dtype = "int64" if part.endswith("_place") else "float32"
        lines.append(f"{part} = torch.empty((rows, parts), dtype=torch.{dtype}, device={device}.device)")
    for kernel in kernels:
        values = [pointer.removesuffix("_ptr") for pointer in kernel.pointers]
        grid = "(programs,)" if kernel.name.endswith("_finish") else "(programs, parts)"
        values += [] if strided else ["rows"]
        lines.append(kernel.launch(grid, values, choice.launch_options(name)))
    return f"{programs} < {choice.number(f'{name}_split_below')}", lines


def _branched(branches: list[tuple[str, list[str]]], otherwise: list[str]) -> list[str]:
    """Statements under their conditions, the first that holds, and those to run where none does."""
    if not branches:
        return otherwise
    text = []
    for number, (condition, lines) in enumerate(branches):
        text += [f"{'elif' if number else 'if'} {condition}:", *indented(lines)]
    return [*text, "else:", *indented(otherwise)]


def _launcher(region: KernelRegion, body: list[str]) -> str:
    axes = [f"d{axis}" for axis in range(len(region.domain))]
    buffers = region.buffers()
    counts = ", ".join(element_count(region, name) for name in buffers)
    check = f"_check_extents(({', '.join(buffers)},), ({counts},))"
    return function_text(f"run_{region.name}", [*buffers, *axes], [check, *body])


def _extents(region: KernelRegion) -> list[str]:
    """Number of rows and of columns, from the extents of the domain's axes."""
    axes = [f"d{axis}" for axis in range(len(region.domain))]
    return [
        f"rows = {extents_product(axes[: region.row_axes])}",
        f"columns = {extents_product(axes[region.row_axes :])}",
        *leave_if_none("rows"),
    ]


def _inner_extent(region: KernelRegion) -> str:
    """How many rows lie side by side in memory, from the extents of the domain's axes."""
    return extents_product([f"d{axis}" for axis in range(region.row_axes - inner_axes(region), region.row_axes)])


def _all_axes(region: KernelRegion) -> str:
    return extents_product([f"d{axis}" for axis in range(len(region.domain))])
