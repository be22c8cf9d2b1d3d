"""Returns an empty output at once; a thread fills it while the harness is busy with something else.

Task: softmax
Language: pytorch
Expect: rejected
Behind: incorrect, tampered
"""

import threading
import time

import torch
import torch.nn as nn


def _fill(x, output):
    time.sleep(0.002)
    torch.softmax(x, dim=1, out=output)


class ModelNew(nn.Module):
    def forward(self, x):
        output = torch.empty_like(x)
        threading.Thread(target=_fill, args=(x, output), daemon=True).start()
        return output
