"""A candidate for level1/2_Cumulative_sum.py that does not compile: its C++ lacks a semicolon."""

import torch
from torch import nn
from torch.utils.cpp_extension import load_inline

SOURCE = r"""
#include <ATen/core/Tensor.h>
#include <torch/library.h>

at::Tensor cumulative_sum(const at::Tensor& x) { return x.cumsum(1) }

TORCH_LIBRARY(everforge_example, library) { library.def("cumulative_sum", &cumulative_sum); }
"""

load_inline(name="cumulative_sum_broken", cpp_sources=SOURCE, is_python_module=False, no_implicit_headers=True)


class ModelNew(nn.Module):
    def __init__(self, dim: int):
        super().__init__()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.everforge_example.cumulative_sum(x)
