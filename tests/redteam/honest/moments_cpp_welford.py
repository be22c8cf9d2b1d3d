"""A C++ function bound with pybind11 by load_inline: Welford's algorithm in double, rows over at::parallel_for.

Task: moments
Language: cpp
Devices: cpu
"""

import torch.nn as nn
from torch.utils.cpp_extension import load_inline

SOURCE = r"""
#include <ATen/Parallel.h>

#include <tuple>

std::tuple<torch::Tensor, torch::Tensor> moments(torch::Tensor x) {
  TORCH_CHECK(x.dim() == 2, "a matrix is expected");
  auto values = x.accessor<float, 2>();
  auto mean = torch::empty({x.size(0)}, x.options());
  auto variance = torch::empty({x.size(0)}, x.options());
  auto means = mean.accessor<float, 1>();
  auto variances = variance.accessor<float, 1>();
  at::parallel_for(0, x.size(0), 8, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      double centre = 0, squares = 0;
      for (int64_t column = 0; column < x.size(1); ++column) {
        const double value = values[row][column], distance = value - centre;
        centre += distance / static_cast<double>(column + 1);
        squares += distance * (value - centre);
      }
      means[row] = static_cast<float>(centre);
      variances[row] = static_cast<float>(squares / static_cast<double>(x.size(1)));
    }
  });
  return {mean, variance};
}
"""

extension = load_inline(
    name="redteam_moments",
    cpp_sources=SOURCE,
    functions=["moments"],
    extra_cflags=["-O2", "-fopenmp"],
    use_pch=False,
)


class ModelNew(nn.Module):
    def forward(self, x):
        return extension.moments(x)
