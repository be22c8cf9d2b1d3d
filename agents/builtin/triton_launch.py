"""Kernels and their host launchers as source: what stands between kernel bodies and `ModelNew.forward`.

`triton_emitter.py` calls it once for each step. A launcher `run_<step>` takes the step's buffers and the extents of
its domain's axes, and picks grid, block and kernel from them at run time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from everforge.agents.builtin import triton_matmul, triton_pointwise, triton_rows, triton_split
from everforge.agents.builtin.plan import KernelRegion, MatmulRegion, Plan
from everforge.agents.builtin.triton_rows import KernelText
from everforge.agents.builtin.triton_space import Choice


@dataclass(frozen=True)
class Kernel:
    """One `@triton.jit` function: pointer arguments by buffer, run-time and compile-time numbers."""

    name: str
    purpose: str
    pointers: tuple[str, ...]
    numbers: tuple[str, ...]
    constants: tuple[str, ...]
    text: KernelText

    def source(self) -> str:
        """The function's text."""
        sizes = [f"A{axis}" for axis in self.text.sizes]
        arguments = [*self.pointers, *self.numbers, *(f"{name}: tl.constexpr" for name in (*sizes, *self.constants))]
        body = "\n".join(f"    {line}" for line in self.text.body)
        return f'\n\n@triton.jit\ndef {self.name}({", ".join(arguments)}):\n    """{self.purpose}"""\n{body}\n'

    def launch(self, grid: str, values: Sequence[str], options: str) -> str:
        """The statement that launches it: `values` are the buffers, then the numbers; the rest by name."""
        sizes = [f"A{axis}={extent_text(self.text, axis)}" for axis in self.text.sizes]
        named = [*sizes, *(f"{name}={name.lower()}" for name in self.constants)]
        return f"{self.name}[{grid}]({', '.join([*values, *named, options])})"


def extent_text(text: KernelText, axis: int) -> str:
    """Extent of a merged axis, from the extents of the domain's axes."""
    return _product([f"d{original}" for original in text.domain.groups[axis]])


def region_source(region: KernelRegion, choice: Choice) -> str:
    """Kernels and launcher of a pointwise chain or row program."""
    if not region.is_pointwise:
        return _rows_source(region, choice)
    return _flat_source(region, choice) if triton_pointwise.is_flat(region) else _tiled_source(region, choice)


def region_buffers(region: KernelRegion) -> tuple[str, ...]:
    """Buffers a region reads and writes, in the order of its launcher's arguments."""
    return tuple(dict.fromkeys([*(load.buffer for load in region.loads()), *(s.buffer for s in region.stores)]))


def _flat_source(region: KernelRegion, choice: Choice) -> str:
    kernel = Kernel(
        name=f"{region.name}_flat",
        purpose=f"Pointwise over neighbouring elements: {_fused(region)}.",
        pointers=_pointers(region_buffers(region)),
        numbers=("COLUMNS",),
        constants=("WIDE", "BLOCK"),
        text=triton_pointwise.flat_body(region),
    )
    body = [
        f"columns = {_all_axes(region)}",
        "wide = columns >= 2**31",
        f"block = {choice.number(f'{region.name}_block')}",
        kernel.launch(
            "(triton.cdiv(columns, block),)",
            [*region_buffers(region), "columns"],
            choice.launch_options(region.name),
        ),
    ]
    return kernel.source() + _launcher(region, body)


def _tiled_source(region: KernelRegion, choice: Choice) -> str:
    region = triton_pointwise.tiled(region)
    kernel = Kernel(
        name=f"{region.name}_tiled",
        purpose=f"Pointwise over tiles, because an operand is transposed: {_fused(region)}.",
        pointers=_pointers(region_buffers(region)),
        numbers=("ROWS",),
        constants=("COLUMNS", "TILE_ROWS", "BLOCK"),
        text=triton_pointwise.tile_body(region),
    )
    body = [
        *_extents(region),
        f"tile_rows, block = {choice.number(f'{region.name}_rows')}, {choice.number(f'{region.name}_block')}",
        kernel.launch(
            "(triton.cdiv(rows, tile_rows), triton.cdiv(columns, block))",
            [*region_buffers(region), "rows"],
            choice.launch_options(region.name),
        ),
    ]
    return kernel.source() + _launcher(region, body)


