"""Rows copied by memcpy in plain C over OpenMP threads; an index outside the table is an error, not a crash.

Task: embedding
Language: cpp
Devices: cpu
"""

import ctypes
import hashlib

import torch.nn as nn
from torch.utils.cpp_extension import load_inline

SOURCE = r"""
#include <cstdint>
#include <cstring>

extern "C" int64_t gather_rows(
    const float* table, const int64_t* ids, float* out, int64_t count, int64_t vocabulary, int64_t width) {
  int64_t wrong = 0;
#pragma omp parallel for reduction(+ : wrong)
  for (int64_t i = 0; i < count; ++i) {
    if (ids[i] < 0 || ids[i] >= vocabulary) {
      ++wrong;
      continue;
    }
    std::memcpy(out + i * width, table + ids[i] * width, width * sizeof(float));
  }
  return wrong;
}
"""

path = load_inline(
    name=f"gather_{hashlib.sha256(SOURCE.encode()).hexdigest()[:12]}",
    cpp_sources=[SOURCE],
    extra_cflags=["-O3", "-march=native", "-fopenmp"],
    extra_ldflags=["-fopenmp"],
    is_python_module=False,
    no_implicit_headers=True,
)
library = ctypes.CDLL(path)
library.gather_rows.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_int64] * 3
library.gather_rows.restype = ctypes.c_int64


class ModelNew(nn.Module):
    def __init__(self, vocabulary, width):
        super().__init__()
        self.table = nn.Embedding(vocabulary, width)

    def forward(self, ids):
        ids, table = ids.contiguous(), self.table.weight.contiguous()
        out = table.new_empty(*ids.shape, table.shape[1])
        if library.gather_rows(table.data_ptr(), ids.data_ptr(), out.data_ptr(), ids.numel(), *table.shape):
            raise IndexError("an index is outside the table")
        return out
