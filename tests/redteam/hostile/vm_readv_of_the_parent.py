"""Reads its parent's memory with process_vm_readv, from where the expected output might begin.

Task: softmax
Language: pytorch
Expect: rejected
Behind: incorrect, crash, tampered
"""

import ctypes
import os

import torch
import torch.nn as nn


class Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class ModelNew(nn.Module):
    def forward(self, x):
        output = torch.zeros(x.shape)
        libc = ctypes.CDLL(None)
        mine = Vector(output.data_ptr(), 4 * output.numel())
        theirs = Vector(x.data_ptr(), 4 * output.numel())
        libc.process_vm_readv(os.getppid(), ctypes.byref(mine), 1, ctypes.byref(theirs), 1, 0)
        return output.to(x.device)
