"""CUDA C++: a block for each row that keeps a running maximum and sum by thread, then joins them.

Task: softmax
Language: cuda
Devices: cuda
"""

import torch.nn as nn
from torch.utils.cpp_extension import load_inline

KERNELS = r"""
constexpr int kThreads = 512;
constexpr float kLowest = -3.0e38f;  // finite: the difference of two infinities is no number

struct Running {
  float peak;
  float total;
};

__device__ Running joined(Running a, Running b) {
  const float peak = fmaxf(a.peak, b.peak);
  return {peak, a.total * expf(a.peak - peak) + b.total * expf(b.peak - peak)};
}

__global__ void softmax_rows(const float* __restrict__ x, float* __restrict__ out, int columns) {
  __shared__ Running parts[kThreads / 32];
  const float* from = x + (long long)blockIdx.x * columns;
  float* to = out + (long long)blockIdx.x * columns;
  Running own{kLowest, 0.f};
  for (int i = threadIdx.x; i < columns; i += kThreads) own = joined(own, {from[i], 1.f});
  for (int offset = 16; offset > 0; offset /= 2) {
    const Running other{
        __shfl_xor_sync(0xffffffffu, own.peak, offset), __shfl_xor_sync(0xffffffffu, own.total, offset)};
    own = joined(own, other);
  }
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = own;
  __syncthreads();
  Running row{kLowest, 0.f};
  for (int warp = 0; warp < kThreads / 32; ++warp) row = joined(row, parts[warp]);
  const float inverse = 1.f / row.total;
  for (int i = threadIdx.x; i < columns; i += kThreads) to[i] = expf(from[i] - row.peak) * inverse;
}
"""

LAUNCHER = r"""
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>

torch::Tensor softmax(const torch::Tensor& input) {
  TORCH_CHECK(input.is_cuda() && input.dim() == 2, "a matrix on the GPU is expected");
  const c10::cuda::CUDAGuard guard(input.device());
  const auto x = input.contiguous();
  auto out = torch::empty(x.sizes(), x.options());
  softmax_rows<<<static_cast<unsigned>(x.size(0)), kThreads, 0, at::cuda::getCurrentCUDAStream()>>>(
      x.data_ptr<float>(), out.data_ptr<float>(), static_cast<int>(x.size(1)));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}
"""

extension = load_inline(
    name="redteam_softmax_rows",
    cpp_sources="torch::Tensor softmax(const torch::Tensor& input);",
    cuda_sources=KERNELS + LAUNCHER,
    functions=["softmax"],
    extra_cuda_cflags=["-O3"],
)


class ModelNew(nn.Module):
    def forward(self, x):
        return extension.softmax(x)
