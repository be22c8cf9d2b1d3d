"""Returns an empty output and completes it in the handler of a timer's signal.

Task: softmax
Language: pytorch
Expect: rejected
Behind: incorrect, tampered, crash
"""

import signal

import torch
import torch.nn as nn

PENDING = []


def _finish(number, frame):
    while PENDING:
        x, output = PENDING.pop()
        output.copy_(torch.softmax(x, dim=1))


signal.signal(signal.SIGALRM, _finish)


class ModelNew(nn.Module):
    def forward(self, x):
        output = torch.empty_like(x)
        PENDING.append((x, output))
        signal.setitimer(signal.ITIMER_REAL, 0.0005)
        return output
