"""References for the Triton emitter's tests, and a process of its own that interprets or compiles candidates.

Run as a script: `triton_cases.py interpret|forms|compile FOLDER`. It reads `FOLDER/<case>.py`, calls each ModelNew and
prints one JSON object. Triton decides at import whether it interprets, so neither can be done in the test process.
"""

import importlib.util
import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from everforge.agents.builtin.plan import POINTWISE_ARITY, Buffer, KernelRegion, Load, Plan, Pointwise, Size, Store
from everforge.model.task import InputContract
from everforge.runners.gate.triton_gate import compile_ahead
from everforge.runners.gate.triton_interpret import interpret
from everforge.runners.truth.input_forms import hostile_forms

Parameters = dict[str, bool | int | float | str]
EVERY_FORM = InputContract(empty_batch=True)


class Softmax(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(x * 2.0, dim=-1)


class LogSumExp(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.logsumexp(x, dim=1, keepdim=True) * 3.0


class LayerNormGelu(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.gelu(self.norm(x)) + x


class RmsNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.scale


class GroupNormTanh(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(3, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.norm(x))


class Chain(nn.Module):
    """Broadcasts a parameter, reads a transposed operand, returns two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.rand(7, 1, 1))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mixed = F.silu(x + self.shift) * y - x.permute(0, 1, 3, 2)
        return F.hardtanh(mixed, -1.0, 1.0), torch.where(x > 0, x, y.exp())


class FlatChain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.softplus(self.norm(x)) + F.elu(x)


class RunningSum(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cumsum(x * x, dim=1)


class TwoLayers(nn.Module):
    def __init__(self, sizes: tuple[int, int, int]) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(sizes[0], sizes[1]), nn.GELU(), nn.Linear(sizes[1], sizes[2]))
        self.scale = nn.Parameter(torch.rand(sizes[2]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.mish(self.net(x)) * self.scale


class LinearSoftmax(nn.Module):
    def __init__(self, sizes: tuple[int, int, int]) -> None:
        super().__init__()
        self.linear = nn.Linear(sizes[0], sizes[1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.linear(x), dim=1)


class MishByHand(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.tanh(F.softplus(x * 20.0))


class Product(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.clamp(torch.matmul(a, b) + 1.0, 0.0, 5.0)


class SquaredError(nn.Module):
    """One row of all elements."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.mean((x - y) ** 2)


class Expression(nn.Module):
    """A function of its inputs."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(*inputs)


def folds_along(dim: int) -> Callable[[torch.Tensor], tuple[torch.Tensor, ...]]:
    """Every fold with something before and after it, over one dimension."""

    def forward(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = torch.tanh(x) * 2
        return (
            *(y.sum(dim) + 1, y.mean(dim, keepdim=True), y.amax(dim) * 3, y.amin(dim), y.var(dim)),
            *(torch.logsumexp(x, dim), torch.linalg.vector_norm(x, dim=dim)),
        )

    return forward


def positions(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Positions over an outer, a middle, the last and all dimensions."""
    values, places = torch.max(x, 1)
    low, lowest = torch.min(x, 2, keepdim=True)
    return values, places, low, lowest, x.argmax(0), x.argmin(), torch.argmax(x * 2, -1)


def tied(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions where many elements are equal."""
    whole = torch.floor(x)
    return whole.argmax(0), whole.argmin(1)


def from_the_end(x: torch.Tensor) -> torch.Tensor:
    return torch.flip(torch.cumsum(torch.flip(x * 2, [1]), 1), [1])


def normalised_along(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.softmax(x * 2, 1), torch.log_softmax(x, 1)


class SoftmaxAndPeak(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.softmax(x, dim=-1), x.amax(dim=-1)


# The plan's names are torch's.
OPERATIONS: dict[str, Callable[..., torch.Tensor]] = {
    **{name: getattr(torch, name) for name in POINTWISE_ARITY},
    "where": lambda condition, a, b: torch.where(condition != 0, a, b),
}


class Operations(nn.Module):
    """Every pointwise operation of the plan, each as an output of its own."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
        operands = (torch.floor(x), x, y)
        return tuple(
            OPERATIONS[op](*(operands if arity == 3 else (x, y)[:arity])).to(x.dtype)
            for op, arity in POINTWISE_ARITY.items()
        )


def operations_plan() -> Plan:
    """The plan of `Operations`, written by hand, since the planner would rewrite some of them."""
    extent = Size(97, (("x", 0),))
    values: list[Any] = [Load("x", (0,)), Load("y", (0,)), Pointwise("floor", (0,))]
    stores = []
    for op, arity in POINTWISE_ARITY.items():
        values.append(Pointwise(op, (2, 0, 1) if arity == 3 else (0, 1)[:arity]))
        stores.append(Store(len(values) - 1, f"out_{op}"))
    inputs = [Buffer(name, (extent,), "float32", "input", position=at) for at, name in enumerate("xy")]
    outputs = [Buffer(store.buffer, (extent,), "float32", "temporary") for store in stores]
    region = KernelRegion("kernel_0", (extent,), 0, tuple(values), tuple(stores), ("operations",))
    names = tuple(store.buffer for store in stores)
    return Plan((*inputs, *outputs), (region,), names, "tuple", input_count=2)


@dataclass(frozen=True)
class Case:
    """A reference with its inputs' shapes, what is chosen of the space, and how close values must come."""

    build: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...], ...]
    parameters: Parameters = field(default_factory=dict)
    tolerance: float = 4e-6
    compiled_shapes: tuple[tuple[int, ...], ...] | None = None  # tensors have no memory then, so these may be large

    plan: Callable[[], Plan] | None = None  # the planner's, if absent
    dtypes: tuple[torch.dtype, ...] = ()  # of the inputs, float32 if absent; half of a boolean one is true
    others: tuple[tuple[int, ...], ...] = ()  # shapes of its only input that the kernel was not made for
    edges: bool = False  # rows with infinities and NaN among ordinary ones

    def inputs(self) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(3)
        inputs = [torch.randn(shape, generator=generator) for shape in self.shapes]
        inputs = [
            (x > 0 if dtype is torch.bool else x.to(dtype)) for x, dtype in zip(inputs, self.kinds(), strict=True)
        ]
        return [with_edges(x) for x in inputs] if self.edges else inputs

    def kinds(self) -> tuple[torch.dtype, ...]:
        return self.dtypes or (torch.float32,) * len(self.shapes)

    def model(self) -> nn.Module:
        torch.manual_seed(5)
        return self.build().eval()


def with_edges(x: torch.Tensor) -> torch.Tensor:
    """Rows 0 to 4: a NaN; an infinity; nothing but -inf; -inf up to the last element; exponents past the range."""
    x[0, 7], x[1, 3] = float("nan"), float("inf")
    x[2], x[3, :-1] = float("-inf"), float("-inf")
    x[4] *= 200.0
    return x


def along(function: Callable[..., Any], *shapes: tuple[int, ...], **chosen: Any) -> Case:
    """A case without parameters."""
    return Case(lambda: Expression(function), shapes, **chosen)


def products(kernel: str, precision: str) -> Parameters:
    return {"precision": precision, **{f"product_{step}_kernel": kernel for step in range(4)}}


# Widths past `whole` are swept; small limits make odd little shapes take that path too.
SWEPT: Parameters = {"kernel_0_whole": 64, "kernel_0_block": 32}
SPLIT: Parameters = SWEPT | {"kernel_0_split_below": 8}
# Rows across memory: held in tiles, swept by tiles, and cut into parts.
ACROSS_HELD: Parameters = {"kernel_0_whole": 64, "kernel_0_rows": 8}
ACROSS_SWEPT: Parameters = {"kernel_0_whole": 0, "kernel_0_rows": 8, "kernel_0_tile": 8, "kernel_0_block": 16}
ELSEWHERE = ((1, 3, 1), (2, 130, 3), (5, 3, 70))
ACROSS_SPLIT: Parameters = ACROSS_SWEPT | {"kernel_0_split_below": 1000}
LAYERS = (72, 64, 40)  # rows that start on 16 bytes, as tensor descriptors need
ODD_LAYERS = (70, 65, 33)
SMALL_TILES: Parameters = {"product_0_tile_n": 128}
LARGE = ((1024, 8192), (8192, 8192))
CASES: dict[str, Case] = {
    "softmax": Case(Softmax, ((5, 123),)),
    "softmax-swept": Case(Softmax, ((3, 1000),), SWEPT),
    "logsumexp": Case(LogSumExp, ((5, 123),)),
    "logsumexp-swept": Case(LogSumExp, ((3, 1000),), SWEPT),
    **{
        f"{name}-edges{suffix}": Case(build, ((6, 123),), limits, edges=True)
        for name, build in (("softmax", Softmax), ("logsumexp", LogSumExp), ("softmax-and-peak", SoftmaxAndPeak))
        for suffix, limits in (("", {}), ("-swept", SWEPT), ("-split", SPLIT))
    },
    "mish-by-hand": Case(MishByHand, ((5, 123),)),
    "linear-softmax-bf16": Case(lambda: LinearSoftmax(LAYERS), ((33, 72),), products("persistent", "bf16"), 3e-2),
    "linear-softmax-torch": Case(lambda: LinearSoftmax(LAYERS), ((33, 72),), products("torch", "bf16"), 3e-2),
    "layernorm": Case(lambda: LayerNormGelu(123), ((5, 123),)),
    "layernorm-swept": Case(lambda: LayerNormGelu(1000), ((3, 1000),), SWEPT),
    "rmsnorm": Case(lambda: RmsNorm(123), ((2, 5, 123),)),
    "groupnorm": Case(GroupNormTanh, ((2, 12, 5, 7),)),
    "groupnorm-swept": Case(GroupNormTanh, ((2, 12, 5, 7),), SWEPT),
    "mean-of-all": Case(SquaredError, ((5, 123), (5, 123)), SPLIT),
    "softmax-split": Case(SoftmaxAndPeak, ((3, 1000),), SPLIT),
    "operations": Case(Operations, ((97,), (97,)), plan=operations_plan),
    "chain": Case(Chain, ((2, 7, 6, 6), (2, 7, 6, 6))),
    "flat-chain": Case(FlatChain, ((2, 12, 5, 7),)),
    "cumsum": Case(RunningSum, ((5, 123),), tolerance=1e-4),
    "cumsum-swept": Case(RunningSum, ((3, 1000),), SWEPT, tolerance=2e-3),
    **{
        f"{name}{suffix}": along(
            function,
            (36, 3, 13) if "outer" in name else (3, 45, 13),
            parameters=limits,
            tolerance=tol,
            others=() if "outer" in name else ELSEWHERE,
        )
        for name, function, tol in (
            ("folds-outer", folds_along(0), 4e-6),
            ("folds-middle", folds_along(1), 4e-6),
            ("softmax-middle", normalised_along, 4e-6),
            ("cumsum-middle", lambda x: torch.cumsum(x, 1) * 2, 2e-5),
            ("cumsum-reverse-middle", from_the_end, 2e-5),
            ("cumprod-middle", lambda x: torch.cumprod(1 + x * 0.1, 1), 2e-5),
        )
        for suffix, limits in (("", {}), ("-held", ACROSS_HELD), ("-swept", ACROSS_SWEPT), ("-split", ACROSS_SPLIT))
        if not (suffix == "-split" and name.startswith("cum")) and not (suffix == "-swept" and name == "folds-outer")
    },
    **{
        f"prod-middle{suffix}": along(lambda x: (x + 2).prod(1), (2, 20, 5), parameters=limits)
        for suffix, limits in (("", {}), ("-split", ACROSS_SPLIT))
    },
    "windows": along(lambda x: (F.max_pool1d(x, 4), F.gelu(F.avg_pool1d(x, 3) * 2)), (3, 5, 24)),
    "losses": along(
        lambda x, y: (F.huber_loss(x, y), F.smooth_l1_loss(x, y, beta=0.3), F.cosine_similarity(x, y)),
        *((5, 123), (5, 123)),
    ),
    "folds-several": along(lambda x: (x.sum((0, 2)), torch.relu(x).amax((0, 2)), x.var((0, 2))), (3, 45, 4, 13)),
    "folds-several-split": along(lambda x: x.var((0, 2, 3)), (3, 5, 20, 13), parameters=SPLIT),
    "sum-of-columns": along(lambda x: x.square().sum(0), (1500, 33), parameters={"kernel_0_split_below": 1000}),
    **{
        f"{name}{suffix}": along(function, (3, 45, 13), parameters=limits)
        for name, function in (("positions", positions), ("tied", tied))
        for suffix, limits in (
            ("", {}),
            ("-swept", {f"kernel_{n}_{what}": size for n in range(6) for what, size in (("whole", 0), ("block", 16))}),
            (
                "-split",
                {
                    f"kernel_{n}_{what}": size
                    for n in range(6)
                    for what, size in (("whole", 0), ("block", 16), ("split_below", 1000))
                },
            ),
        )
    },
    "positions-edges": along(lambda x: (x.argmax(1), x.argmin(1), x.argmax(0)), (6, 123), edges=True),
    "positions-edges-swept": along(lambda x: (x.argmax(1), x.argmin(1)), (6, 123), parameters=SWEPT, edges=True),
    "positions-edges-split": along(lambda x: (x.argmax(1), x.argmin(1)), (6, 123), parameters=SPLIT, edges=True),
    "cumsum-reverse": along(from_the_end, (5, 123), tolerance=2e-5),
    "cumsum-reverse-swept": along(from_the_end, (3, 1000), parameters=SWEPT, tolerance=1e-4),
    "cumsum-masked": along(
        lambda x, keep: torch.cumsum(x * keep, 1),
        (5, 123),
        (5, 123),
        dtypes=(torch.float32, torch.bool),
        tolerance=1e-5,
    ),
    "cumsum-exclusive": along(lambda x: torch.cumsum(F.pad(x[:, :-1], (1, 0)), 1), (5, 123), tolerance=1e-5),
    "transposed-result": along(lambda x: torch.tanh(x).permute(2, 0, 1), (3, 45, 13)),
    # Spread is a ten-thousandth of the mean: sums of squares would have lost it, rounding to float32 costs 1e-3.
    **{
        f"layernorm-far{suffix}": along(
            lambda x: F.layer_norm(x * 0.01 + 100, (1000,)), (3, 1000), parameters=limits, tolerance=5e-3
        )
        for suffix, limits in (("-swept", SWEPT), ("-split", SPLIT))
    },
    "layernorm-split": Case(lambda: LayerNormGelu(1000), ((3, 1000),), SPLIT),
    "groupnorm-split": Case(GroupNormTanh, ((2, 12, 5, 7),), SPLIT),
    **{
        f"batchnorm-of-batch{suffix}": Case(
            lambda: nn.BatchNorm2d(5, track_running_stats=False), ((4, 5, 9, 7),), limits
        )
        for suffix, limits in (("", {}), ("-split", SPLIT))
    },
    "instancenorm-swept": along(lambda x: F.relu(F.instance_norm(x)), (2, 5, 9, 11), parameters=SWEPT),
    "softmax-bf16-input": along(lambda x: torch.softmax(x * 2, -1), (5, 123), dtypes=(torch.bfloat16,), tolerance=1e-2),
    "norm-fp16-input": along(
        lambda x: x * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-6).half(),
        *((5, 123),),
        dtypes=(torch.float16,),
        tolerance=2e-3,
    ),
    "linear-torch": Case(lambda: TwoLayers(ODD_LAYERS), ((33, 70),), products("torch", "fp32")),
    "linear-tile": Case(lambda: TwoLayers(ODD_LAYERS), ((33, 70),), products("tile", "fp32")),
    "linear-persistent-tf32": Case(lambda: TwoLayers(LAYERS), ((33, 72),), products("persistent", "tf32"), 2e-3),
    "linear-persistent-bf16": Case(lambda: TwoLayers(LAYERS), ((33, 72),), products("persistent", "bf16"), 2e-2),
    "linear-unaligned-bf16": Case(lambda: TwoLayers(ODD_LAYERS), ((33, 70),), products("persistent", "bf16"), 2e-2),
    "linear-torch-bf16": Case(lambda: TwoLayers(ODD_LAYERS), ((33, 70),), products("torch", "bf16"), 3e-2),
    "matmul-tile-fp16": Case(Product, ((33, 70), (70, 65)), SMALL_TILES | products("tile", "fp16"), 5e-2, LARGE),
    "matmul-persistent-fp16": Case(Product, ((33, 72), (72, 64)), products("persistent", "fp16"), 5e-2, LARGE),
    "bmm-tile": Case(Product, ((3, 33, 70), (3, 70, 65)), products("tile", "fp32")),
}


def tensors(outputs: Any) -> list[torch.Tensor]:
    return [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)


def candidate(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem.replace("-", "_"), path)
    if spec is None or spec.loader is None:
        raise ImportError(str(path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def interpreted(name: str, folder: Path) -> dict[str, Any]:
    """Largest error of each output against float64, and whether reloading parameters changes the result."""
    case, model = CASES[name], CASES[name].model()
    new = candidate(folder / f"{name}.py").ModelNew()
    new.load_state_dict(model.state_dict(), strict=True)
    with torch.no_grad():
        outputs = tensors(new(*case.inputs()))
        elsewhere = [error for shape in case.others for error in at_another_shape(model, new, shape)]
        state = {key: value + 0.5 for key, value in model.state_dict().items() if value.is_floating_point()}
        new.load_state_dict(state, strict=False)
        again = tensors(new(*case.inputs()))
        expected = tensors(model.double()(*map(widened, case.inputs())))
        model.float().load_state_dict(state, strict=False)
        expected_again = tensors(model.double()(*map(widened, case.inputs())))
        kinds = [x.dtype for x in tensors(model.float()(*case.inputs()))]
    if kinds != [x.dtype for x in outputs]:
        raise TypeError(f"{name}: {[x.dtype for x in outputs]} where the reference gives {kinds}")
    return {"errors": errors(outputs, expected) + elsewhere, "errors_after_reload": errors(again, expected_again)}


def at_another_shape(model: nn.Module, new: nn.Module, shape: tuple[int, ...]) -> list[float]:
    """Errors at a shape of the same structure, which may turn short rows into long ones and narrow into wide."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(7))
    return errors(tensors(new(x)), tensors(model(x.double())))


def widened(x: torch.Tensor) -> torch.Tensor:
    return x.double() if x.is_floating_point() else x


def in_forms(name: str, folder: Path) -> dict[str, list[list[float]]]:
    """Errors of the candidate's outputs and of eager's at its precision, by form of the inputs.

    Forms the reference refuses are left out.
    """
    case, model = CASES[name], CASES[name].model()
    new = candidate(folder / f"{name}.py").ModelNew()
    new.load_state_dict(model.state_dict(), strict=True)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(str(case.parameters.get("precision")), torch.float32)
    found = {}
    with torch.no_grad():
        for label, inputs in hostile_forms(tuple(case.inputs()), EVERY_FORM):
            try:
                given = (x.to(dtype) if x.dtype is torch.float32 else x for x in inputs)
                eager = [x.float() for x in tensors(model.to(dtype)(*given))]
            except (RuntimeError, IndexError):  # an extremum of nothing
                continue
            expected = tensors(model.double()(*map(widened, inputs)))
            found[label] = [errors(outputs, expected) for outputs in (tensors(new(*inputs)), eager)]
            model.float().load_state_dict(new.state_dict())  # half precision has rounded its parameters
    return found


def errors(outputs: list[torch.Tensor], expected: list[torch.Tensor]) -> list[float]:
    """Largest error of each output over its largest value; infinite where only one of the two is NaN."""
    return [_error(a.double(), b.double()) for a, b in zip(outputs, expected, strict=True)]


def _error(output: torch.Tensor, expected: torch.Tensor) -> float:
    agree = (output == expected) | (output.isnan() & expected.isnan())
    distance = torch.where(agree, 0.0, (output - expected).abs()).nan_to_num(nan=float("inf"))
    largest = expected[expected.isfinite()].abs()
    return float(distance.max() / largest.max().clamp(min=1e-30)) if len(largest) else 0.0


def compiled(name: str, folder: Path) -> dict[str, Any]:
    """The gate's report on a candidate for sm_90."""

    def run_forward() -> Any:
        with torch.device("cuda"), torch.no_grad():
            model = candidate(folder / f"{name}.py").ModelNew()
            case = CASES[name]
            shapes = case.compiled_shapes or case.shapes
            return model(*(torch.empty(shape, dtype=dtype) for shape, dtype in zip(shapes, case.kinds(), strict=True)))

    report: dict[str, Any] = compile_ahead(run_forward, "sm_90").model_dump(mode="json")
    return report


def report(mode: str, folder: Path) -> None:
    """Print what was found for every candidate in the folder."""
    work = {"interpret": interpreted, "forms": in_forms, "compile": compiled}[mode]
    with nullcontext() if mode == "compile" else interpret():
        found = {path.stem: work(path.stem, folder) for path in sorted(folder.glob("*.py"))}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    report(sys.argv[1], Path(sys.argv[2]))
