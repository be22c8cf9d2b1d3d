"""CUDA C++ compiled by NVRTC through torch.cuda._compile_kernel, for machines without nvcc.

Task: scale_shift
Language: cuda
Devices: cuda
"""

import torch
import torch.nn as nn

KERNELS = r"""
extern "C" __global__ void scale_shift(const float* x, float* out, int size) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < size) {
    const float value = x[i] * 1.5f + 0.25f;
    out[i] = fminf(fmaxf(value, -2.f), 2.f);
  }
}
"""


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self._kernel = None

    def forward(self, x):
        if self._kernel is None:
            self._kernel = torch.cuda._compile_kernel(KERNELS, "scale_shift")
        x = x.contiguous()
        out = torch.empty_like(x)
        size = x.numel()
        self._kernel(grid=((size + 255) // 256, 1, 1), block=(256, 1, 1), args=[x, out, size])
        return out
