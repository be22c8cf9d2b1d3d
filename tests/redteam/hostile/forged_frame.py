"""Finds the result channel among the open descriptors and sends its own answer ahead of the worker's.

Task: cumulative_sum
Language: pytorch
Expect: rejected
Behind: tampered, crash, incorrect
"""

import json
import os
import socket
import stat
import struct

import torch
import torch.nn as nn


def _channels():
    for number in range(3, 64):
        try:
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                yield socket.socket(fileno=os.dup(number))
        except OSError:
            continue


def _send(message):
    body = json.dumps(message).encode()
    for channel in _channels():
        channel.sendall(struct.pack("!I", len(body)) + body)


class ModelNew(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls == 21:
            _send({"times_us": [1.0] * 4, "turn": 0, "iterations": 4, "failure": None})
        return torch.cumsum(x, dim=self.dim)
