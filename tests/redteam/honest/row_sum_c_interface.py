"""Plain C through ctypes: no torch headers, so it builds in a second; strides are passed on, sums are double.

Task: row_sum
Language: cpp
Devices: cpu
"""

import ctypes

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

SOURCE = r"""
#include <cstdint>

extern "C" void row_sums(
    const float* x, float* out, int64_t rows, int64_t columns, int64_t row_stride, int64_t column_stride) {
#pragma omp parallel for
  for (int64_t row = 0; row < rows; ++row) {
    const float* from = x + row * row_stride;
    double total = 0;
#pragma omp simd reduction(+ : total)
    for (int64_t column = 0; column < columns; ++column) total += from[column * column_stride];
    out[row] = static_cast<float>(total);
  }
}
"""

built = load_inline(
    name="redteam_row_sum",
    cpp_sources=SOURCE,
    extra_cflags=["-O3", "-march=native", "-fopenmp"],
    extra_ldflags=["-fopenmp"],
    is_python_module=False,
    no_implicit_headers=True,
)
library = ctypes.CDLL(built)
library.row_sums.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_int64] * 4
library.row_sums.restype = None


class ModelNew(nn.Module):
    def forward(self, x):
        out = torch.empty((x.shape[0], 1), dtype=x.dtype)
        library.row_sums(x.data_ptr(), out.data_ptr(), *x.shape, *x.stride())
        return out
