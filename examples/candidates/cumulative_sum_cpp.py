"""A correct and faster candidate for level1/2_Cumulative_sum.py: eight rows at a time.

A running sum of one row waits four cycles for each addition; eight rows are eight chains that do not wait for
one another. Sums are kept in double, as PyTorch keeps them, so the results are as accurate.
"""

import torch
from torch import nn
from torch.utils.cpp_extension import load_inline

# Only the headers that are used: all of torch/extension.h takes 11 s to compile, these take 3 s.
SOURCE = r"""
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <algorithm>
#include <cstdint>

constexpr std::int64_t kRows = 8;

static void scan_rows(const float* from, float* to, std::int64_t columns) {
  double sums[kRows] = {};
  for (std::int64_t column = 0; column < columns; ++column) {
#pragma GCC unroll 8
    for (std::int64_t row = 0; row < kRows; ++row) {
      sums[row] += from[row * columns + column];
      to[row * columns + column] = static_cast<float>(sums[row]);
    }
  }
}

static void scan_row(const float* from, float* to, std::int64_t columns) {
  double sum = 0;
  for (std::int64_t column = 0; column < columns; ++column) {
    sum += from[column];
    to[column] = static_cast<float>(sum);
  }
}

at::Tensor cumulative_sum(const at::Tensor& input) {
  const at::Tensor x = input.contiguous();
  at::Tensor out = at::empty_like(x);
  const float* from = x.const_data_ptr<float>();
  float* to = out.mutable_data_ptr<float>();
  const std::int64_t rows = x.size(0), columns = x.size(1);
#pragma omp parallel for
  for (std::int64_t first = 0; first < rows; first += kRows) {
    if (first + kRows <= rows) {
      scan_rows(from + first * columns, to + first * columns, columns);
    } else {
      for (std::int64_t row = first; row < rows; ++row) {
        scan_row(from + row * columns, to + row * columns, columns);
      }
    }
  }
  return out;
}

TORCH_LIBRARY(everforge_example, library) { library.def("cumulative_sum", &cumulative_sum); }
"""

load_inline(
    name="cumulative_sum_example",
    cpp_sources=SOURCE,
    extra_cflags=["-O3", "-march=native", "-fopenmp"],
    extra_ldflags=["-fopenmp"],
    is_python_module=False,
    no_implicit_headers=True,
)


class ModelNew(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        if dim != 1:
            raise ValueError(f"written for the rows of a matrix, dim 1, not dim {dim}")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.everforge_example.cumulative_sum(x)
