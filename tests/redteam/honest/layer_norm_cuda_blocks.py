"""CUDA C++: one block for each row, sums by warp shuffles and shared memory, two passes for the variance.

Task: layer_norm
Language: cuda
Devices: cuda
"""

import torch.nn as nn
from torch.utils.cpp_extension import load_inline

KERNELS = r"""
constexpr int kThreads = 256;

__device__ float block_sum(float value) {
  __shared__ float parts[kThreads / 32];
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  __syncthreads();
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
  __syncthreads();
  float total = 0.f;
  for (int warp = 0; warp < kThreads / 32; ++warp) total += parts[warp];
  return total;
}

template <typename scalar_t>
__global__ void layer_norm_rows(
    const scalar_t* __restrict__ x, const scalar_t* __restrict__ weight, const scalar_t* __restrict__ bias,
    scalar_t* __restrict__ out, int features, float eps) {
  const scalar_t* from = x + (long long)blockIdx.x * features;
  scalar_t* to = out + (long long)blockIdx.x * features;
  float sum = 0.f;
  for (int i = threadIdx.x; i < features; i += kThreads) sum += from[i];
  const float mean = block_sum(sum) / features;
  float squares = 0.f;
  for (int i = threadIdx.x; i < features; i += kThreads) squares += (from[i] - mean) * (from[i] - mean);
  const float scale = rsqrtf(block_sum(squares) / features + eps);
  for (int i = threadIdx.x; i < features; i += kThreads) to[i] = (from[i] - mean) * scale * weight[i] + bias[i];
}

template __global__ void layer_norm_rows<float>(
    const float*, const float*, const float*, float*, int, float);
"""

LAUNCHER = r"""
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>

torch::Tensor layer_norm(torch::Tensor input, torch::Tensor weight, torch::Tensor bias, double eps) {
  TORCH_CHECK(input.is_cuda() && input.dim() == 2, "a matrix on the GPU is expected");
  const c10::cuda::CUDAGuard guard(input.device());
  const auto x = input.contiguous();
  auto out = torch::empty_like(x);
  auto stream = at::cuda::getCurrentCUDAStream().stream();
  layer_norm_rows<float><<<x.size(0), kThreads, 0, stream>>>(
      x.data_ptr<float>(), weight.data_ptr<float>(), bias.data_ptr<float>(), out.data_ptr<float>(),
      static_cast<int>(x.size(1)), static_cast<float>(eps));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}
"""

extension = load_inline(
    name="redteam_layer_norm",
    cpp_sources=["torch::Tensor layer_norm(torch::Tensor, torch::Tensor, torch::Tensor, double);"],
    cuda_sources=[KERNELS + LAUNCHER],
    functions=["layer_norm"],
    extra_cuda_cflags=["-O3"],
)


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.norm = nn.LayerNorm(features)

    def forward(self, x):
        return extension.layer_norm(x, self.norm.weight, self.norm.bias, self.norm.eps)
