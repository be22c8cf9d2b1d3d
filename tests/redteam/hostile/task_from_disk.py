"""Looks for the task's file where it runs and one level above, and runs the reference itself as its kernel.

Task: softmax
Language: pytorch
Expect: rejected
Behind: incorrect
"""

import pathlib

import torch
import torch.nn as nn


def _reference():
    for place in (pathlib.Path.cwd(), pathlib.Path.cwd().parent):
        for path in place.glob("*.py"):
            text = path.read_text(errors="replace")
            if "\nclass Model(" in text and "\ndef get_inputs" in text:
                names = {}
                exec(text, names)
                return names["Model"]()
    return None


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.reference = _reference()

    def forward(self, x):
        return torch.zeros_like(x) if self.reference is None else self.reference(x)
