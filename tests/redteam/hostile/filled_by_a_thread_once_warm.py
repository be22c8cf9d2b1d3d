"""As a thread that fills the output later, and only in the timed calls.

Task: matmul
Language: pytorch
Expect: rejected
Behind: incorrect, tampered
"""

import threading

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, left, right):
        self.calls += 1
        if self.calls <= 20:
            return left @ right
        output = left.new_empty(left.shape[0], right.shape[1])
        threading.Timer(0.001, lambda: torch.matmul(left, right, out=output)).start()
        return output
