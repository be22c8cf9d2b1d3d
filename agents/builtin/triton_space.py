"""What can be tuned in a Triton candidate, and the first guess for each kind of kernel.

The generator explores `triton_space`; `Choice` answers what the emitter asks. The first value of a parameter is its
default. Figures are for an H200 (132 multiprocessors, 65,536 registers and 227 KiB of shared memory each).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from everforge.agents.builtin.plan import KernelRegion, MatmulRegion, Plan, Scan
from everforge.agents.builtin.triton_folds import RowFolds, element_stores
from everforge.agents.builtin.triton_matmul import can_fuse, with_split_epilogues
from everforge.agents.builtin.triton_pointwise import is_flat
from everforge.agents.builtin.triton_split import can_split
from everforge.agents.builtin.triton_strided import inner_axes, is_strided
from everforge.agents.builtin.triton_strips import can_strip
from everforge.model.candidate import ParameterValue
from everforge.model.device import DeviceKind

Space = dict[str, tuple[ParameterValue, ...]]

# A row of 32,768 floats is 32 values for each of 1024 threads: the widest that left no spills on sm_90.
_WIDEST_WHOLE_ROW = 32768

_WIDEST_SCANNED_ROW = 16384  # twice as many left spills in a running product

# One program a row leaves most of 132 multiprocessors idle below about as many rows.
_FEW_ROWS = 128
_SOME_ROWS = 2048
# A multiprocessor holds 65,536 registers: two rows of 16,384 floats, if each has 512 threads of 64 registers. Then
# one is read while the other is computed; a layer norm in 1024 threads of 47 registers leaves room for one (+12 %).
_WIDE_ROW = 8192
SWEPT = 4096  # a limit for `whole` under which wide rows are swept
SWEPT_ALWAYS = 0
_HELD_TILE = 32768  # elements of a tile that 1024 threads hold with 32 values each
_FEW_TILES = 528  # four programs of 4 warps for each multiprocessor
_NARROW_TILE = 128  # columns
# 227 KiB of shared memory less 3 KiB for barriers, reductions and the driver.
_SHARED_BYTES = 224 << 10


@dataclass(frozen=True)
class Choice:
    """One point of the space: what was given, and defaults for the rest."""

    plan: Plan
    device: DeviceKind
    given: Mapping[str, ParameterValue]
    space: Space = field(default_factory=dict)

    @staticmethod
    def of(plan: Plan, device: DeviceKind, given: Mapping[str, ParameterValue]) -> "Choice":
        """The choice of `given` parameters; what is missing takes its default."""
        precision = str(given.get("precision", "fp32"))
        return Choice(with_split_epilogues(plan), device, given, triton_space(plan, precision, device))

    @property
    def precision(self) -> str:
        """Compute precision of matrix products."""
        return str(self.given.get("precision", "fp32"))

    def text(self, name: str) -> str:
        """A parameter's value as text."""
        return str(self._value(name))

    def number(self, name: str) -> int:
        """A parameter's value as a whole number."""
        return int(self._value(name))

    def _value(self, name: str) -> ParameterValue:
        return self.given[name] if name in self.given else self.space[name][0]

    def has(self, name: str) -> bool:
        """Whether there is such a parameter."""
        return name in self.space or name in self.given

    def splits(self, region: KernelRegion) -> bool:
        """Whether kernels for few long rows are written."""
        return self.has(f"{region.name}_split_below") and can_split(region)

    def launch_options(self, step: str, stages: bool = False) -> str:
        """Launch options of a step's kernels, as keyword arguments."""
        options = [f"num_warps={self.number(f'{step}_warps')}"]
        if stages:
            options.append(f"num_stages={self._stages(step)}")
        if self.device is DeviceKind.XPU and self.text("grf_mode") != "default":
            options.append(f'grf_mode="{self.text("grf_mode")}"')
        return ", ".join(options)

    def _stages(self, step: str) -> int:
        """Pipeline depth of a product, no deeper than the operands' tiles fit in shared memory."""
        tile_m, tile_n, tile_k = (self.number(f"{step}_tile_{side}") for side in "mnk")
        # An operand cast on the way to the tensor cores waits in shared memory as it came.
        lhs_bytes = 4 if self.text(f"{step}_kernel") == "tile" or self.precision in ("fp32", "tf32") else 2
        rhs_bytes = 4 if self.precision in ("fp32", "tf32") else 2
        right = 2 if any(isinstance(s, MatmulRegion) and s.name == step and s.twin for s in self.plan.steps) else 1
        stage_bytes = (tile_m * lhs_bytes + right * tile_n * rhs_bytes) * tile_k
        return max(1, min(self.number(f"{step}_stages"), _SHARED_BYTES // stage_bytes))


def triton_space(plan: Plan, precision: str, device: DeviceKind) -> Space:
    """Parameter name to the values worth trying, the default first."""
    space: Space = {}
    for step in plan.steps:
        match step:
            case KernelRegion():
                space |= region_space(step)
            case MatmulRegion():
                space |= _matmul_space(step, precision, device)
    if device is DeviceKind.XPU:
        space = {name: _xe2_warps(values) if name.endswith("_warps") else values for name, values in space.items()}
        space["grf_mode"] = ("default", "256", "128")
    return space


def _xe2_warps(values: tuple[ParameterValue, ...]) -> tuple[ParameterValue, ...]:
    """Sub-groups of Xe2 are 16 lanes wide, half a warp: the same threads need twice the number."""
    return tuple(dict.fromkeys([*(min(2 * int(value), 64) for value in values), *values]))


def region_space(region: KernelRegion) -> Space:
    """What can be tuned in one pointwise chain or row program."""
    name = region.name
    if can_strip(region):
        # Rows a program walks down, the rows above its strip being folded once more; 0 is the flat kernel.
        return {f"{name}_strip": (32, 64, 0), f"{name}_block": (1024, 512), f"{name}_warps": (4, 8)}
    if region.is_pointwise and is_flat(region):
        # 8 elements a thread: 16 were 2 % faster for Mish on an H200 and spill in longer chains; 4 were 8 % slower.
        return {f"{name}_block": (1024, 2048, 4096), f"{name}_warps": (4, 8)}
    if region.is_pointwise:
        return {f"{name}_rows": (32, 64, 16), f"{name}_block": (64, 32, 128), f"{name}_warps": (4, 8)}
    if is_strided(region):
        return _strided_space(region)
    rows = math.prod(size.literal for size in region.domain[: region.row_axes])
    columns = math.prod(size.literal for size in region.domain[region.row_axes :])
    width = 1 << max(columns - 1, 0).bit_length()
    if columns > _WIDEST_WHOLE_ROW and rows < _FEW_ROWS and can_split(region):
        return _split_space(region) | {f"{name}_split_below": (_FEW_ROWS,), f"{name}_warps": (8, 4, 16)}
    if columns > 8 * _WIDEST_WHOLE_ROW and rows < _SOME_ROWS and can_split(region):
        # Of some hundreds of long rows the last ones would run almost alone.
        return _split_space(region) | {f"{name}_split_below": (_SOME_ROWS, 0), f"{name}_warps": (8, 16, 32)}
    scans = any(isinstance(value, Scan) for value in region.values)
    if columns > (_WIDEST_SCANNED_ROW if scans else _WIDEST_WHOLE_ROW):
        return _swept_space(name) | {f"{name}_whole": (_WIDEST_SCANNED_ROW if scans else _WIDEST_WHOLE_ROW,)}
    return _wide_space(name, width, region) if width >= _WIDE_ROW else _narrow_space(name, width)


def _wide_space(name: str, width: int, region: KernelRegion) -> Space:
    """Wide rows that fit in registers, 32 values a thread; where one sweep reads all, it needs no such room."""
    warps = _power_of_two(width // (32 * 32), low=4, high=32)
    more = tuple(w for w in (32, 2 * warps) if warps < w <= 32)
    held, swept = (warps, *more), (32, 16)
    folds_once = not element_stores(region) and RowFolds(region).last_sweep() == 0
    return {
        f"{name}_rows": (1,),
        f"{name}_warps": tuple(dict.fromkeys((*swept, *held) if folds_once else held)),
        f"{name}_block": (4096,),
        f"{name}_whole": (SWEPT, _WIDEST_WHOLE_ROW) if folds_once else (_WIDEST_WHOLE_ROW, SWEPT),
    }


def _narrow_space(name: str, width: int) -> Space:
    """Narrow rows, several a program: about 16 values a thread."""
    rows = max(1, min(64 if width >= 32 else 512, 2048 // width))
    warps = _power_of_two(width * rows // (32 * 16), low=4 if width * rows >= 2048 else 1, high=32)
    others = [w for w in (warps // 2, warps * 2) if 1 <= w <= 32 and width * rows // (32 * w) <= 64]
    # Other variants may have wider rows: past 64 values a thread they are swept.
    widest = min(_WIDEST_WHOLE_ROW, 4 * width)
    row_choices = [r for r in (rows, rows * 2, rows // 2) if r >= 1 and (r == 1 or r * width <= 8192)]
    return {
        f"{name}_rows": tuple(dict.fromkeys(row_choices)),
        f"{name}_warps": (warps, *others),
        f"{name}_block": (4096,),
        f"{name}_whole": (widest,),
    }


def _swept_space(name: str) -> Space:
    """Rows that do not fit: one row a program, 8 values a thread and iteration."""
    return {
        f"{name}_rows": (1,),
        f"{name}_warps": (16, 32),
        f"{name}_block": (8192, 4096),
        f"{name}_whole": (_WIDEST_WHOLE_ROW,),
    }


def _strided_space(region: KernelRegion) -> Space:
    """Rows across memory: tiles of neighbouring rows, held where their columns fit, else swept.

    A tile's width is what is read in one piece: 128 floats are four sectors of DRAM's 128 bytes, 8 are one of 32.
    """
    name = region.name
    columns = math.prod(size.literal for size in region.domain[region.row_axes :])
    rows = math.prod(size.literal for size in region.domain[: region.row_axes])
    inner = math.prod(size.literal for size in region.domain[region.row_axes - inner_axes(region) : region.row_axes])
    width, widest = _ceiling_power(columns), _ceiling_power(inner)
    tile = min(64, widest)
    # A running fold cannot be cut into parts: narrower tiles make as many programs as there are multiprocessors, twice.
    while not can_split(region) and tile > 8 and rows // max(inner, 1) * -(-inner // tile) < 264:
        tile //= 2
    block = max(16, min(4096 // tile, 1024, width))
    space: Space = {
        f"{name}_tile": (tile, min(2 * tile, widest), max(tile // 2, min(8, widest))),
        f"{name}_block": (block, max(block // 2, 8)),
        f"{name}_warps": (4, 8),
    }
    reads_once = not element_stores(region) and RowFolds(region).last_sweep() == 0
    if not reads_once and width * min(8, widest) <= _HELD_TILE:
        space |= _held_space(name, width, widest)
    elif can_split(region) and columns > 4 * block and rows // max(inner, 1) * -(-inner // tile) < _FEW_TILES:
        space[f"{name}_split_below"] = (_FEW_TILES,)
    return {parameter: tuple(dict.fromkeys(values)) for parameter, values in space.items()}


def _held_space(name: str, width: int, widest: int) -> Space:
    """Tiles of rows across memory that are held in registers, 32 values a thread; two of them on a multiprocessor."""
    rows = min(max(_HELD_TILE // 2 // width, 8), 128, widest)
    return {
        f"{name}_rows": (rows, max(min(rows, 8), rows // 2)),
        f"{name}_warps": (_power_of_two(rows * width // 1024, low=4, high=32), 4),
        f"{name}_whole": (width, SWEPT_ALWAYS),
    }


def _split_space(region: KernelRegion) -> Space:
    """Long rows in parts: where elements are stored, half the block, or a multiprocessor has room for one program."""
    blocks = (4096, 8192) if element_stores(region) else (8192, 4096)
    return _swept_space(region.name) | {f"{region.name}_block": blocks}


def _ceiling_power(value: int) -> int:
    """The smallest power of two that is no less."""
    return 1 << max(value - 1, 0).bit_length()


def _matmul_space(region: MatmulRegion, precision: str, device: DeviceKind) -> Space:
    """Kernel, tile shape and pipeline of one matrix product."""
    name, kernels = region.name, _kernels(region, precision, device)
    shapes = _persistent_shapes(precision) if "persistent" in kernels else _tile_shapes(precision)
    if region.twin is not None:  # two accumulators, of as many registers as one of twice the columns
        shapes |= {"tile_n": tuple(width for width in shapes["tile_n"] if int(width) <= _NARROW_TILE)}
    if region.triangle is not None:  # beside 256 columns of accumulators its mask spills (72 bytes of stack)
        shapes |= {"tile_n": tuple(sorted(shapes["tile_n"], key=lambda width: int(width) != _NARROW_TILE))}
    space: Space = {f"{name}_kernel": kernels, **{f"{name}_{what}": choices for what, choices in shapes.items()}}
    if region.epilogue is not None:
        space |= region_space(tail_of(region))
    return space


def _persistent_shapes(precision: str) -> Space:
    """Tiles that feed two warp groups; 64 columns or 4 warps took twice as long (H200)."""
    low = precision in ("bf16", "fp16")
    return {
        "tile_m": (128, 64),
        "tile_n": (256, 128) if low else (128,),
        "tile_k": (64,) if low else (32,),
        "group": (8, 4),
        "warps": (8,),
        "stages": (3, 4),
    }


def _tile_shapes(precision: str) -> Space:
    """Tiles of the kernel that reads through pointers."""
    low = precision in ("bf16", "fp16")
    return {
        "tile_m": (128, 64) if precision != "fp32" else (64, 128),
        "tile_n": (128, 64, 256) if low else (128, 64),
        "tile_k": (64, 32) if low else (32, 16) if precision == "tf32" else (16, 32),
        "group": (8, 4),
        "warps": (8, 4),
        "stages": (3, 4, 2),
    }


def _kernels(region: MatmulRegion, precision: str, device: DeviceKind) -> tuple[str, ...]:
    """Which kernels can compute the product, the best guess first.

    In plain fp32 the vendor's product leads: Triton's has no tensor cores to use. TF32 is Triton's alone, because
    the vendor's needs a global switch. On Hopper the vendor's is about 10 % faster alone; a pointwise epilogue on
    the accumulators saves the product's way to memory and back, about as much, and a triangle saves half the
    product. There `tile` took 3 to 6 times as long and is left out.
    """
    if precision == "fp32":
        return ("torch", "tile")
    if region.batched or device is not DeviceKind.CUDA:
        if precision == "tf32":
            return ("tile",)
        return ("torch", "tile") if region.triangle is None else ("tile", "torch")
    if precision == "tf32":
        return ("persistent",)
    is_plain = region.epilogue is None and region.triangle is None
    return ("torch", "persistent") if is_plain else ("persistent", "torch")


def tail_of(region: MatmulRegion) -> KernelRegion:
    """The epilogue as a region of its own. Raises ValueError if there is none."""
    if region.epilogue is None:
        raise ValueError(f"{region.name} has no epilogue")
    return replace(region.epilogue, name=f"{region.name}_tail")


def without_tail(region: MatmulRegion) -> MatmulRegion:
    """The product alone, stored."""
    return replace(region, epilogue=None, keeps_product=True)


def is_fused(region: MatmulRegion, choice: Choice) -> bool:
    """Whether the epilogue works on the accumulators under this choice."""
    if choice.text(f"{region.name}_kernel") == "torch":
        return False
    return can_fuse(region, choice.plan)


def _power_of_two(value: int, low: int, high: int) -> int:
    """The largest power of two up to `value`, within bounds that are powers of two."""
    return max(low, min(high, 1 << max(value, 1).bit_length() - 1))
