"""The form of a variant: shapes, dtypes and layouts of what a candidate gets, without any values.

Enough to compile kernels ahead, at no cost in memory. Made for `checks.py` and `sessions.py`.
"""

from dataclasses import asdict, dataclass
from typing import Any

from torch._subclasses.fake_tensor import FakeTensorMode

from everforge.errors import TaskError
from everforge.model.task import TaskSpec, Variant
from everforge.runners.devices.base import Device
from everforge.runners.tensors.trees import Description, UnsupportedValue, describe
from everforge.runners.truth.cases import VariantReference
from everforge.runners.truth.reference import ReferenceBuilder


@dataclass(frozen=True)
class Form:
    """Descriptions of constructor arguments, parameters and inputs, and the bytes all of them would take."""

    init: Description
    state: Description
    inputs: Description
    size_bytes: int

    @classmethod
    def of_reference(cls, reference: VariantReference) -> "Form":
        """The form of a variant whose reference has been built."""
        inputs = reference.cases[0].inputs
        size_bytes = reference.init.size + reference.state.size + inputs.size
        return cls(reference.init.description, reference.state.description, inputs.description, size_bytes)

    @classmethod
    def of_task(cls, task: TaskSpec, variant: Variant, device: Device) -> "Form":
        """The form of a variant from its task file. Raises TaskError for one that cannot be a task.

        Nothing is allocated, unless making the inputs takes values that only real tensors have.
        """
        try:
            with FakeTensorMode():
                return cls._made(task, variant, device)
        except TaskError:
            return cls._made(task, variant, device)

    @classmethod
    def _made(cls, task: TaskSpec, variant: Variant, device: Device) -> "Form":
        builder = ReferenceBuilder(task, variant, device)
        try:
            parts = [describe(part) for part in (builder.init_args, builder.model.state_dict(), builder.inputs())]
        except UnsupportedValue as error:
            raise TaskError(f"{task.name}: {error}; use tensors, numbers, strings, lists, dicts") from error
        (init, _), (state, _), (inputs, _) = parts
        return cls(init, state, inputs, sum(size for _, size in parts))

    def message(self) -> dict[str, Any]:
        """As a worker is told."""
        return asdict(self)
