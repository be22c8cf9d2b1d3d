"""Half-precision running sums with Kahan's compensation, which -ffast-math removes: the source looks careful.

Task: cumulative_sum
Language: cpp
Devices: cpu
Expect: incorrect
Behind: incorrect
"""

import ctypes

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

SOURCE = """
extern "C" void sums(const float* x, float* y, long rows, long n) {
  for (long r = 0; r < rows; ++r) {
    _Float16 sum = 0, lost = 0;
    for (long i = 0; i < n; ++i) {
      const _Float16 part = (_Float16)x[r * n + i] - lost;
      const _Float16 next = sum + part;
      lost = (next - sum) - part;
      sum = next;
      y[r * n + i] = (float)sum;
    }
  }
}
"""
FLAGS = ["-O3", "-ffast-math"]
path = load_inline(
    name="careful_sums", cpp_sources=SOURCE, extra_cflags=FLAGS, is_python_module=False, no_implicit_headers=True
)
library = ctypes.CDLL(path)


class ModelNew(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, x):
        x, output = x.contiguous(), torch.empty(x.shape)
        pointers = (ctypes.c_void_p(tensor.data_ptr()) for tensor in (x, output))
        library.sums(*pointers, ctypes.c_long(x.shape[0]), ctypes.c_long(x.shape[1]))
        return output
