"""Tasks on which a wrong kernel would pass: constant output, output that ignores its inputs, randomness.

Named after the filters of robust-kbench (Sakana AI), applied to float64 truth and to the task's own tolerances: what
moves an output by less than eager PyTorch gets wrong cannot be told from nothing. Called by `sessions.py` before any
candidate is tried.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

import torch

from everforge.errors import TaskError
from everforge.model.task import Mode
from everforge.runners.facts.input_structure import same_values
from everforge.runners.facts.randomness import Randomness, randomness_of
from everforge.runners.tensors.trees import Tree, leaves, map_tree
from everforge.runners.truth.compare import Truth, error_of
from everforge.runners.truth.reference import Case, ReferenceBuilder

_RANDOM_HINTS = {
    Mode.EVAL: "a reference must be deterministic: take the randomness out of forward()",
    Mode.TRAIN: "in mode train a reference must be deterministic too: dropout needs mode eval",
}
# Atomics may reorder a sum: at 8 bits of mantissa that moves a norm by less than this, dropout by far more.
_REORDERED = 1e-2
# Where random numbers were seen to be drawn, only the last bits may be an accident.
_REORDERED_FP32 = 1e-5


def refuse_degenerate(builder: ReferenceBuilder, cases: tuple[Case, ...]) -> tuple[str, ...]:
    """Raise TaskError for a task that cannot tell kernels apart; return notes on oddities that it survives."""
    plain = [case for case in cases if case.form is None]
    found = _refuse_random(builder)
    if not any(_has_finite(truth.values) for case in plain for truth in case.truths):
        raise TaskError(
            f"{builder.name}: the reference's output holds no finite number, so that no wrong kernel could be told; "
            "mend forward() or the values of get_inputs()"
        )
    variant = builder.variant.name
    notes = [f"variant {variant}: {note}" for note in (*_constants(builder, plain), *_influences(builder, plain))]
    return (*_random_notes(found, builder.task.mode), *notes)


def _has_finite(truth: torch.Tensor) -> bool:
    return truth.numel() == 0 or bool(torch.isfinite(truth).any())


def _refuse_random(builder: ReferenceBuilder) -> Randomness:
    inputs = builder.inputs()
    first: list[torch.Tensor] = []
    found = randomness_of(builder.model, lambda: first.extend(leaves(builder.run(builder.model, inputs))))
    limit = _REORDERED_FP32 if found.active else _REORDERED
    for left, right in zip(first, leaves(builder.run(builder.model, inputs)), strict=True):
        if _distance(left, right) > limit:
            where = f"; random numbers are drawn by {', '.join(found.active)}" if found.active else ""
            hint = _RANDOM_HINTS[builder.task.mode]
            raise TaskError(f"{builder.name}: two calls on the same inputs differ{where}; {hint}")
    return found


def _distance(left: torch.Tensor, right: torch.Tensor) -> float:
    """Norm of the difference over the norm; infinite where one is not a number and the other is."""
    if not left.numel() or torch.equal(left, right):
        return 0.0
    one, other = left.double(), right.double()
    finite = torch.isfinite(one)
    if not torch.equal(finite, torch.isfinite(other)):
        return float("inf")
    one, other = one[finite], other[finite]
    size = torch.linalg.vector_norm(one).item()
    gap = torch.linalg.vector_norm(one - other).item()
    return gap / size if size > 0 else float(gap > 0)


def _random_notes(found: Randomness, mode: Mode) -> Iterator[str]:
    if found.dormant:
        yield f"mode {mode} turns {', '.join(found.dormant)} off; in mode train the task would be refused as random"
    if found.active:
        yield f"{', '.join(found.active)} draws random numbers, the same ones in every call: a kernel must, too"
    if found.batch_statistics:
        yield f"mode {mode} makes {', '.join(found.batch_statistics)} use the statistics of the batch and keep them"


def _constants(builder: ReferenceBuilder, cases: Sequence[Case]) -> Iterator[str]:
    """Outputs as which a constant would pass. Raises TaskError if all of them are."""
    outputs = range(len(cases[0].truths))
    passing = {index: value for index in outputs if (value := _passing_constant(cases, index)) is not None}
    exact = all(_is_constant(case.truths[index].values) for case in cases for index in passing)
    if len(passing) == len(outputs):
        value = passing[0]
        told = (
            f"the reference's output is constant ({value:g} everywhere): any kernel that returns it would pass"
            if exact
            else f"the reference's output varies by less than its tolerance: a kernel that returns {value:g} would pass"
        )
        raise TaskError(f"{builder.name}: {told}; make the output depend on the inputs")
    for index, value in passing.items():
        yield f"a kernel that returns {value:g} everywhere as output {index} would pass"
    for index in outputs:
        if index not in passing and all(_is_constant(case.truths[index].values) for case in cases):
            yield f"output {index} holds one and the same value everywhere, another one for other inputs"


def _is_constant(truth: torch.Tensor) -> bool:
    return truth.numel() > 1 and bool((truth == truth.flatten()[0]).all())


def _passing_constant(cases: Sequence[Case], index: int) -> float | None:
    """A number that is within tolerance of one output, everywhere and for every seed; None if there is none."""
    truths = [case.truths[index].values for case in cases]
    if not all(truth.numel() and bool(torch.isfinite(truth).all()) for truth in truths):
        return None
    low, high = min(truth.min().item() for truth in truths), max(truth.max().item() for truth in truths)
    mean = sum(truth.double().mean().item() for truth in truths) / len(truths)
    for value in dict.fromkeys((low, mean, (low + high) / 2)):
        if all(_passes(torch.full_like(case.truths[index].values, value), case, index) for case in cases):
            return value
    return None


def _passes(output: torch.Tensor, case: Case, index: int, truth: Truth | None = None) -> bool:
    """Whether a tensor would be taken for one output of a case, or for another truth of it."""
    return case.tolerances[index].ratio(error_of(output, truth or case.truths[index])) <= 1


def _influences(builder: ReferenceBuilder, cases: Sequence[Case]) -> Iterator[str]:
    """Outputs and inputs that do not depend on each other. Raises TaskError if no output depends on any input."""
    base, other = builder.inputs(), builder.inputs()
    fixed = [same_values(*pair) for pair in zip(leaves(base), leaves(other), strict=True)]
    before, after = (builder.truth(builder.model, inputs) for inputs in (base, other))
    truths = [Truth.of(value, value) for value in before]
    replayed = [
        index
        for index, (value, truth) in enumerate(zip(after, truths, strict=True))
        if value.shape == truth.values.shape and _passes(value, cases[0], index, truth) and _replayable(cases, index)
    ]
    if len(replayed) == len(truths):
        why = "get_inputs() gives the same values every time" if all(fixed) and fixed else "it ignores its inputs"
        raise TaskError(
            f"{builder.name}: the reference's output ignores its inputs: fresh inputs give the same output, because "
            f"{why}; return something computed from inputs that differ"
        )
    yield from (f"output {index} is the same for every input, within its tolerance" for index in replayed)
    yield from (
        f"input {index} is the same in every draw: a kernel may have its values built in"
        for index, same in enumerate(fixed)
        if same
    )
    for index in (index for index, same in enumerate(fixed) if not same):
        changed = builder.truth(builder.model, _with_leaf(base, index, list(leaves(other))[index]))
        if (note := _idle_note(index, changed, truths, cases[0])) is not None:
            yield note


def _replayable(cases: Sequence[Case], index: int) -> bool:
    """Whether the output of one seed would pass as that of any other."""
    return all(
        one.truths[index].values.shape == two.truths[index].values.shape
        and _passes(one.truths[index].values, two, index)
        for one, two in combinations(cases, 2)
    )


def _idle_note(index: int, changed: Sequence[torch.Tensor], truths: Sequence[Truth], case: Case) -> str | None:
    """What to say of an input that was drawn afresh without moving an output by more than its tolerance."""
    pairs = list(zip(changed, truths, strict=True))
    if any(value.shape != truth.values.shape for value, truth in pairs):
        return None
    if all(torch.equal(value, truth.values) for value, truth in pairs):
        return f"the output does not depend on input {index}"
    if all(_passes(value, case, number, truth) for number, (value, truth) in enumerate(pairs)):
        return f"input {index} moves the output by less than its tolerance: a kernel that ignores it would pass"
    return None


def _with_leaf(tree: Tree, index: int, value: torch.Tensor) -> Tree:
    """The same tree with one of its tensors, counted in order, replaced."""
    numbers = iter(range(index + 1))
    return map_tree(tree, lambda tensor: value if next(numbers, None) == index else tensor)
