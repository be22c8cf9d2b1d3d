"""Forks a daemon in a session of its own that burns a core for as long as it is left alive.

Task: matmul
Language: pytorch
Expect: rejected
Behind: tampered, crash
"""

import os

import torch.nn as nn

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True:
            pass
    os._exit(0)


class ModelNew(nn.Module):
    def forward(self, left, right):
        return left @ right
