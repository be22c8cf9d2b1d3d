"""Triton text of every pointwise operation of the plan, with PyTorch's NaN rules and float32 accuracy.

`triton_values.py` asks for the text of one operation; `triton_emitter.py` puts the device functions that were used
at the head of the candidate. libdevice is avoided throughout: interpreter mode has none, and a candidate must be
checkable without a GPU.
"""

from collections.abc import Sequence

from everforge.agents.builtin.plan import ARITHMETIC, COMPARISONS
from everforge.agents.builtin.triton_windows import WINDOW_FUNCTIONS

_CALLS = {
    "neg": "-{0}",
    "abs": "tl.abs({0})",
    "reciprocal": "1.0 / {0}",
    "sqrt": "tl.sqrt({0})",
    "rsqrt": "tl.rsqrt({0})",
    "square": "{0} * {0}",
    "exp": "_exp({0})",
    "expm1": "_expm1({0})",
    "log": "tl.log({0})",
    "log1p": "_log1p({0})",
    "tanh": "_tanh({0})",
    "erf": "tl.erf({0})",
    "sigmoid": "tl.sigmoid({0})",
    "sin": "tl.sin({0})",
    "cos": "tl.cos({0})",
    "floor": "tl.floor({0})",
    "ceil": "tl.ceil({0})",
    "sign": "tl.where({0} > 0.0, 1.0, tl.where({0} < 0.0, -1.0, 0.0))",
    "maximum": "tl.maximum({0}, {1}, propagate_nan=tl.PropagateNan.ALL)",
    "minimum": "tl.minimum({0}, {1}, propagate_nan=tl.PropagateNan.ALL)",
    "pow": "_power({0}, {1})",
}

DEVICE_FUNCTIONS: dict[str, str] = {
    "_exp": '''

@triton.jit
def _exp(x):
    """exp to the accuracy of the hardware's exp2, which alone loses |x| units in the rounding of x * log2(e).

    What that product lost is put back to first order; at an overflow or an infinity there is nothing to put back.
    """
    power = x * 1.4426950408889634
    lost = tl.fma(x, 1.9259629911266175e-8, tl.fma(x, 1.4426950216293335, -power))
    grown = tl.exp2(power)
    return tl.where(tl.abs(power) < 128.0, tl.fma(grown, lost * 0.6931471805599453, grown), grown)
''',
    "_expm1": '''

@triton.jit
def _expm1(x):
    """exp(x) - 1 without cancellation near 0 (Kahan): (u - 1) * x / log(u) for u = exp(x)."""
    grown = _exp(x)
    step = grown - 1.0
    scale = tl.where((grown == 1.0) | (step == -1.0) | (x > 80.0), 1.0, x / tl.log(grown))
    return tl.where(grown == 1.0, x, step * scale)
''',
    "_log1p": '''

@triton.jit
def _log1p(x):
    """log(1 + x) without cancellation near 0 (Kahan): log(w) * x / (w - 1) for w = 1 + x."""
    whole = 1.0 + x
    exact = (whole == 1.0) | (x > 1e7)
    return tl.where(whole == 1.0, x, tl.log(whole) * tl.where(exact, 1.0, x / (whole - 1.0)))
''',
    "_tanh": '''

@triton.jit
def _tanh(x):
    """tanh: an odd polynomial below 0.625 (Cephes), 1 - 2 / (exp(2|x|) + 1) above."""
    square = x * x
    small = -5.70498872745e-3 * square + 2.06390887954e-2
    small = small * square - 5.37397155531e-2
    small = small * square + 1.33314422036e-1
    small = small * square - 3.33332819422e-1
    small = small * square * x + x
    decay = tl.exp(-2.0 * tl.abs(x))
    large = (1.0 - decay) / (1.0 + decay)
    return tl.where(square < 0.390625, small, tl.where(x < 0.0, -large, large))
''',
    "_power": '''

@triton.jit
def _power(base, exponent):
    """base ** exponent: NaN for a negative base unless the exponent is whole; 1 for exponent 0."""
    base = base + exponent * 0.0
    exponent = exponent + base * 0.0
    size = tl.exp2(exponent * tl.log2(tl.abs(base)))
    whole = tl.floor(exponent) == exponent
    odd = tl.floor(exponent * 0.5) * 2.0 != exponent
    signed = tl.where(odd, -size, size)
    result = tl.where(base < 0.0, tl.where(whole, signed, float("nan")), size)
    return tl.where(exponent == 0.0, 1.0, result)
''',
    "_row_max": '''

@triton.jit
def _row_max(x):
    """Largest value of each row; NaN if the row holds one, as PyTorch has it."""
    holds_nan = tl.max((x != x).to(tl.int32), axis=1, keep_dims=True)
    return tl.where(holds_nan != 0, float("nan"), tl.max(x, axis=1, keep_dims=True))
''',
    "_row_min": '''

@triton.jit
def _row_min(x):
    """Smallest value of each row; NaN if the row holds one, as PyTorch has it."""
    holds_nan = tl.max((x != x).to(tl.int32), axis=1, keep_dims=True)
    return tl.where(holds_nan != 0, float("nan"), tl.min(x, axis=1, keep_dims=True))
''',
    "_first_max": '''

@triton.jit
def _first_max(x, place):
    """The lowest place of each row's largest value, or of its first NaN, as PyTorch has it."""
    is_top = (x == _row_max(x)) | (x != x)
    return tl.min(tl.where(is_top, place, tl.max(place, axis=1, keep_dims=True)), axis=1, keep_dims=True)
''',
    "_first_min": '''

@triton.jit
def _first_min(x, place):
    """The lowest place of each row's smallest value, or of its first NaN, as PyTorch has it."""
    is_top = (x == _row_min(x)) | (x != x)
    return tl.min(tl.where(is_top, place, tl.max(place, axis=1, keep_dims=True)), axis=1, keep_dims=True)
''',
    "_multiply": '''

@triton.jit
def _multiply(left, right):
    """Combines two factors of a product."""
    return left * right
''',
    "_tile_of": '''

@triton.jit
def _tile_of(number, m_tiles, n_tiles, GROUP: tl.constexpr):
    """Row and column of a tile; GROUP rows of tiles go together, so that their operands stay in L2."""
    in_group = GROUP * n_tiles
    first = number // in_group * GROUP
    height = tl.minimum(m_tiles - first, GROUP)
    return first + number % in_group % height, number % in_group // height
''',
}
"""Device functions a kernel may call, in an order where a function stands before those that call it."""


