"""A C++ operator registered with TORCH_LIBRARY: rows over OpenMP threads, at::vec inside a row, fp32 sums by lane.

Task: softmax
Language: cpp
Devices: cpu
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

SOURCE = r"""
#include <ATen/core/Tensor.h>
#include <ATen/cpu/vec/functional.h>
#include <ATen/cpu/vec/vec.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

using Vec = at::vec::Vectorized<float>;

static void softmax_row(const float* from, float* to, int64_t columns) {
  const float peak = at::vec::reduce_all<float>(
      [](Vec a, Vec b) { return at::vec::maximum(a, b); }, from, columns);
  at::vec::map<float>([peak](Vec x) { return (x - Vec(peak)).exp(); }, to, from, columns);
  const float total = at::vec::reduce_all<float>([](Vec a, Vec b) { return a + b; }, to, columns);
  at::vec::map<float>([total](Vec x) { return x / Vec(total); }, to, to, columns);
}

at::Tensor softmax_rows(const at::Tensor& input) {
  TORCH_CHECK(input.dim() == 2 && input.scalar_type() == at::kFloat, "a float matrix is expected");
  const at::Tensor x = input.contiguous();
  at::Tensor out = at::empty(x.sizes(), x.options());
  const float* from = x.const_data_ptr<float>();
  float* to = out.mutable_data_ptr<float>();
  const int64_t rows = x.size(0), columns = x.size(1);
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; ++row) {
    softmax_row(from + row * columns, to + row * columns, columns);
  }
  return out;
}

TORCH_LIBRARY(redteam_softmax, library) { library.def("rows", &softmax_rows); }
"""

load_inline(
    name="redteam_softmax",
    cpp_sources=SOURCE,
    extra_cflags=["-O3", "-march=native", "-fopenmp"],
    is_python_module=False,
    no_implicit_headers=True,
)


class ModelNew(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.redteam_softmax.rows(x)
