"""How a kernel goes about its work, read from its source: the cell it takes in the archive of MAP-Elites. Pure.

Four dimensions that decide a kernel's speed and that a model changes one at a time: how it reaches memory, how the work
is cut up, how much of the task is in own kernels, and the precision of its products. What is told are facts of the
text, not of a run: two kernels in one cell may differ in everything else. After KernelFoundry's kernel-specific
descriptors for MAP-Elites (Mouret and Clune 2015); the dimensions and their marks are ours.
"""

import io
import re
import tokenize
from enum import StrEnum
from functools import lru_cache
from typing import TypeVar

from everforge.model.base import Record

Value = TypeVar("Value", bound=StrEnum)


class MemoryPattern(StrEnum):
    """How own kernels reach memory, the most elaborate way that occurs."""

    NONE = "no own kernel"
    DIRECT = "element by element"
    VECTOR = "in vectors"
    TILED = "staged in tiles"
    DESCRIPTOR = "through descriptors"


class Decomposition(StrEnum):
    """How the work is cut into parallel parts."""

    NONE = "no own kernel"
    SERIAL = "serial"
    FLAT = "one-dimensional"
    GRID = "multi-dimensional"
    SPLIT = "split reduction"
    PERSISTENT = "persistent"


class FusionDepth(StrEnum):
    """How much of the task own kernels do."""

    NONE = "library calls"
    PARTIAL = "kernels beside library calls"
    CHAIN = "several kernels"
    WHOLE = "one kernel"


class ProductPrecision(StrEnum):
    """The lowest precision the source names."""

    FP32 = "fp32"
    TF32 = "tf32"
    HALF = "16 bit"
    BYTE = "8 bit"


class Behaviour(Record):
    """A cell of the archive."""

    memory: MemoryPattern
    decomposition: Decomposition
    fusion: FusionDepth
    precision: ProductPrecision

    def differences(self, other: "Behaviour") -> int:
        """In how many dimensions two behaviours differ."""
        return sum(getattr(self, name) != getattr(other, name) for name in Behaviour.model_fields)

    def __str__(self) -> str:
        return f"memory {self.memory}; {self.decomposition}; {self.fusion}; {self.precision}"


_KERNELS = re.compile(r"@triton\.jit|__global__|TORCH_LIBRARY|\bparallel_for\b|(?:at::|torch::)Tensor\s+\w+\s*\(")
_KERNEL_STARTS = re.compile(r"@triton\.jit|__global__|#pragma omp parallel|at::parallel_for|\.parallel_for\b")
# Calls that leave arithmetic to the library; what makes or reshapes tensors is no arithmetic.
_LIBRARY = re.compile(
    r"\b(?:torch|F|nn\.functional|at|torch::nn::functional)(?:\.|::)(?:softmax|log_softmax|logsumexp|matmul|mm|bmm|addmm"
    r"|linear|conv\w*|layer_norm|batch_norm|group_norm|relu|gelu|silu|sigmoid|tanh|sum|mean|amax|max|min|exp|log|cumsum"
    r"|einsum|scaled_dot_product_attention|\w*_?pool\w*|add|mul|div|sqrt|rsqrt|pow)\w*\s*\("
)
# The most elaborate first: the first that occurs names the pattern.
_MEMORY = (
    (MemoryPattern.DESCRIPTOR, r"make_tensor_descriptor|make_block_ptr|cp\.async|cp_async|TensorMap|tma_"),
    (MemoryPattern.TILED, r"__shared__|local_accessor|\btile\w*\s*\[|\bBLOCK_K\b|\bBLOCK_[MN]\b[\s\S]*\bBLOCK_[MN]\b"),
    (MemoryPattern.VECTOR, r"float4|half2|_mm\d*_|Vectorized<|#pragma omp (?:parallel for )?simd|tl\.arange|simd_"),
)
_DECOMPOSITION = (
    (Decomposition.PERSISTENT, r"tl\.num_programs|gridDim\.\w\s*\)?\s*[;)]|NUM_SMS|persistent"),
    (Decomposition.SPLIT, r"tl\.atomic_|atomicAdd|SPLIT_K|split_k|num_splits|reduction\s*\("),
    (Decomposition.GRID, r"program_id\(\s*(?:axis\s*=\s*)?[12]\s*\)|blockIdx\.[yz]|collapse\(\s*[2-9]"),
    (Decomposition.FLAT, r"program_id|blockIdx\.x|omp parallel|parallel_for|get_global_id"),
)
_PRECISION = (
    (ProductPrecision.BYTE, r"float8|fp8|e4m3|e5m2|\bint8"),
    (ProductPrecision.HALF, r"b?float16|bf16|fp16|__half|\.half\(\)|_mm512_dpbf16"),
    (ProductPrecision.TF32, r"tf32"),
)


_TEXTS = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}  # the second since Python 3.12
_STATEMENT_STARTS = {tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT}


# Policies read the cells of all trials for each ask.
@lru_cache(maxsize=4096)
def behaviour_of(source: str) -> Behaviour:
    """The cell of a candidate's source; a text that is not Python is read as it stands."""
    text = _without_comments(source)
    kernels = len(_KERNEL_STARTS.findall(text))
    if not kernels and not _KERNELS.search(text):
        memory, decomposition, fusion = MemoryPattern.NONE, Decomposition.NONE, FusionDepth.NONE
    else:
        memory = _first(_MEMORY, text, MemoryPattern.DIRECT)
        decomposition = _first(_DECOMPOSITION, text, Decomposition.SERIAL)
        fusion = _fusion(kernels, text)
    return Behaviour(
        memory=memory,
        decomposition=decomposition,
        fusion=fusion,
        precision=_first(_PRECISION, text, ProductPrecision.FP32),
    )


def _fusion(kernels: int, text: str) -> FusionDepth:
    if _LIBRARY.search(text):
        return FusionDepth.PARTIAL
    return FusionDepth.CHAIN if kernels > 1 else FusionDepth.WHOLE


def _first(marks: tuple[tuple[Value, str], ...], text: str, otherwise: Value) -> Value:
    return next((value for value, mark in marks if re.search(mark, text)), otherwise)


def _without_comments(source: str) -> str:
    """The source without docstrings and comments, also those of C++ in its strings: talk does not count."""
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (tokenize.TokenError, SyntaxError):
        return _without_c_comments(source)
    starts = _line_starts(source)
    kept, end = [], 0
    for before, token in zip([None, *tokens], tokens, strict=False):
        begin = starts[token.start[0] - 1] + token.start[1]
        kept.append(source[end:begin])
        end = starts[token.end[0] - 1] + token.end[1]
        kept.append(_spoken(token, before))
    return "".join(kept)


def _spoken(token: tokenize.TokenInfo, before: tokenize.TokenInfo | None) -> str:
    """What is kept of a token; a text that begins a statement is a docstring."""
    if token.type == tokenize.COMMENT:
        return ""
    if token.type in _TEXTS:
        return "" if before is None or before.type in _STATEMENT_STARTS else _without_c_comments(token.string)
    return token.string


def _without_c_comments(text: str) -> str:
    return re.sub(r"/\*.*?\*/|(?<!:)//[^\n]*", " ", text, flags=re.DOTALL)


def _line_starts(source: str) -> list[int]:
    """Where each line begins, one past the last included: the tokenizer's lines end at newlines alone."""
    return [0, *(found.end() for found in re.finditer("\n", source)), len(source)]