def pointwise_text(op: str, args: Sequence[str]) -> str:
    """The expression for `op` of the given operands. Raises KeyError for an operation the plan does not know."""
    if op in ARITHMETIC:
        return f"{args[0]} {ARITHMETIC[op]} {args[1]}"
    if op == "where":
        return f"tl.where({condition_text(args[0])}, {args[1]}, {args[2]})"
    if op in COMPARISONS or op.startswith("logical_"):
        return f"tl.where({truth_text(op, args)}, 1.0, 0.0)"
    return _CALLS[op].format(*args)


def truth_text(op: str, args: Sequence[str]) -> str:
    """A comparison or logical operation as a condition, not yet turned into 1.0 and 0.0."""
    if op in COMPARISONS:
        return f"{args[0]} {COMPARISONS[op]} {args[1]}"
    if op == "logical_not":
        return f"{args[0]} == 0.0"
    joined = {"logical_and": "&", "logical_or": "|"}[op]
    return f"({condition_text(args[0])}) {joined} ({condition_text(args[1])})"


def condition_text(arg: str) -> str:
    """A value as a condition: anything but 0 is true."""
    return f"{arg} != 0.0"


def functions_used(text: str) -> tuple[str, ...]:
    """Source of the device functions that `text` calls, those they call included, in order of definition."""
    functions = DEVICE_FUNCTIONS | WINDOW_FUNCTIONS
    wanted: set[str] = set()
    pending = [text]
    while pending:
        body = pending.pop()
        for name, source in functions.items():
            if name not in wanted and (f"{name}(" in body or f", {name}," in body):
                wanted.add(name)
                pending.append(source)
    return tuple(source for name, source in functions.items() if name in wanted)
