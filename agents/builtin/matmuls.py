"""Matrix products of ATen as lhs @ rhs + bias; `planner.py` looks them up here.

How the operands lie in memory is `layouts.py`'s affair: a handler only says which tensors are multiplied.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from everforge.agents.builtin.axes import Source, Unfusable, permuted, unsqueezed
from everforge.agents.builtin.plan import Size


@dataclass(frozen=True)
class Product:
    """Operands of one product: lhs (…, M, K), rhs (K, N) or, where `batched`, (…, K, N) with as many dimensions."""

    lhs: Source
    rhs: Source
    bias: Source | None = None
    batched: bool = False

    def shape(self) -> tuple[Size, ...]:
        """Extents of the product; those of a batch are of the operand that is not broadcast along it."""
        if not self.batched:
            return (*self.lhs.shape[:-1], self.rhs.shape[-1])
        batch = zip(self.lhs.shape[:-2], self.rhs.shape[:-2], strict=True)
        return (
            *(left if left.literal != 1 else right for left, right in batch),
            self.lhs.shape[-2],
            self.rhs.shape[-1],
        )


def _linear(lhs: object, weight: object, bias: object = None) -> Product:
    shift = None if bias is None else _matrix(bias, rank=1)
    return Product(_matrix(lhs), _transposed(_matrix(weight, rank=2)), shift)


def _mm(lhs: object, rhs: object) -> Product:
    return Product(_matrix(lhs, rank=2), _matrix(rhs, rank=2))


def _addmm(bias: object, lhs: object, rhs: object) -> Product:
    return replace(_mm(lhs, rhs), bias=_matrix(bias, rank=1))


def _bmm(lhs: object, rhs: object) -> Product:
    return Product(_matrix(lhs, rank=3), _matrix(rhs, rank=3), batched=True)


def _matmul(lhs: object, rhs: object) -> Product:
    left, right = _matrix(lhs), _matrix(rhs)
    if len(right.shape) == 2:
        return Product(left, right)
    while len(left.shape) < len(right.shape):
        left = unsqueezed(left, 0)
    while len(right.shape) < len(left.shape):
        right = unsqueezed(right, 0)
    return Product(left, right, batched=True)


def _transposed(matrix: Source) -> Source:
    turned = permuted(matrix, (1, 0))
    return replace(matrix, shape=turned.shape, dims=turned.dims)


def _matrix(operand: object, rank: int | None = None) -> Source:
    if not isinstance(operand, Source):
        raise Unfusable("multiplies something that is not in memory")
    if (len(operand.shape) != rank) if rank else (len(operand.shape) < 2):
        raise Unfusable("multiplies operands of these ranks")
    return operand


MATMULS: dict[str, Callable[..., Product]] = {
    "linear": _linear,
    "mm": _mm,
    "addmm": _addmm,
    "bmm": _bmm,
    "matmul": _matmul,
}
"""ATen's short name to its handler."""
