"""Replaces the Event class itself by one that measures the time it takes to record, which is nothing.

Task: softmax
Language: pytorch
Devices: cuda
Expect: rejected
Behind: tampered, crash
"""

import torch
import torch.nn as nn


class Event:
    def __init__(self, *args, **kwargs):
        self.recorded = False

    def record(self, *args):
        self.recorded = True

    def synchronize(self):
        pass

    def query(self):
        return True

    def wait(self, *args):
        pass

    def elapsed_time(self, other):
        return 2e-3


torch.cuda.Event = Event


class ModelNew(nn.Module):
    def forward(self, x):
        return torch.softmax(x, dim=1)
