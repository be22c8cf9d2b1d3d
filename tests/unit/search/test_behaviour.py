"""Behaviours are read from what the source does, not from what it says of itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everforge.search.behaviour import Behaviour, behaviour_of
from everforge.search.behaviour import Decomposition as D
from everforge.search.behaviour import FusionDepth as F
from everforge.search.behaviour import MemoryPattern as M
from everforge.search.behaviour import ProductPrecision as P
from everforge.testing.samples import CANDIDATE_SOURCE

TRITON_ROWS = """\
import triton
import triton.language as tl

@triton.jit
def rows(x, y, size, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    tl.store(y + row, tl.sum(tl.load(x + row * size + offsets)))
"""
TRITON_PERSISTENT = """\
@triton.jit
def matmul(a, b, c):
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        block = tl.make_tensor_descriptor(a, shape=[m, k], strides=[k, 1], block_shape=[64, 64])
        acc = tl.dot(block.load([0, 0]).to(tl.bfloat16), other)
"""
TRITON_SPLIT = """\
@triton.jit
def partial(x, y):
    tl.atomic_add(y, tl.sum(tl.load(x + tl.program_id(0) + tl.arange(0, 64))))

class ModelNew(nn.Module):
    def forward(self, x):
        partial[(8,)](x, y)
        return torch.softmax(y, dim=-1)
"""
CUDA_TILED = '''\
cuda_source = """
__global__ void tiles(const float* a, float* c) {
    __shared__ float tile[32][32];
    int row = blockIdx.y * 32, column = blockIdx.x * 32;
}
__global__ void tail(float* c) { c[blockIdx.x] = expf(c[blockIdx.x]); }
"""
'''
CPP_VECTOR = '''\
cpp_source = """
at::Tensor forward(at::Tensor x) {
    #pragma omp parallel for
    for (int row = 0; row < rows; ++row) { __m512 v = _mm512_loadu_ps(p + row); }
}
"""
'''
CPP_SERIAL = 'cpp_source = "torch::Tensor forward(torch::Tensor x) { for (int i = 0; i < n; ++i) y[i] = x[i]; }"'


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (CANDIDATE_SOURCE, (M.NONE, D.NONE, F.NONE, P.FP32)),
        (TRITON_ROWS, (M.VECTOR, D.FLAT, F.WHOLE, P.FP32)),
        (TRITON_PERSISTENT, (M.DESCRIPTOR, D.PERSISTENT, F.WHOLE, P.HALF)),
        (TRITON_SPLIT, (M.VECTOR, D.SPLIT, F.PARTIAL, P.FP32)),
        (CUDA_TILED, (M.TILED, D.GRID, F.CHAIN, P.FP32)),
        (CPP_VECTOR, (M.VECTOR, D.FLAT, F.WHOLE, P.FP32)),
        (CPP_SERIAL, (M.DIRECT, D.SERIAL, F.WHOLE, P.FP32)),
    ],
    ids=["library", "triton rows", "persistent", "split", "tiled", "vectors", "serial"],
)
def test_cell_is_read_from_the_source(source: str, expected: tuple[M, D, F, P]) -> None:
    found = behaviour_of(source)
    assert (found.memory, found.decomposition, found.fusion, found.precision) == expected


@pytest.mark.parametrize("comment", ["// __shared__ float4", "/* bf16\n tma_ */", "// split_k, gridDim.x;"])
def test_comments_of_the_cpp_in_a_string_do_not_count(comment: str) -> None:
    source = CPP_VECTOR.replace("{ __m512", f"{{ {comment}\n __m512")
    assert source != CPP_VECTOR
    assert behaviour_of(source) == behaviour_of(CPP_VECTOR)


def test_comments_and_docstrings_of_the_python_do_not_count() -> None:
    talk = '"""Persistent, with make_tensor_descriptor and bf16."""\n# split_k, tl.num_programs\n'
    assert behaviour_of(talk + TRITON_ROWS) == behaviour_of(TRITON_ROWS)


def test_floor_division_is_not_a_comment() -> None:
    source = TRITON_ROWS.replace("row * size", "row // size + tl.num_programs(0)")
    assert behaviour_of(source).decomposition is D.PERSISTENT


@given(st.text(max_size=400))
def test_any_text_has_a_cell(text: str) -> None:
    assert isinstance(behaviour_of(text), Behaviour)


def test_renaming_nothing_but_numbers_keeps_the_cell() -> None:
    assert behaviour_of(CUDA_TILED.replace("32", "64")) == behaviour_of(CUDA_TILED)
