"""What the kernels of each emitter can do, so that the planner fuses no more than can be written.

`generator.py` picks them by device and hands them to the planner; a plan keeps those it was made with.
"""

from dataclasses import dataclass

from everforge.model.device import DeviceKind


@dataclass(frozen=True)
class Abilities:
    """Beyond kernels over float32 whose columns are the innermost dimensions."""

    any_order: bool = False
    """Whether columns may be outer dimensions, and results lie in memory in another order than the kernel runs."""
    positions: bool = False
    """Whether the position of an extremum can be had, as int64."""
    reverse_scans: bool = False
    """Whether a running fold may start at the end of its row."""
    floats: frozenset[str] = frozenset({"float32"})
    """Dtypes that kernels read and store; they compute in float32."""
    reads: frozenset[str] = frozenset()
    """Dtypes that kernels read alone: booleans as 1.0 and 0.0."""


BASIC = Abilities(reads=frozenset({"bool"}))
"""What C++ kernels do."""

TRITON = Abilities(
    any_order=True,
    positions=True,
    reverse_scans=True,
    floats=frozenset({"float32", "bfloat16", "float16"}),
    reads=frozenset({"bool"}),
)
"""What Triton kernels do."""


def abilities_of(device: DeviceKind) -> Abilities:
    """The abilities of the kernels that are written for a device."""
    return BASIC if device is DeviceKind.CPU else TRITON
