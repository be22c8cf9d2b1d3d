"""Where a reference draws random numbers, and where it would in the other mode.

Dropout that mode eval turns off is worth a note; randomness that is on makes a task nobody can judge. The calls are
watched while forward() runs, because a traced graph has dropped a dropout that is off. Called by `degenerate.py`.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from everforge.runners.facts.operations import DROPOUTS, RANDOM

# Their dropout happens inside one call, where no watch sees it.
_HOLDING_DROPOUT = (torch.nn.RNNBase, torch.nn.MultiheadAttention)


@dataclass
class Randomness:
    """Places that draw random numbers as the model is run, places that would in mode train, and batch statistics."""

    active: list[str] = field(default_factory=list)
    dormant: list[str] = field(default_factory=list)
    batch_statistics: list[str] = field(default_factory=list)


def randomness_of(model: torch.nn.Module, run: Callable[[], object]) -> Randomness:
    """What is random in one run of a model."""
    found = Randomness()
    with _places(model) as place, _Watch(found, place):
        run()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.modules.batchnorm._NormBase) and module.training:
            found.batch_statistics.append(_label(name, module))
        if isinstance(module, _HOLDING_DROPOUT) and module.dropout > 0:
            (found.active if module.training else found.dormant).append(_label(name, module))
    return Randomness(*(list(dict.fromkeys(places)) for places in vars(found).values()))


class _Watch(TorchFunctionMode):
    """Notes every call of PyTorch that draws, with the module it happens in."""

    def __init__(self, found: Randomness, place: list[str]) -> None:
        super().__init__()
        self._found = found
        self._place = place

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Make one call."""
        given = kwargs or {}
        name = getattr(function, "__name__", "")
        drawing = _drawing(name, args, given)
        if drawing is not None:
            (self._found.active if drawing else self._found.dormant).append(self._where(name))
        return function(*args, **given)

    def _where(self, name: str) -> str:
        return self._place[-1] if self._place else f"{name}() in forward()"


def _drawing(name: str, args: tuple[Any, ...], given: dict[str, Any]) -> bool | None:
    """Whether a call draws random numbers, or would in mode train (False); None for a call that never does."""
    if name in RANDOM:
        return True
    if name in DROPOUTS and _argument(args, given, 1, "p", 0.5) > 0:
        return bool(_argument(args, given, 2, "training", True))
    if name == "rrelu":
        return bool(_argument(args, given, 3, "training", False))
    drops = name == "scaled_dot_product_attention" and _argument(args, given, 4, "dropout_p", 0.0) > 0
    return True if drops else None


def _argument(args: tuple[Any, ...], kwargs: dict[str, Any], position: int, name: str, default: Any) -> Any:
    return args[position] if len(args) > position else kwargs.get(name, default)


@contextmanager
def _places(model: torch.nn.Module) -> Iterator[list[str]]:
    """The modules that are being run, innermost last; the model itself is not among them."""
    place: list[str] = []
    with ExitStack() as stack:
        for name, module in model.named_modules():
            if name:
                stack.callback(module.register_forward_pre_hook(_entering(place, _label(name, module))).remove)
                stack.callback(module.register_forward_hook(_leaving(place)).remove)
        yield place


def _entering(place: list[str], label: str) -> Callable[..., None]:
    return lambda *_: place.append(label)


def _leaving(place: list[str]) -> Callable[..., None]:
    return lambda *_: place.__delitem__(-1)


def _label(name: str, module: torch.nn.Module) -> str:
    """`drop (Dropout, p=0.2)`, as a person finds it in the source."""
    p = getattr(module, "p", None)
    return f"module {name} ({type(module).__name__}{f', p={p:g}' if isinstance(p, float) else ''})"
