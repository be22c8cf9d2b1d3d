"""A tuple that computes its members when somebody looks at them, which is after the clock has stopped.

Task: moments
Language: pytorch
Expect: rejected, incorrect, crash, tampered
Behind: incorrect, crash, tampered
"""

import torch.nn as nn


class Later(tuple):
    def __iter__(self):
        x = getattr(self, "x", None)
        if x is None:  # a copy, made of members that are there
            yield from super().__iter__()
            return
        mean = x.mean(dim=1)
        yield mean
        yield ((x - mean[:, None]) ** 2).mean(dim=1)


class ModelNew(nn.Module):
    def forward(self, x):
        later = Later((x[:, 0], x[:, 0]))
        later.x = x
        return later
