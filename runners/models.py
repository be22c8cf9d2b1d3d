"""Building the module a worker runs: a candidate's ModelNew or a baseline around the task's Model.

Runs inside workers (`slots.py`); `frozen` also serves the trusted parent (`reference.py`).
"""

import importlib.util
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from everforge.model.precision import Precision
from everforge.model.task import ConstantValue, Mode
from everforge.runners.devices.base import TORCH_DTYPES
from everforge.runners.tensors.layouts import room_like
from everforge.runners.tensors.trees import Tree, map_tree
from everforge.runners.truth.taskfile import load_task_file

CANDIDATE_CLASS = "ModelNew"
_CANDIDATE_MODULE = "everforge_candidate"


class NotACandidate(Exception):
    """The source loads but does not offer what a candidate must."""


def candidate_class(source: str) -> Callable[..., Any]:
    """Import a candidate's source and return its ModelNew.

    It gets a file of its own, because Triton reads a kernel's source from its file.
    """
    path = Path.cwd() / f"{_CANDIDATE_MODULE}.py"
    path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(_CANDIDATE_MODULE, path)
    if spec is None or spec.loader is None:
        raise NotACandidate(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_CANDIDATE_MODULE] = module
    spec.loader.exec_module(module)
    found = getattr(module, CANDIDATE_CLASS, None)
    if not callable(found):
        raise NotACandidate(f"the candidate defines no class {CANDIDATE_CLASS}")
    return found  # type: ignore[no-any-return]


def build_module(
    make: Callable[..., Any], init: Tree, state: Tree, device: torch.device, mode: Mode, trainable: bool
) -> torch.nn.Module:
    """A module on a device with the reference's parameters, ready to be called. Raises NotACandidate."""
    with torch.device(device):
        model = make(*init)
    if not isinstance(model, torch.nn.Module):
        raise NotACandidate("ModelNew must be a torch.nn.Module")
    on_device(model, device).load_state_dict(state, strict=True)
    return frozen(model, mode, trainable)


def on_device(model: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """The module with all it holds on a device.

    One that is there already is left alone: PyTorch cannot move parameters without memory (`forms.py`).
    """
    held = itertools.chain(model.parameters(), model.buffers())
    return model if all(tensor.device.type == device.type for tensor in held) else model.to(device)


def frozen(model: torch.nn.Module, mode: Mode, trainable: bool) -> torch.nn.Module:
    """The module in its mode, with parameters frozen unless the task says they are trainable."""
    model.train(mode is Mode.TRAIN)
    return model if trainable else model.requires_grad_(False)


class Baseline(torch.nn.Module):
    """The task's Model at a precision of the policy: takes and returns the task's own dtypes."""

    def __init__(self, model: torch.nn.Module, precision: Precision, dtypes: tuple[torch.dtype, ...]) -> None:
        super().__init__()
        self.dtype = TORCH_DTYPES[precision]
        self.model = model.to(self.dtype)
        self.dtypes = dtypes

    def forward(self, *inputs: Any) -> Any:
        """Cast in, compute, cast out; under torch.compile all of it is one graph."""
        outputs = self.model(*map_tree(inputs, self._lower))
        dtypes = iter(self.dtypes)
        return map_tree(outputs, lambda tensor: tensor.to(next(dtypes)))

    def _lower(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor


def task_class(name: str, source: str, constants: dict[str, ConstantValue]) -> Callable[..., Any]:
    """The task's Model under a variant's constants."""
    return load_task_file(name, source, constants).model_class


def to_device(tree: Tree, device: torch.device) -> Tree:
    """A copy of the tree with every tensor on the device, in memory of this process, laid out as it was."""
    return map_tree(tree, lambda tensor: room_like(tensor, device).copy_(tensor))
