"""The integer constants of a task file, and smaller values each of them could have.

`held_out.py` moves them to shapes nobody has seen. Values are odd primes where the reference bears it, since a kernel
that is right on a prime extent has treated its last, partial block; else multiples of what the task divides by.
"""

import ast
import operator
import random
from collections.abc import Callable, Iterator, Mapping

from everforge.model.task import ConstantValue
from everforge.runners.truth.taskfile import assignments

# A held-out size is this share of the largest shown: small enough to cost little, large enough to need many blocks.
_SHARE = (0.45, 0.7)
_POWERS = tuple(2**power for power in range(1, 8))
_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}


def integer_constants(source: str, overrides: Mapping[str, ConstantValue]) -> dict[str, int]:
    """Module-level integers as a variant has them, in the file's order.

    What the file computes from other names is left out: it moves with them. Overridden, it is a constant like others.
    """
    found = {name: _integer(statement.value) for name, statement in assignments(ast.parse(source))}
    values = {name: overrides.get(name, value) for name, value in found.items()}
    return {name: value for name, value in values.items() if isinstance(value, int) and not isinstance(value, bool)}


def _integer(node: ast.expr | None) -> int | None:
    """The value of a literal, or of arithmetic on literals such as `16 * 1024`; None for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int) and not isinstance(node.value, bool):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _integer(node.left), _integer(node.right)
        if left is not None and right:
            return _OPERATORS[type(node.op)](left, right)
    return None


def smaller_values(value: int, constants: Mapping[str, int], rng: random.Random) -> Iterator[int]:
    """Values below `value` in the order to be tried, each once: a prime, primes times a divisor, half, one less."""
    divisors = {other for other in constants.values() if 1 < other < value and value % other == 0}
    factors = [1, *sorted(divisors | {power for power in _POWERS if value % power == 0})]
    share = rng.uniform(*_SHARE)
    primes = [(factor, _odd_prime(max(value * share / factor, 3))) for factor in factors]
    tried = [factor * prime for factor, prime in primes] + [value // 2, value - 1]
    return (smaller for smaller in dict.fromkeys(tried) if 0 < smaller < value)


def _odd_prime(limit: float) -> int:
    """The largest odd prime up to a limit of at least 3."""
    return next(number for number in range(int(limit), 2, -1) if _is_odd_prime(number))


def _is_odd_prime(number: int) -> bool:
    return number % 2 == 1 and all(number % divisor for divisor in range(3, int(number**0.5) + 1, 2))
