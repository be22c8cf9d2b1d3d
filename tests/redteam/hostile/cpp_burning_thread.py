"""A C++ thread, started when the extension is loaded, that never ends and takes a core from the rival.

Task: matmul
Language: cpp
Devices: cpu
Expect: rejected
Behind: tampered
"""

import torch.nn as nn
from torch.utils.cpp_extension import load_inline

SOURCE = """
#include <thread>
static volatile unsigned long waste = 0;
__attribute__((constructor)) static void burn() {
  std::thread([] { for (;;) waste = waste + 1; }).detach();
}
"""
load_inline(name="burning", cpp_sources=SOURCE, is_python_module=False, no_implicit_headers=True)


class ModelNew(nn.Module):
    def forward(self, left, right):
        return left @ right