def _rows_source(region: KernelRegion, choice: Choice) -> str:
    name, values = region.name, [*region_buffers(region), "rows"]
    whole = Kernel(
        name=f"{name}_whole",
        purpose=f"Rows held in registers: {_fused(region)}.",
        pointers=_pointers(region_buffers(region)),
        numbers=("ROWS",),
        constants=("COLUMNS", "TILE_ROWS", "BLOCK"),
        text=triton_rows.whole_row_body(region),
    )
    swept = replace(
        whole,
        name=f"{name}_swept",
        purpose=f"Rows too wide for registers, swept in blocks: {_fused(region)}.",
        text=triton_rows.swept_row_body(region),
    )
    parts = _part_kernels(region) if choice.splits(region) else []
    grid, options = "(triton.cdiv(rows, tile_rows),)", choice.launch_options(name)
    body = [
        *_extents(region),
        f"if columns <= {choice.number(f'{name}_whole')}:",
        f"    tile_rows, block = {choice.number(f'{name}_rows')}, triton.next_power_of_2(columns)",
        f"    {whole.launch(grid, values, options)}",
        *(_split_launch(region, choice, parts) if parts else []),
        "else:",
        f"    tile_rows, block = 1, {choice.number(f'{name}_block')}",
        f"    {swept.launch(grid, values, options)}",
    ]
    kernels = [whole, swept, *parts]
    return "".join(kernel.source() for kernel in kernels) + _launcher(region, body)


def _part_kernels(region: KernelRegion) -> list[Kernel]:
    """The kernels that sweep the parts of long rows side by side, in the order they run."""
    kernels = []
    for suffix, text in triton_split.split_bodies(region).items():
        used = [name for name in region_buffers(region) if any(f"{name}_ptr" in line for line in text.body)]
        kernels.append(
            Kernel(
                name=f"{region.name}_{suffix}",
                purpose=f"Parts of few long rows, side by side: {_fused(region)}.",
                pointers=_pointers([*used, *triton_split.partials(text)]),
                numbers=("ROWS",),
                constants=("COLUMNS", "PARTS", "SPAN", "TILE_ROWS", "BLOCK"),
                text=text,
            )
        )
    return kernels


def _split_launch(region: KernelRegion, choice: Choice, kernels: list[Kernel]) -> list[str]:
    """The branch for few rows: how many parts, room for their results, and the kernels one after another."""
    name = region.name
    names = dict.fromkeys(partial for kernel in kernels for partial in triton_split.partials(kernel.text))
    device = region_buffers(region)[0]
    lines = [
        f"elif rows < {choice.number(f'{name}_split_below')}:",
        f"    tile_rows, block = 1, {choice.number(f'{name}_block')}",
        "    # Some eight programs for each of a big GPU's multiprocessors, none without a block of its own.",
        "    parts = min(triton.next_power_of_2(triton.cdiv(1024, rows)), 1024)",
        "    parts = min(parts, triton.next_power_of_2(triton.cdiv(columns, block)))",
        "    span = triton.cdiv(triton.cdiv(columns, parts), block) * block",
    ]
    lines += [f"    {part} = torch.empty((rows, parts), device={device}.device)" for part in names]
    for kernel in kernels:
        values = [pointer.removesuffix("_ptr") for pointer in kernel.pointers]
        grid = "(rows,)" if kernel.name.endswith("_finish") else "(rows, parts)"
        lines.append("    " + kernel.launch(grid, [*values, "rows"], choice.launch_options(name)))
    return lines


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
        "if aligned and operand_lhs.data_ptr() % 16 == 0 and operand_rhs.data_ptr() % 16 == 0:",
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
    names = [region.bias] if region.bias is not None else []
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
    tail = f", then {_fused(region.epilogue)}" if region.epilogue is not None else ""
    return Kernel(
        name=f"{region.name}_{kind}",
        purpose=f"{purposes[kind]}{tail}.",
        pointers=("operand_lhs", "operand_rhs", *_pointers(matmul_buffers(region, choice.plan))),
        numbers=("ROWS",),
        constants=("COLUMNS", "K", "TILE_M", "TILE_N", "TILE_K", "GROUP"),
        text=bodies[kind](region, choice.plan, choice.precision),
    )


