"""Matrix products of ATen as lhs @ rhs + bias; `planner.py` looks them up here."""

from collections.abc import Callable
from dataclasses import dataclass

from everforge.agents.builtin.axes import Source, Unfusable
from everforge.agents.builtin.plan import Size


@dataclass(frozen=True)
class Product:
    """Operands of one product; see `MatmulRegion` for their shapes."""

    lhs: Source
    rhs: Source
    bias: Source | None = None
    rhs_transposed: bool = False
    batched: bool = False

    def shape(self) -> tuple[Size, ...]:
        """Extents of the product."""
        return (*self.lhs.shape[:-1], self.rhs.shape[-2 if self.rhs_transposed else -1])


def _linear(lhs: object, weight: object, bias: object = None) -> Product:
    left, right = _matrix(lhs), _matrix(weight)
    shift = None if bias is None else _matrix(bias, rank=1)
    return Product(left, right, shift, rhs_transposed=True)


def _mm(lhs: object, rhs: object) -> Product:
    return _oriented(_matrix(lhs), _matrix(rhs))


def _addmm(bias: object, lhs: object, rhs: object) -> Product:
    plain = _oriented(_matrix(lhs), _matrix(rhs))
    return Product(plain.lhs, plain.rhs, _matrix(bias, rank=1), plain.rhs_transposed)


def _bmm(lhs: object, rhs: object) -> Product:
    return Product(_matrix(lhs, rank=3), _matrix(rhs, rank=3), batched=True)


def _matmul(lhs: object, rhs: object) -> Product:
    left, right = _matrix(lhs), _matrix(rhs)
    if len(right.shape) == 2 and len(left.shape) >= 2:
        return _oriented(left, right)
    if len(left.shape) == 3 and len(right.shape) == 3 and left.shape[0].literal == right.shape[0].literal:
        return Product(left, right, batched=True)
    raise Unfusable("multiplies operands of these ranks")


def _oriented(left: Source, right: Source) -> Product:
    """A right operand that is a transposed matrix in memory is used as it lies."""
    flat = [axis for group in right.dims for axis in group]
    if len(right.dims) == 2 and flat == list(reversed(right.memory)):
        straight = Source(right.buffer, right.shape[::-1], right.dims[::-1], right.memory)
        return Product(left, straight, rhs_transposed=True)
    return Product(left, right)


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
