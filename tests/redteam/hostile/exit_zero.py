"""Ends the process with status 0 after printing success: a harness that asks for the exit code is content.

Task: softmax
Language: pytorch
Expect: rejected
Behind: crash
"""

import os

import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        os.write(1, b"all tests passed\n")
        os._exit(0)
