"""Stops every process it may signal, the rival's among them, and goes on alone.

Task: matmul
Language: pytorch
Expect: rejected
Behind: tampered, crash, incorrect, timeout
"""

import os
import signal

import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, left, right):
        self.calls += 1
        if self.calls > 20:
            os.kill(-1, signal.SIGSTOP)
            return self.last
        self.last = left @ right
        return self.last
