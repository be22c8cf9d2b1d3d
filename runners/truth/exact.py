"""A reference computed in float64 throughout, also where its forward() makes float32 tensors or casts to them.

`module.double()` reaches parameters and buffers alone: a causal mask made in forward(), a table kept as a plain
attribute or an `x.float()` inside a norm would meet float64 with another dtype, or round the truth to float32.
Called by `reference.py`.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

# Casts to 8 bits and less are what a quantised model means, so they stay.
_PROMOTED = (torch.float32, torch.float16, torch.bfloat16)


class InFloat64(TorchFunctionMode):
    """Every PyTorch call takes and gives float64 where it would take or give a shorter float."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Make one call."""
        given = tree_map(_promoted, (args, kwargs or {}))
        return tree_map(_promoted_tensor, function(*given[0], **given[1]))


def _promoted(value: Any) -> Any:
    return torch.float64 if isinstance(value, torch.dtype) and value in _PROMOTED else _promoted_tensor(value)


def _promoted_tensor(value: Any) -> Any:
    return value.double() if isinstance(value, torch.Tensor) and value.dtype in _PROMOTED else value
