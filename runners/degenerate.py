"""Tasks on which a wrong kernel would pass: constant output, output that ignores its inputs, randomness.

Named after the filters of robust-kbench (Sakana AI), applied to float64 truth. Called by `sessions.py` before
any candidate is tried.
"""

import torch

from everforge.errors import TaskError
from everforge.model.task import Mode
from everforge.runners.reference import Case, ReferenceBuilder
from everforge.runners.tensors import leaves

_RANDOM_HINTS = {
    Mode.EVAL: "a reference must be deterministic: take the randomness out of forward()",
    Mode.TRAIN: "in mode train a reference must be deterministic too: dropout needs mode eval",
}


def refuse_degenerate(builder: ReferenceBuilder, cases: tuple[Case, ...]) -> tuple[str, ...]:
    """Raise TaskError for a task that cannot tell kernels apart; return notes on oddities that it survives."""
    name = builder.name
    _refuse_random(builder)
    if not any(_has_finite(truth.values) for case in cases for truth in case.truths):
        raise TaskError(
            f"{name}: the reference's output holds no finite number, so that no wrong kernel could be told; "
            "mend forward() or the values of get_inputs()"
        )
    if all(_is_constant(truth.values) for case in cases for truth in case.truths) and _agree(cases):
        value = cases[0].truths[0].values.flatten()[0].item()
        raise TaskError(
            f"{name}: the reference's output is constant ({value:g} everywhere): any kernel that returns it "
            "would pass; make the output depend on the inputs"
        )
    influence = _influence(builder)
    if influence and not any(influence):
        raise TaskError(
            f"{name}: the reference's output ignores its inputs: fresh inputs give the same output; "
            "return something computed from them"
        )
    return tuple(
        f"variant {builder.variant.name}: the output does not depend on input {index}"
        for index, matters in enumerate(influence)
        if not matters
    )


def _is_constant(truth: torch.Tensor) -> bool:
    return truth.numel() > 0 and bool((truth == truth.flatten()[0]).all())


def _has_finite(truth: torch.Tensor) -> bool:
    return truth.numel() == 0 or bool(torch.isfinite(truth).any())


def _agree(cases: tuple[Case, ...]) -> bool:
    first = cases[0].truths
    return all(torch.equal(a.values, b.values) for case in cases[1:] for a, b in zip(first, case.truths, strict=True))


def _refuse_random(builder: ReferenceBuilder) -> None:
    inputs = builder.inputs()
    first, second = (list(leaves(builder.run(builder.model, inputs))) for _ in range(2))
    for left, right in zip(first, second, strict=True):
        # Atomics may reorder a sum; real randomness such as dropout moves values by far more than this.
        if not torch.allclose(left, right, rtol=1e-2, atol=1e-4, equal_nan=True):
            raise TaskError(f"{builder.name}: two calls on the same inputs differ; {_RANDOM_HINTS[builder.task.mode]}")


def _influence(builder: ReferenceBuilder) -> list[bool]:
    """For each tensor input, whether drawing it afresh changes any output."""
    base, other = builder.inputs(), builder.inputs()
    before = builder.truth(builder.model, base)
    found = []
    for index, value in enumerate(base):
        if isinstance(value, torch.Tensor):
            changed = (*base[:index], other[index], *base[index + 1 :])
            after = builder.truth(builder.model, changed)
            found.append(any(not torch.equal(a, b) for a, b in zip(before, after, strict=True)))
    return found
