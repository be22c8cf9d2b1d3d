"""The traced reference as data, so that generators can plan kernels without importing torch.

`runners/facts/tracing.py` makes it with torch.export; `agents/builtin` reads it.
"""

from typing import Any

from pydantic import Field

from everforge.model.base import Record


class TensorMeta(Record):
    """Shape, strides (in elements) and dtype (`float32`, `int64`, …) of one tensor."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str

    @property
    def elements(self) -> int:
        """Number of elements."""
        count = 1
        for size in self.shape:
            count *= size
        return count


class Ref(Record):
    """An argument that is another node's output; `index` picks from several outputs."""

    node: str
    index: int | None = None


class GraphNode(Record):
    """One operation of the reference, in ATen's names, or one of its inputs and parameters.

    `op` is `input`, `parameter`, `buffer`, `constant` or an ATen overload such as `aten.softmax.int`.
    `args` and `kwargs` hold Refs (as `{"node": …, "index": …}`), numbers, strings, booleans, None and lists of those;
    dtypes appear as `{"dtype": "float32"}`.
    """

    id: str
    op: str
    target: str | None = Field(None, description="Qualified name of a parameter or buffer: `net.0.weight`")
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = Field(default_factory=dict)
    outputs: tuple[TensorMeta, ...] = ()


class TaskGraph(Record):
    """The reference under one variant, as a list of nodes in execution order."""

    variant: str
    nodes: tuple[GraphNode, ...]
    results: tuple[Ref, ...] = Field(description="What forward returns, flattened")
    structure: str = Field("tensor", description="Form of the return value: tensor, tuple, list or other")
    init_args: tuple[Any, ...] = Field((), description="get_init_inputs() where it is plain data")
    flops: float = Field(0.0, description="Multiplications and additions of matrix products and convolutions")
    bytes: float = Field(0.0, description="Inputs, parameters and outputs, each moved once")
    bytes_read: float = Field(0.0, description="The inputs and parameters among them")
    bytes_written: float = Field(0.0, description="The outputs among them")


class Shortcut(Record):
    """A way to the same result with less work than the reference states, proven from its graph."""

    reason: str = Field(description="What can be left out, for a person")
    flops: float = Field(description="FLOPs of the whole task with this shortcut taken")
    products: dict[str, float] = Field(description="Nodes that cost less, and the FLOPs each of them keeps")
    read_shares: dict[str, float] = Field(
        default_factory=dict, description="Leaves of which only this share needs to be read, the rest prepared at load"
    )


class TraceFailure(Record):
    """A reference that could not be traced, and why."""

    variant: str
    reason: str
