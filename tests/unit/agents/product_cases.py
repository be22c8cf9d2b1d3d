"""References of matrix products for `test_builtin_products.py`, interpreted or compiled by the process of
`triton_cases.py`: `product_cases.py interpret|compile FOLDER` prints one JSON object.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import triton_cases as cases
from torch import nn

along, products = cases.along, cases.products


def einsum(equation: str) -> Callable[..., torch.Tensor]:
    return lambda a, b: torch.relu(torch.einsum(equation, a, b))


FP32 = products("tile", "fp32")
LOW = {"tolerance": 2e-2}
EVERY_KERNEL = (("tile", "fp32", 4e-6), ("persistent", "bf16", 3e-2), ("torch", "bf16", 3e-2))
SCORES, MIXED = "bqhd,bkhd->bhqk", "bhqk,bkhd->bqhd"


class Layered(nn.Module):
    """A function of modules and its input."""

    def __init__(self, function: Callable[..., torch.Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(parts)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.function(*self.parts, *inputs)


class Vector(nn.Module):
    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.randn(shape))


def layered(
    function: Callable[..., torch.Tensor], shape: tuple[int, ...], *parts: Callable[[], nn.Module], **chosen: Any
) -> Any:
    return cases.Case(lambda: Layered(function, *(make() for make in parts)), (shape,), **chosen)


def normed(module: nn.Module) -> nn.Module:
    """A batch norm with statistics that are not 0 and 1."""
    for name, values in module.named_buffers():
        if name.startswith("running"):
            nn.init.uniform_(values, 0.5, 2)
    return module


CASES: dict[str, Any] = {
    "transposed-a": along(lambda a, b: a.T @ b, (72, 40), (72, 64), parameters=FP32),
    "transposed-both": along(lambda a, b: a.T @ b.T + 1, (70, 33), (65, 70), parameters=FP32),
    "transposed-a-persistent": along(
        lambda a, b: a.T @ b,
        *((72, 40), (72, 64)),
        parameters=products("persistent", "bf16"),
        compiled_shapes=((8192, 2048), (8192, 4096)),
        **LOW,
    ),
    "transposed-both-persistent": along(
        lambda a, b: torch.relu(a.T @ b.T),
        *((72, 40), (64, 72)),
        parameters=products("persistent", "bf16"),
        compiled_shapes=((8192, 2048), (4096, 8192)),
        **LOW,
    ),
    "transposed-a-vendor": along(lambda a, b: a.T @ b, (72, 40), (72, 64), parameters=products("torch", "bf16"), **LOW),
    "batched-transposed": along(lambda q, k: torch.bmm(q, k.mT) / 8, (3, 33, 40), (3, 50, 40), parameters=FP32),
    "batched-transposed-a": along(lambda q, k: torch.bmm(q.mT, k), (3, 40, 33), (3, 40, 50), parameters=FP32),
    "batched-transposed-vendor": along(
        lambda q, k: torch.bmm(q, k.mT) / 8, (3, 33, 40), (3, 50, 40), parameters=products("torch", "bf16"), **LOW
    ),
    **{
        f"{name}{suffix}": along(function, *shapes, parameters=chosen, tolerance=tolerance)
        for name, function, shapes in (
            ("scores", einsum(SCORES), ((2, 33, 3, 40), (2, 20, 3, 40))),
            ("mixed", einsum(MIXED), ((2, 3, 33, 20), (2, 20, 3, 40))),
            ("broadcast", lambda a, b: torch.relu(a @ b), ((2, 3, 20, 40), (3, 40, 33))),
            ("tokens-first", lambda a, b: torch.relu(a.permute(1, 0, 2) @ b), ((4, 5, 40), (40, 33))),
        )
        for suffix, chosen, tolerance in (
            ("", FP32, 4e-6),
            ("-bf16", products("tile", "bf16"), 2e-2),
            ("-vendor", products("torch", "bf16"), 2e-2),
        )
    },
    "added-product": along(
        lambda c, a, b: torch.baddbmm(c, a, b, alpha=0.05, beta=2),
        *((3, 1, 50), (3, 33, 40), (3, 40, 50)),
        parameters=FP32,
    ),
    "upper-triangle": along(lambda a, b: torch.triu(a @ b), (200, 40), (40, 300), parameters=FP32),
    "lower-triangle-batched": along(lambda a, b: torch.tril(a @ b.mT, 1) + 1, *2 * ((3, 150, 40),), parameters=FP32),
    "lower-triangle-persistent": along(
        lambda a, b: torch.relu(torch.tril(a @ b, -1)),
        *((200, 40), (40, 304)),
        parameters=products("persistent", "bf16"),
        compiled_shapes=((4096, 4096), (4096, 4096)),
        **LOW,
    ),
    "upper-triangle-persistent": along(
        lambda a, b: torch.triu(a @ b, 1),
        *((200, 40), (40, 304)),
        parameters=products("persistent", "bf16"),
        compiled_shapes=((4096, 4096), (4096, 4096)),
        **LOW,
    ),
    "lower-triangle-vendor": along(
        lambda a, b: torch.tril(a @ b, -1), (20, 40), (40, 30), parameters=products("torch", "bf16"), **LOW
    ),
    **{
        f"gate-{kernel}-{precision}": layered(
            lambda gate, up, x: torch.nn.functional.silu(gate(x)) * up(x),
            (33, 72),
            lambda: nn.Linear(72, 64),
            lambda: nn.Linear(72, 64, bias=False),
            parameters=products(kernel, precision) | {"product_1_tile_n": 128},
            tolerance=tolerance,
        )
        for kernel, precision, tolerance in EVERY_KERNEL
    },
    "gate-of-inputs": along(
        lambda x, a, b: torch.sigmoid(x @ a) * (x @ b),
        *((33, 72), (72, 64), (72, 64)),
        parameters=products("persistent", "bf16"),
        compiled_shapes=((4096, 4096), (4096, 11264), (4096, 11264)),
        tolerance=3e-2,
    ),
    "vector": along(lambda a, b: a @ b + 1, (33, 300), (300,), tolerance=1e-5),
    "one-output": cases.Case(lambda: nn.Linear(300, 1), ((33, 300),), tolerance=1e-5),
}

REWRITTEN: dict[str, Any] = {
    **{
        f"norm-behind-layer-{kernel}-{precision}": layered(
            lambda layer, norm, scale, x: torch.relu(norm(layer(x) * scale.values)),
            (33, 72),
            lambda: nn.Linear(72, 64),
            lambda: normed(nn.BatchNorm1d(64)),
            lambda: Vector(64),
            parameters=products(kernel, precision),
            tolerance=tolerance,
        )
        for kernel, precision, tolerance in EVERY_KERNEL
    },
    "norm-before-layer": layered(
        lambda norm, layer, x: layer(norm(x)),
        (33, 72),
        lambda: normed(nn.BatchNorm1d(72)),
        lambda: nn.Linear(72, 64),
        parameters=FP32,
    ),
    "norm-behind-convolution": layered(
        lambda layer, norm, x: torch.relu(norm(layer(x))),
        (2, 3, 9, 9),
        lambda: nn.Conv2d(3, 6, 3, bias=False),
        lambda: normed(nn.BatchNorm2d(6)),
    ),
    "row-sums": layered(lambda layer, x: (layer(x) / 2).sum(1), (33, 72), lambda: nn.Linear(72, 64), tolerance=1e-5),
    "merged-layers": layered(
        lambda up, down, x: torch.relu(down(up(x))),
        (33, 40),
        lambda: nn.Linear(40, 200),
        lambda: nn.Linear(200, 40),
        parameters=products("tile", "bf16"),
        tolerance=3e-2,
    ),
    "diagonal": along(lambda a, b: torch.diag(a) @ b, (33,), (33, 40)),
}

if __name__ == "__main__":
    cases.CASES = CASES | REWRITTEN
    cases.report(sys.argv[1], Path(sys.argv[2]))
