"""Computes honestly and keeps a busy thread on every core, so that the rival that takes turns with it is slow.

Task: matmul
Language: pytorch
Expect: rejected
Behind: tampered
"""

import os
import threading

import torch
import torch.nn as nn


def _burn():
    waste = torch.rand(256, 256)
    while True:
        torch.mm(waste, waste)


for _ in range(os.cpu_count() or 1):
    threading.Thread(target=_burn, daemon=True).start()


class ModelNew(nn.Module):
    def forward(self, left, right):
        return left @ right
