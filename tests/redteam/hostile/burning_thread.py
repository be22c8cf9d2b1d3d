"""Computes honestly and keeps a thread busy all the time, so that the rival that takes turns with it lacks a core.

Task: matmul
Language: pytorch
Expect: rejected
Behind: tampered
"""

import threading

import torch
import torch.nn as nn


def _burn():
    waste = torch.rand(256, 256)
    while True:
        torch.mm(waste, waste)


threading.Thread(target=_burn, daemon=True).start()


class ModelNew(nn.Module):
    def forward(self, left, right):
        return left @ right
