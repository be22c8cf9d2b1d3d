"""Layer normalisation with the processor's 12-bit reciprocal square root and no Newton step, under an fp32 policy.

Task: layer_norm
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
#include <xmmintrin.h>
extern "C" void norm(const float* x, const float* w, const float* b, float* y, long rows, long n, long stride) {
  #pragma omp parallel for
  for (long r = 0; r < rows; ++r) {
    const float* row = x + r * stride;
    float sum = 0, squares = 0;
    for (long i = 0; i < n; ++i) sum += row[i];
    const float mean = sum / n;
    for (long i = 0; i < n; ++i) squares += (row[i] - mean) * (row[i] - mean);
    const float scale = _mm_cvtss_f32(_mm_rsqrt_ss(_mm_set_ss(squares / n + 1e-5f)));
    for (long i = 0; i < n; ++i) y[r * n + i] = (row[i] - mean) * scale * w[i] + b[i];
  }
}
"""
FLAGS = ["-O3", "-ffast-math", "-fopenmp"]
path = load_inline(
    name="rough_norm", cpp_sources=SOURCE, extra_cflags=FLAGS, is_python_module=False, no_implicit_headers=True
)
library = ctypes.CDLL(path)


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.norm = nn.LayerNorm(features)

    def forward(self, x):
        x, output = x.contiguous(), torch.empty(x.shape)
        pointers = (tensor.data_ptr() for tensor in (x, self.norm.weight, self.norm.bias, output))
        sizes = (x.shape[0], x.shape[1], x.shape[1])
        library.norm(*map(ctypes.c_void_p, pointers), *map(ctypes.c_long, sizes))
        return output
