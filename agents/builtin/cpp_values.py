"""One value of a region as a C++ expression over vectors of floats; `cpp_kernels.py` asks for them."""

import math
from collections.abc import Callable, Sequence

from everforge.agents.builtin.plan import ARITHMETIC, COMPARISONS, Constant, Pointwise, Value

_CALLS = {
    **{name: f"{name}_" for name in ("abs", "exp", "expm1", "log", "log1p", "tanh", "erf", "sigmoid")},
    **{name: f"{name}_" for name in ("sin", "cos", "floor", "ceil", "sign", "sqrt", "pow")},
    **{"maximum": "maximum", "minimum": "minimum"},
}

Namer = Callable[[int], str]


def number_text(number: float) -> str:
    """A float literal; infinities and NaN by their macros."""
    if math.isnan(number):
        return "NAN"
    if math.isinf(number):
        return "INFINITY" if number > 0 else "-INFINITY"
    return f"{number!r}f" if "." in repr(number) or "e" in repr(number) else f"{number}.f"


def expression(value: Pointwise, values: Sequence[Value], name: Namer) -> str:
    """The value's expression, where `name` gives a vector for each operand."""
    op, args = value.op, [name(arg) for arg in value.args]
    if op in ARITHMETIC:
        return f"{args[0]} {ARITHMETIC[op]} {args[1]}"
    if op in ("maximum", "minimum"):
        return _extremum(op, args, [values[arg] for arg in value.args])
    if op in _CALLS:
        return f"{_CALLS[op]}({', '.join(args)})"
    if op == "where":
        return f"chosen({condition(value.args[0], values, name)}, {args[1]}, {args[2]})"
    if op in COMPARISONS or op.startswith("logical"):
        return f"truth({_condition_of(value, name)})"
    return _SIMPLE[op].format(*args)


_SIMPLE = {"neg": "-{0}", "reciprocal": "1.f / {0}", "rsqrt": "1.f / sqrt_({0})", "square": "{0} * {0}"}


def _extremum(op: str, args: list[str], operands: list[Value]) -> str:
    """Against a number, one comparison suffices: it is false for NaN, which is then kept."""
    for bound, other in ((1, 0), (0, 1)):
        operand = operands[bound]
        if isinstance(operand, Constant) and not math.isnan(operand.number):
            sign = "<" if op == "maximum" else ">"
            return f"chosen({args[other]} {sign} {args[bound]}, {args[bound]}, {args[other]})"
    return f"{op}({args[0]}, {args[1]})"


def condition(number: int, values: Sequence[Value], name: Namer) -> str:
    """A value as a mask: a comparison directly, anything else by not being 0."""
    value = values[number]
    if isinstance(value, Pointwise) and value.op in COMPARISONS:
        return _condition_of(value, name)
    return f"{name(number)} != 0.f"


def _condition_of(value: Pointwise, name: Namer) -> str:
    args = [name(arg) for arg in value.args]
    if value.op in COMPARISONS:
        return f"{args[0]} {COMPARISONS[value.op]} {args[1]}"
    if value.op == "logical_not":
        return f"{args[0]} == 0.f"
    return f"({args[0]} != 0.f) {'&' if value.op == 'logical_and' else '|'} ({args[1]} != 0.f)"
