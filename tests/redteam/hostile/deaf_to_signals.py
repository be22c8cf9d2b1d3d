"""Blocks every signal and ignores SIGTERM, then sleeps where it cannot be interrupted politely.

Task: softmax
Language: pytorch
Expect: rejected
Behind: timeout
"""

import signal
import time

import torch.nn as nn

signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
signal.signal(signal.SIGTERM, signal.SIG_IGN)


class ModelNew(nn.Module):
    def forward(self, x):
        while True:
            time.sleep(1)
