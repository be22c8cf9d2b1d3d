"""CUDA C++ with float4 loads where the address allows them, and a scalar kernel for offset views.

Task: scale_shift
Language: cuda
Devices: cuda
"""

import torch.nn as nn
from torch.utils.cpp_extension import load_inline

KERNELS = r"""
__device__ __forceinline__ float changed(float x) { return fminf(fmaxf(x * 1.5f + 0.25f, -2.f), 2.f); }

__global__ void scale_shift_wide(const float4* __restrict__ x, float4* __restrict__ out, long long count) {
  const long long step = (long long)gridDim.x * blockDim.x;
  for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
    const float4 v = x[i];
    out[i] = make_float4(changed(v.x), changed(v.y), changed(v.z), changed(v.w));
  }
}

__global__ void scale_shift_each(const float* __restrict__ x, float* __restrict__ out, long long count) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) out[i] = changed(x[i]);
}
"""

LAUNCHER = r"""
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>

#include <algorithm>

torch::Tensor scale_shift(torch::Tensor input) {
  TORCH_CHECK(input.is_cuda(), "a tensor on the GPU is expected");
  const c10::cuda::CUDAGuard guard(input.device());
  auto x = input.contiguous();
  auto out = torch::empty_like(x);
  const long long size = x.numel();
  const bool aligned = reinterpret_cast<uintptr_t>(x.data_ptr<float>()) % 16 == 0 && size % 4 == 0;
  const long long count = aligned ? size / 4 : size;
  if (count == 0) return out;
  const unsigned blocks = static_cast<unsigned>((count + 255) / 256);
  cudaStream_t stream = at::cuda::getCurrentCUDAStream();
  if (aligned) {
    scale_shift_wide<<<std::min(blocks, 4096u), 256, 0, stream>>>(
        reinterpret_cast<const float4*>(x.data_ptr<float>()), reinterpret_cast<float4*>(out.data_ptr<float>()), count);
  } else {
    scale_shift_each<<<blocks, 256, 0, stream>>>(x.data_ptr<float>(), out.data_ptr<float>(), count);
  }
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}
"""

extension = load_inline(
    name="redteam_scale_shift",
    cpp_sources="torch::Tensor scale_shift(torch::Tensor input);",
    cuda_sources=KERNELS + LAUNCHER,
    functions=["scale_shift"],
    extra_cuda_cflags=["-O3"],
)


class ModelNew(nn.Module):
    def forward(self, x):
        return extension.scale_shift(x)
