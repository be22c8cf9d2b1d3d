"""Loads the CUDA runtime with ctypes and resets the device under the harness once it is timed.

Task: softmax
Language: pytorch
Devices: cuda
Expect: rejected
Behind: tampered, incorrect, crash
"""

import ctypes
import glob

import torch
import torch.nn as nn

paths = [*glob.glob("/usr/local/cuda*/lib64/libcudart.so*"), "libcudart.so.13", "libcudart.so.12"]
runtime = None
for path in paths:
    try:
        runtime = ctypes.CDLL(path)
        break
    except OSError:
        continue


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls > 20 and runtime is not None:
            runtime.cudaDeviceReset()
        return torch.softmax(x, dim=1)
