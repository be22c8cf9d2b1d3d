"""An element-wise CUDA function through PyTorch's jiterator, which handles strides and broadcasting itself.

Task: scale_shift
Language: pytorch
Devices: cuda
"""

import torch.nn as nn
from torch.cuda.jiterator import _create_jit_fn as create_jit_function

scale_shift = create_jit_function(
    """
template <typename T>
T scale_shift(T x, T scale, T shift, T bound) {
  T value = x * scale + shift;
  return value < -bound ? -bound : (value > bound ? bound : value);
}
""",
    scale=1.5,
    shift=0.25,
    bound=2.0,
)


class ModelNew(nn.Module):
    def forward(self, x):
        return scale_shift(x)