def _tile_launch(region: MatmulRegion, choice: Choice, kernel: Kernel) -> str:
    values = ["operand_lhs", "operand_rhs", *matmul_buffers(region, choice.plan), "rows"]
    grid = "(tiles, operand_lhs.shape[0])" if region.batched else "(tiles,)"
    return kernel.launch(grid, values, choice.launch_options(region.name, stages=True))


def _persistent_launch(region: MatmulRegion, choice: Choice, kernel: Kernel) -> list[str]:
    block = "[tile_n, tile_k]" if region.rhs_transposed else "[tile_k, tile_n]"
    values = ["lhs", "rhs", *matmul_buffers(region, choice.plan), "rows"]
    grid = "(min(tiles, _multiprocessors(operand_lhs.device)),)"
    return [
        "lhs = TensorDescriptor.from_tensor(operand_lhs.view(rows, k), [tile_m, tile_k])",
        f"rhs = TensorDescriptor.from_tensor(operand_rhs, {block})",
        kernel.launch(grid, values, choice.launch_options(region.name, stages=True)),
    ]


def _matmul_launcher(region: MatmulRegion, choice: Choice, body: list[str]) -> str:
    tile = [choice.number(f"{region.name}_tile_{side}") for side in "mnk"]
    sides = "columns, k" if region.rhs_transposed else "k, columns"
    rows = "operand_lhs.shape[1]" if region.batched else "operand_lhs.numel() // k"
    fused = triton_matmul.can_fuse(region, choice.plan)
    axes = [f"d{axis}" for axis in range(len(region.epilogue.domain))] if region.epilogue and fused else []
    arguments = ["operand_lhs", "operand_rhs", *matmul_buffers(region, choice.plan), *axes]
    epilogue = region.epilogue if fused else None
    buffers = [name for name in matmul_buffers(region, choice.plan) if name not in (region.bias, region.product)]
    counts = ", ".join(_element_count(epilogue, name) for name in buffers) if epilogue is not None else ""
    lines = [
        f"{sides} = operand_rhs.shape{'[1:]' if region.batched else ''}",
        *([f"_check_extents(({', '.join(buffers)},), ({counts},))"] if counts else []),
        f"rows = {rows}",
        f"tile_m, tile_n, tile_k, group = {', '.join(map(str, tile))}, {choice.number(f'{region.name}_group')}",
        "tiles = triton.cdiv(rows, tile_m) * triton.cdiv(columns, tile_n)",
        *body,
    ]
    return _function(f"run_{region.name}", arguments, lines)


def _row_lengths(region: MatmulRegion) -> str:
    return "k" + ("," if region.rhs_transposed else ", columns")


def _launcher(region: KernelRegion, body: list[str]) -> str:
    axes = [f"d{axis}" for axis in range(len(region.domain))]
    buffers = region_buffers(region)
    counts = ", ".join(_element_count(region, name) for name in buffers)
    check = f"_check_extents(({', '.join(buffers)},), ({counts},))"
    return _function(f"run_{region.name}", [*buffers, *axes], [check, *body])


def _element_count(region: KernelRegion, name: str) -> str:
    """How many elements a region takes a buffer to have."""
    axes = next((load.axes for load in region.loads() if load.buffer == name), None)
    if axes is None:
        per_row = next(store.per_row for store in region.stores if store.buffer == name)
        axes = tuple(range(region.row_axes if per_row else len(region.domain)))
    return _product([f"d{axis}" for axis in axes])


def _function(name: str, arguments: Sequence[str], lines: Sequence[str]) -> str:
    body = "\n".join(f"    {line}" for line in lines)
    return f"\n\ndef {name}({', '.join(arguments)}):\n{body}\n"


def _extents(region: KernelRegion) -> list[str]:
    """Number of rows and of columns, from the extents of the domain's axes."""
    axes = [f"d{axis}" for axis in range(len(region.domain))]
    return [f"rows = {_product(axes[: region.row_axes])}", f"columns = {_product(axes[region.row_axes :])}"]


def _all_axes(region: KernelRegion) -> str:
    return _product([f"d{axis}" for axis in range(len(region.domain))])


def _product(texts: Sequence[str]) -> str:
    return " * ".join(texts) or "1"


def _pointers(buffers: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{buffer}_ptr" for buffer in buffers)


def _fused(region: KernelRegion | None) -> str:
    return ", ".join(region.fuses if region is not None else ()) or "stores"
