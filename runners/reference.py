"""Truth of a task under one variant: inputs from secret seeds, float64 outputs, tolerances.

Made in the trusted parent, once for each session; candidates see inputs and parameters, never this.
Called by `sessions.py`.
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
from everforge.runners.compare import Error, Tolerance, Truth, error_of, tolerance_of
from everforge.runners.devices.base import TORCH_DTYPES, Device
from everforge.runners.exact import InFloat64
from everforge.runners.models import frozen, on_device
from everforge.runners.taskfile import TaskFile, call_user, load_task_file
from everforge.runners.tensors import (
    Block,
    Description,
    Tree,
    UnsupportedValue,
    describe,
    leaves,
    map_tree,
    size_bytes,
)

# Other parameters for the reload check: each value is scaled by up to 10 %, which keeps variances positive.
_PERTURBATION = 0.1


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
    """One seed of one variant: inputs, float64 truth, and the error eager itself makes, output by output."""

    name: str
    inputs: Shared
    truths: list[Truth]
    eager_errors: list[Error]


@dataclass(frozen=True)
class VariantReference:
    """Everything a trial needs to check one variant."""

    variant: Variant
    init: Shared
    state: Shared
    cases: tuple[Case, ...]
    tolerances: list[Tolerance]
    expected: Description
    output_bytes: int
    dtypes: tuple[str, ...]
    other_state: Shared | None
    other_case: Case | None
    other_tolerances: list[Tolerance]


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
        """The reference's outputs; inputs are cloned first."""
        with torch.no_grad():
            return call_user(self.task.name, "forward()", lambda: model(*map_tree(inputs, torch.clone)))

    def truth(self, model: torch.nn.Module, inputs: Tree) -> list[torch.Tensor]:
        """Outputs computed in float64 throughout."""
        exact = copy.deepcopy(model).double()
        with InFloat64(), self._explained("in float64, which kernels are judged against"):
            return [leaf.clone() for leaf in leaves(self.run(exact, map_tree(inputs, _double)))]

    def at_policy(self, model: torch.nn.Module, inputs: Tree) -> list[torch.Tensor]:
        """What eager PyTorch gives at the policy's precision, in the task's own dtypes."""
        precision = self.task.precision
        plain = self.run(model, inputs)
        if precision in (Precision.FP32, Precision.TF32):
            with self.device.compute_in(precision):
                return [leaf.clone() for leaf in leaves(self.run(model, inputs))]
        dtype = TORCH_DTYPES[precision]
        lowered = map_tree(inputs, lambda t: t.to(dtype) if t.is_floating_point() else t)
        with self._explained(f"in {precision}; make its tensors of the inputs' dtype, or ask for fp32"):
            outputs = leaves(self.run(copy.deepcopy(model).to(dtype), lowered))
        return [out.to(own.dtype) for out, own in zip(outputs, leaves(plain), strict=True)]

    @contextmanager
    def _explained(self, how: str) -> Iterator[None]:
        """An error of a reference that runs as it is written, but not at another precision."""
        try:
            yield
        except TaskError as error:
            raise TaskError(f"{error}; the reference runs as it is written, but not {how}") from error

    def case(self, name: str, model: torch.nn.Module) -> Case:
        """A case from a fresh seed."""
        inputs = self.inputs()
        eager = self.at_policy(model, inputs)
        truths = [Truth.of(*pair) for pair in zip(self.truth(model, inputs), eager, strict=True)]
        errors = [error_of(*pair) for pair in zip(eager, truths, strict=True)]
        return Case(name, self.shared(inputs), truths, errors)

    def shared(self, tree: Tree) -> Shared:
        """A tree in sealed memory. Raises TaskError for values that cannot reach a candidate."""
        try:
            return Shared.of(tree)
        except UnsupportedValue as error:
            raise TaskError(f"{self.task.name}: {error}; use tensors, numbers, strings, lists, dicts") from error

    def build(self, seeds: int, factor: float) -> VariantReference:
        """Inputs, truths and tolerances for `seeds` fresh seeds."""
        cases = tuple(self.case(f"{self.variant.name}/{index}", self.model) for index in range(seeds))
        outputs = self.run(self.model, self.inputs())
        expected, output_bytes = self._description(outputs)
        other_state, other_case = self._other_parameters()
        return VariantReference(
            variant=self.variant,
            init=self.shared(self.init_args),
            state=self.shared(dict(self.model.state_dict())),
            cases=cases,
            tolerances=tolerances_of(cases, factor),
            expected=expected,
            output_bytes=output_bytes,
            dtypes=tuple(str(leaf.dtype).removeprefix("torch.") for leaf in leaves(outputs)),
            other_state=other_state,
            other_case=other_case,
            other_tolerances=tolerances_of((other_case,), factor) if other_case else [],
        )

    def _description(self, outputs: Tree) -> tuple[Description, int]:
        if not any(True for _ in leaves(outputs)):
            raise TaskError(f"{self.task.name}: forward() returns no tensor")
        try:
            return describe(outputs)
        except UnsupportedValue as error:
            raise TaskError(f"{self.task.name}: forward() returns a value that is no tensor: {error}") from error

    def _other_parameters(self) -> tuple[Shared | None, Case | None]:
        """Other parameters and a case under them, to find values prepacked from the first ones."""
        if not any(value.is_floating_point() for value in self.model.state_dict().values()):
            return None, None
        other = copy.deepcopy(self.model)
        with torch.no_grad():
            for value in other.state_dict().values():
                if value.is_floating_point():
                    value.mul_(1 + _PERTURBATION * torch.rand_like(value))
        return self.shared(dict(other.state_dict())), self.case(f"{self.variant.name}/other", other)


def tolerances_of(cases: tuple[Case, ...], factor: float) -> list[Tolerance]:
    """One tolerance for each output, from eager's errors over all cases."""
    outputs = range(len(cases[0].truths))
    return [
        tolerance_of([case.eager_errors[i] for case in cases], [case.truths[i] for case in cases], factor)
        for i in outputs
    ]


def _double(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def _seed_all(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
