"""C++ templates: tiles of four rows, eight partial sums to a product in vector registers, at::parallel_for outside.

Task: linear_relu
Language: cpp
Devices: cpu
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

SOURCE = r"""
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/cpu/vec/functional.h>
#include <ATen/cpu/vec/vec.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

namespace {

using Vec = at::vec::Vectorized<float>;
constexpr int64_t kRows = 4;

float sum_of(const Vec& v) {
  return at::vec::vec_reduce_all<float>([](Vec a, Vec b) { return a + b; }, v);
}

template <int64_t ROWS>
void tile(const float* x, const float* weight, const float* bias, float* out, int64_t inner, int64_t columns) {
  for (int64_t column = 0; column < columns; ++column) {
    const float* w = weight + column * inner;
    Vec sums[ROWS];
    for (int64_t row = 0; row < ROWS; ++row) sums[row] = Vec(0.f);
    int64_t k = 0;
    for (; k + Vec::size() <= inner; k += Vec::size()) {
      const Vec wide = Vec::loadu(w + k);
      for (int64_t row = 0; row < ROWS; ++row) {
        sums[row] = at::vec::fmadd(Vec::loadu(x + row * inner + k), wide, sums[row]);
      }
    }
    for (int64_t row = 0; row < ROWS; ++row) {
      float total = sum_of(sums[row]) + bias[column];
      for (int64_t rest = k; rest < inner; ++rest) total += x[row * inner + rest] * w[rest];
      out[row * columns + column] = total > 0.f ? total : 0.f;
    }
  }
}

}  // namespace

at::Tensor linear_relu(const at::Tensor& input, const at::Tensor& weights, const at::Tensor& biases) {
  const at::Tensor x = input.contiguous(), weight = weights.contiguous(), bias = biases.contiguous();
  const int64_t rows = x.size(0), inner = x.size(1), columns = weight.size(0);
  at::Tensor out = at::empty({rows, columns}, x.options());
  const float *px = x.const_data_ptr<float>(), *pw = weight.const_data_ptr<float>(), *pb = bias.const_data_ptr<float>();
  float* to = out.mutable_data_ptr<float>();
  at::parallel_for(0, (rows + kRows - 1) / kRows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      int64_t row = block * kRows;
      if (row + kRows <= rows) {
        tile<kRows>(px + row * inner, pw, pb, to + row * columns, inner, columns);
      } else {
        for (; row < rows; ++row) tile<1>(px + row * inner, pw, pb, to + row * columns, inner, columns);
      }
    }
  });
  return out;
}

TORCH_LIBRARY(redteam_linear, library) { library.def("relu", &linear_relu); }
"""

load_inline(
    name="redteam_linear",
    cpp_sources=[SOURCE],
    extra_cflags=["-O3", "-march=native", "-fopenmp"],
    is_python_module=False,
    no_implicit_headers=True,
)


class ModelNew(nn.Module):
    def __init__(self, in_features, out_features):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)

    def forward(self, x):
        return torch.ops.redteam_linear.relu(x, self.linear.weight, self.linear.bias)
