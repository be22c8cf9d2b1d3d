"""The reference under one variant, run by the trusted parent: inputs from secret seeds, float64 outputs.

Candidates see inputs and parameters, never this. Called by `cases.py`, `degenerate.py` and `forms.py`.
"""

import copy
import random
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from everforge.errors import TaskError
from everforge.model.precision import Precision
from everforge.model.task import TaskSpec, Variant
from everforge.runners.devices.base import TORCH_DTYPES, Device
from everforge.runners.models import frozen, on_device
from everforge.runners.tensors.bits import changed_leaves
from everforge.runners.tensors.layouts import same_layout_copy
from everforge.runners.tensors.trees import (
    Block,
    Description,
    Tree,
    UnsupportedValue,
    describe,
    leaves,
    map_tree,
    size_bytes,
)
from everforge.runners.truth.compare import Error, Tolerance, Truth
from everforge.runners.truth.exact import InFloat64
from everforge.runners.truth.taskfile import TaskFile, call_user, load_task_file


@dataclass(frozen=True)
class Shared:
    """A tree in sealed memory, ready to be handed to workers."""

    block: Block
    description: Description
    size: int

    @classmethod
    def of(cls, tree: Tree) -> "Shared":
        block, description = Block.sealed(tree)
        return cls(block, description, size_bytes(tree))


@dataclass(frozen=True)
class Case:
    """Inputs of one variant with float64 truth, the error eager itself makes, and what follows from it.

    `form` says how the inputs differ from what get_inputs() gives; None if they do not. Of such a case any
    memory layout of the output is accepted.
    """

    name: str
    form: str | None
    inputs: Shared
    truths: list[Truth]
    eager_errors: list[Error]
    tolerances: list[Tolerance]
    expected: Description
    spreads: list[str]
    # Checksums of inputs that are too large to come back after each call, and their salt.
    input_sums: list[int]
    salt: int
    output_bytes: int


class ReferenceBuilder:
    """Builds the reference of one variant; keeps the user's module for tracing and tolerance."""

    def __init__(self, task: TaskSpec, variant: Variant, device: Device) -> None:
        self.task = task
        self.variant = variant
        self.device = device
        self.name = f"{task.name} (variant {variant.name})"
        self.file: TaskFile = load_task_file(task.name, task.source, variant.constants)
        self.init_args = tuple(self._call("get_init_inputs()", self.file.get_init_inputs))
        self.model = self._model()
        self._changed: tuple[int, ...] | None = None

    def _call(self, what: str, call: Any) -> Any:
        # Without gradients: a module that keeps a tensor computed from its parameters could not be copied.
        with torch.device(self.device.torch_device), torch.no_grad():
            return call_user(self.task.name, what, call)

    def _model(self) -> torch.nn.Module:
        _seed_all(secrets.randbits(63))
        model = self._call("Model()", lambda: self.file.model_class(*self.init_args))
        if not isinstance(model, torch.nn.Module):
            raise TaskError(f"{self.task.name}: class Model must be a torch.nn.Module")
        return frozen(on_device(model, self.device.torch_device), self.task.mode, self.task.trainable)

    def inputs(self) -> tuple[Any, ...]:
        """Fresh inputs on the device, from a seed nobody can know."""
        _seed_all(secrets.randbits(63))
        given = self._call("get_inputs()", self.file.get_inputs)
        if not isinstance(given, list | tuple):
            raise TaskError(f"{self.task.name}: get_inputs() must return a list, got {type(given).__name__}")
        return tuple(map_tree(list(given), lambda tensor: tensor.detach().to(self.device.torch_device)))

    def run(self, model: torch.nn.Module, inputs: Tree) -> Tree:
        """The reference's outputs, and the inputs it changed as it left them: `(outputs, [input, …])`.

        The inputs given are left alone: the model gets copies with the same layout.
        """
        given = map_tree(inputs, same_layout_copy)
        with torch.no_grad():
            outputs = call_user(self.task.name, "forward()", lambda: model(*given))
        if self._changed is None:
            self._changed = changed_leaves(inputs, given)
        after = list(leaves(given))
        return outputs, [after[index] for index in self._changed]

    @property
    def changed(self) -> tuple[int, ...]:
        """Which input tensors the reference changes, counted in order: a kernel must change them too."""
        if self._changed is None:
            self.run(self.model, self.inputs())
        return self._changed or ()

    def truth(self, model: torch.nn.Module, inputs: Tree) -> list[torch.Tensor]:
        """Outputs computed in float64 throughout; on the host where the device has no memory for that."""
        device = self.device.torch_device
        try:
            return self.truth_on(device, model, inputs)
        except (TaskError, torch.OutOfMemoryError) as error:
            if device.type == "cpu" or not _out_of_memory(error):
                raise
        self.device.release_memory()
        return self.truth_on(torch.device("cpu"), model, inputs)

    def truth_on(self, device: torch.device, model: torch.nn.Module, inputs: Tree) -> list[torch.Tensor]:
        """Outputs in float64, computed on one device."""
        exact = copy.deepcopy(model).to(device).double()
        widened = map_tree(inputs, lambda tensor: _double(tensor.to(device)))
        with InFloat64(), self._explained("in float64, which kernels are judged against"):
            return [leaf.clone() for leaf in leaves(self.run(exact, widened))]

    def at_policy(self, model: torch.nn.Module, inputs: Tree) -> list[torch.Tensor]:
        """What eager PyTorch gives at the policy's precision, in the task's own dtypes."""
        precision = self.task.precision
        if precision in (Precision.FP32, Precision.TF32):
            with self.device.compute_in(precision):
                return [leaf.clone() for leaf in leaves(self.run(model, inputs))]
        dtype = TORCH_DTYPES[precision]
        lowered = map_tree(inputs, lambda t: t.to(dtype) if t.is_floating_point() else t)
        with self._explained(f"in {precision}; make its tensors of the inputs' dtype, or ask for fp32"):
            outputs = leaves(self.run(copy.deepcopy(model).to(dtype), lowered))
        plain = self.run(model, inputs)
        return [out.to(own.dtype) for out, own in zip(outputs, leaves(plain), strict=True)]

    @contextmanager
    def _explained(self, how: str) -> Iterator[None]:
        """An error of a reference that runs as it is written, but not at another precision."""
        try:
            yield
        except TaskError as error:
            raise TaskError(f"{error}; the reference runs as it is written, but not {how}") from error

    def shared(self, tree: Tree) -> Shared:
        """A tree in sealed memory. Raises TaskError for values that cannot reach a candidate."""
        try:
            return Shared.of(tree)
        except UnsupportedValue as error:
            raise TaskError(f"{self.task.name}: {error}; use tensors, numbers, strings, lists, dicts") from error

    def description(self, tree: Tree) -> tuple[Description, int]:
        """Form and size of what `run` returned. Raises TaskError for what a candidate could not return."""
        if not any(True for _ in leaves(tree)):
            raise TaskError(f"{self.task.name}: forward() returns no tensor")
        try:
            return describe(tree)
        except UnsupportedValue as error:
            raise TaskError(f"{self.task.name}: forward() returns a value that is no tensor: {error}") from error


def _out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or isinstance(error.__cause__, torch.OutOfMemoryError)


def _double(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def _seed_all(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
