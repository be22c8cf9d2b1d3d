"""Shapes that neither the user nor the harness has shown to anybody, derived from the constants of the task file.

A kernel that is right only on the shapes it was written for passes every declared variant. `sessions.py` asks for
one or two more, small ones, drawn anew in each session so that no generator can learn them.
"""

import logging
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from everforge.errors import TaskError
from everforge.model.task import ConstantValue, TaskSpec, Variant
from everforge.runners.devices.base import Device
from everforge.runners.facts.size_constants import integer_constants, smaller_values
from everforge.runners.tensors.trees import leaves, size_bytes
from everforge.runners.truth.reference import ReferenceBuilder
from everforge.runners.truth.taskfile import call_user

# Without memory a try takes milliseconds; a task that only runs on real tensors pays for each.
_MOST_TRIES = 80
_MOST_REAL_TRIES = 16
# Small sizes have few values, some of which may be shown already.
_DRAWS = 3

Constants = dict[str, ConstantValue]
Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Derived:
    """Held-out variants that run, or why there are none; None if none were wanted."""

    variants: tuple[Variant, ...]
    note: str | None = None


@dataclass(frozen=True)
class _Tried:
    """The inputs of a reference that ran, and the bytes of its inputs and parameters."""

    inputs: Shapes
    size_bytes: int


def derived_variants(task: TaskSpec, device: Device, rng: random.Random) -> Derived:
    """At most two held-out variants: all sizes changed, and the leading size of the first input alone.

    No input is larger than those of the largest shown variant, none has shapes of a declared one, and every
    reference has run. The user's code may only run in the trusted parent, so this may, too.
    """
    if not task.derive_held_out:
        return Derived(())
    trials = _Trials(task, device)
    shown = [(trials.run(dict(variant.constants)), variant) for variant in task.variants if not variant.held_out]
    ran = [(tried, variant) for tried, variant in shown if tried is not None]
    if not ran:
        return _none("no shown variant runs")
    largest, variant = max(ran, key=lambda pair: pair[0].size_bytes)
    constants = integer_constants(task.source, variant.constants)
    sizes = {name: value for name, value in constants.items() if value > 1}
    if not sizes:
        return _none("the task file has no module-level integer constants; declare a variant with heldOut")
    search = _Search(trials, largest, dict(variant.constants), sizes, rng)
    variants = _named(task, search.found(_declared(task, trials)))
    return Derived(variants) if variants else _none(f"no smaller {' or '.join(sizes)} gives other inputs and runs")


def _none(reason: str) -> Derived:
    return Derived((), f"no held-out shape could be derived: {reason}")


def _declared(task: TaskSpec, trials: "_Trials") -> set[Shapes]:
    """Shapes that are no longer unseen."""
    tried = [trials.run(dict(variant.constants)) for variant in task.variants]
    return {one.inputs for one in tried if one is not None}


def _named(task: TaskSpec, found: Sequence[Constants]) -> tuple[Variant, ...]:
    taken = {variant.name for variant in task.variants}
    names = (name for number in range(1, 100) if (name := f"held-out-{number}") not in taken)
    return tuple(Variant(name=next(names), constants=constants, held_out=True) for constants in found)


class _Trials:
    """Runs the reference under constants, without memory for its tensors if PyTorch can."""

    def __init__(self, task: TaskSpec, device: Device) -> None:
        self._task = task
        self._device = device
        self._known: dict[frozenset[tuple[str, ConstantValue]], _Tried | None] = {}
        first = next(variant for variant in task.variants if not variant.held_out)
        plain = self._tried(dict(first.constants), fake=True)
        self._fakes = plain is not None
        if plain is not None:
            self._known[frozenset(first.constants.items())] = plain
        self._left = _MOST_TRIES if self._fakes else _MOST_REAL_TRIES

    def run(self, constants: Constants) -> _Tried | None:
        """What it was run on; None if it raises, or if all tries are spent."""
        key = frozenset(constants.items())
        if key not in self._known:
            if self._left == 0:
                return None
            self._left -= 1
            self._known[key] = self._tried(constants, fake=self._fakes)
        return self._known[key]

    def runs_for_real(self, constants: Constants) -> bool:
        """Whether it also runs on values: some errors, such as an index out of range, only values have."""
        return not self._fakes or self._tried(constants, fake=False) is not None

    def _tried(self, constants: Constants, fake: bool) -> _Tried | None:
        variant = Variant(name="derived", constants=constants)
        try:
            with _task_modules_as_they_were(), _without_memory() if fake else nullcontext():
                builder = ReferenceBuilder(self._task, variant, self._device)
                inputs = builder.inputs()
                shapes = tuple(tuple(leaf.shape) for leaf in leaves(inputs))
                with torch.no_grad():
                    outputs = call_user(self._task.name, "forward()", lambda: builder.model(*inputs))
        except TaskError:
            return None
        if not any(leaf.numel() for leaf in leaves(outputs)):
            return None
        return _Tried(shapes, size_bytes(inputs) + size_bytes(dict(builder.model.state_dict())))


