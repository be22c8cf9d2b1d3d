"""Finds the number of the request under way in the harness's own objects and answers it first, with its own times.

Task: cumulative_sum
Language: pytorch
Expect: rejected
Behind: tampered, crash
"""

import gc
import json
import os
import socket
import stat
import struct

import torch
import torch.nn as nn


def _number():
    for found in gc.get_objects():
        number = getattr(found, "_number", None)
        if isinstance(number, str):
            return number
    return None


def _send(message):
    body = json.dumps(message).encode()
    for number in range(3, 64):
        try:
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                socket.socket(fileno=os.dup(number)).sendall(struct.pack("!I", len(body)) + body)
        except OSError:
            continue


class ModelNew(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls > 20:
            _send({"number": _number(), "answer": {"times_us": [1.0] * 4, "checksums": []}})
        return torch.cumsum(x, dim=self.dim)