@contextmanager
def _without_memory() -> Iterator[None]:
    """Tensors have no memory inside; PyTorch's log keeps still about references that do not run."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    before, log.disabled = log.disabled, True
    try:
        with FakeTensorMode():
            yield
    finally:
        log.disabled = before


@contextmanager
def _task_modules_as_they_were() -> Iterator[None]:
    """Forget the modules of task files loaded inside: those of the session's own variants stay in force."""
    before = {name: module for name, module in sys.modules.items() if name.startswith("everforge_task_")}
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.startswith("everforge_task_")]:
            del sys.modules[name]
        sys.modules.update(before)


class _Search:
    """Looks for constants that move the shapes of the inputs, and for values that the reference bears."""

    def __init__(
        self, trials: _Trials, largest: _Tried, base: Constants, sizes: dict[str, int], rng: random.Random
    ) -> None:
        self._trials = trials
        self._largest = largest
        self._base = base
        self._sizes = sizes
        self._rng = rng

    def found(self, seen: set[Shapes]) -> list[Constants]:
        """Constants of at most two variants with shapes not `seen`."""
        for _ in range(_DRAWS):
            moves = self._moves()
            chosen = self._unseen([self._together(moves), *moves], seen)
            if chosen is not None:
                batch = self._unseen(self._batches(moves), seen | {self._inputs(chosen)}) if len(moves) > 1 else None
                return [chosen] if batch is None else [chosen, batch]
        return []

    def _batches(self, moves: list[Constants]) -> list[Constants]:
        """Moves of the leading size alone: a value of its own if another can be drawn."""
        batches = [move for move in moves if self._is_batch(move)]
        return [drawn for move in batches if (drawn := self._move(list(move)))] + batches

    def _moves(self) -> list[Constants]:
        """For every size that can move, or several of one value that only move together, a smaller value."""
        found, stuck = [], []
        for name in self._sizes:
            move = self._move([name])
            if move:
                found.append(move)
            elif move is None:
                stuck.append(name)
        for value in dict.fromkeys(self._sizes[name] for name in stuck):
            names = [name for name in stuck if self._sizes[name] == value]
            if len(names) > 1 and (move := self._move(names)):
                found.append(move)
        return found

    def _move(self, names: list[str]) -> Constants | None:
        """A smaller value for all these names; empty if it is no size of the inputs, None if nothing runs."""
        for value in smaller_values(self._sizes[names[0]], self._sizes, self._rng):
            move: Constants = dict.fromkeys(names, value)
            tried = self._trials.run(self._base | move)
            if tried is not None and tried.inputs == self._largest.inputs:
                return {}
            if tried is not None and self._is_smaller(tried):
                return move
        return None

    def _is_smaller(self, tried: _Tried) -> bool:
        """Whether no extent of an input grew, and nothing else did either."""
        pairs = list(zip(tried.inputs, self._largest.inputs, strict=False))
        same_ranks = len(tried.inputs) == len(self._largest.inputs) and all(len(a) == len(b) for a, b in pairs)
        shrunk = same_ranks and all(x <= y for a, b in pairs for x, y in zip(a, b, strict=True))
        return shrunk and tried.size_bytes <= self._largest.size_bytes

    def _together(self, moves: list[Constants]) -> Constants:
        """All moves at once, without those that do not run beside the others."""
        joint: Constants = {}
        for move in moves:
            tried = self._trials.run(self._base | joint | move)
            if tried is not None and self._is_smaller(tried):
                joint |= move
        return joint

    def _is_batch(self, move: Constants) -> bool:
        """Whether a move changes the first dimension of the first input, and no other of it."""
        changed, plain = self._inputs(self._base | move)[:1], self._largest.inputs[:1]
        return bool(plain and plain[0]) and changed[0][:1] != plain[0][:1] and changed[0][1:] == plain[0][1:]

    def _inputs(self, constants: Constants) -> Shapes:
        tried = self._trials.run(constants)
        return () if tried is None else tried.inputs

    def _unseen(self, moves: list[Constants], seen: set[Shapes]) -> Constants | None:
        """The first of these moves, as all constants of a variant, that nobody has seen and that really runs."""
        for move in moves:
            constants = self._base | move
            shapes = self._inputs(constants)
            if move and shapes and shapes not in seen and self._trials.runs_for_real(constants):
                return constants
        return None
