"""Comparing outputs with float64 truth. Tolerance is derived from what eager PyTorch itself gets wrong.

Runs in the trusted parent only. Called by `reference.py` to learn the tolerance and by `trial.py` to judge.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch

# Eager's error can be 0 (a ReLU) or lucky; 8 units of float32 rounding are allowed in any case, so that another
# order of summation or an exp of 2 ulp passes, and zeros in place of a softmax (error 1) do not.
FLOOR_RELATIVE = 8 * 2.0**-23
# The largest error of one seed scatters more than the norm does: the cap is this much wider than the factor.
CAP_SLACK = 2.0


@dataclass(frozen=True)
class Error:
    """Error of one output against float64: relative Frobenius norm and largest absolute difference.

    For integers and booleans `relative` is the share of elements that differ.
    """

    relative: float
    largest: float


@dataclass(frozen=True)
class Tolerance:
    """What one output may be off by."""

    relative: float
    largest: float

    def ratio(self, error: Error) -> float:
        """Error over tolerance, the worse of both measures; above 1 is too much."""
        return max(_over(error.relative, self.relative), _over(error.largest, self.largest))


@dataclass(frozen=True)
class Finding:
    """The outcome of one comparison. `detail` says what is wrong, None if nothing is."""

    error_ratio: float | None
    max_error: float | None
    detail: str | None


def _over(value: float, limit: float) -> float:
    return value / limit if limit > 0 else (0.0 if value == 0 else float("inf"))


@dataclass(frozen=True)
class Truth:
    """One output in float64, its size, and eager's output where either of them is not finite throughout."""

    values: torch.Tensor
    norm: float
    largest: float
    odd: torch.Tensor | None

    @classmethod
    def of(cls, values: torch.Tensor, eager: torch.Tensor) -> "Truth":
        """Measure a truth once, so that no trial has to."""
        if not values.is_floating_point() or values.numel() == 0:
            return cls(values, norm=0.0, largest=0.0, odd=None)
        finite = _finite_part(values)
        odd = None if finite is values and _finite_part(eager) is eager else eager
        return cls(values, *_sizes(finite), odd)


def _sizes(values: torch.Tensor) -> tuple[float, float]:
    """Frobenius norm and largest magnitude."""
    return torch.linalg.vector_norm(values).item(), torch.linalg.vector_norm(values, float("inf")).item()


def _finite_part(values: torch.Tensor) -> torch.Tensor:
    """The tensor itself where it is finite throughout, which one pass tells; else with zeros for the rest."""
    if math.isfinite(values.sum(dtype=torch.float64).item()):
        return values
    return torch.where(torch.isfinite(values), values, 0.0)


def error_of(output: torch.Tensor, truth: Truth) -> Error:
    """Error over the elements where both are finite."""
    if not truth.values.is_floating_point():
        share = (output != truth.values).double().mean().item() if output.numel() else 0.0
        return Error(relative=share, largest=0.0)
    if output.numel() == 0:
        return Error(relative=0.0, largest=0.0)
    distance, largest = _sizes(_finite_part(truth.values - output))
    return Error(relative=distance / truth.norm if truth.norm > 0 else distance, largest=largest)


def tolerance_of(errors: list[Error], truths: list[Truth], factor: float) -> Tolerance:
    """The tolerance of one output, from eager's errors over all seeds of a variant."""
    if not truths[0].values.is_floating_point():
        # An argmax may fall the other way on a near tie as often as eager's does.
        return Tolerance(relative=factor * max(error.relative for error in errors), largest=0.0)
    scale = max(truth.largest for truth in truths)
    return Tolerance(
        relative=max(factor * max(error.relative for error in errors), FLOOR_RELATIVE),
        largest=CAP_SLACK * max(factor * max(error.largest for error in errors), FLOOR_RELATIVE * scale),
    )


def compare(outputs: list[torch.Tensor], truths: list[Truth], tolerances: list[Tolerance]) -> Finding:
    """Judge outputs of the right form. NaN and infinities must be where the truth or eager has them."""
    worst, largest = 0.0, 0.0
    for index, (output, truth) in enumerate(zip(outputs, truths, strict=True)):
        if (odd := _odd_values(output, truth)) is not None:
            return Finding(None, None, f"output {index}: {odd}")
        error = error_of(output, truth)
        worst = max(worst, tolerances[index].ratio(error))
        largest = max(largest, error.largest)
    detail = None
    if worst > 1:
        detail = f"error is {worst:.3g} times what is allowed (largest absolute error {largest:.3g})"
    return Finding(min(worst, 1e300), largest, detail)


def _odd_values(output: torch.Tensor, truth: Truth) -> str | None:
    """NaN or infinity where neither float64 nor eager has one, or a finite value where both have none."""
    if not truth.values.is_floating_point() or (truth.odd is None and _finite_part(output) is output):
        return None
    values, eager = truth.values, truth.values if truth.odd is None else truth.odd
    expected = torch.isfinite(values) & torch.isfinite(eager)
    stray = int((expected & ~torch.isfinite(output)).sum())
    if stray:
        return f"{stray} of {output.numel()} elements are NaN or infinite where the reference is finite"
    both_nan = torch.isnan(values) & torch.isnan(eager)
    both_infinite = torch.isinf(values) & torch.isinf(eager)
    lost = int((both_nan & ~torch.isnan(output)).sum() + (both_infinite & (output != eager)).sum())
    return f"{lost} elements lack the NaN or infinity the reference has" if lost else None


def form_difference(description: dict[str, Any], expected: dict[str, Any]) -> str:
    """One phrase on how the form of an output differs from the reference's."""
    if "tensor" not in description or "tensor" not in expected:
        return f"returns {_form(description)}, the reference returns {_form(expected)}"
    for part in ("shape", "dtype", "device"):
        if description[part] != expected[part]:
            return f"output has {part} {description[part]}, the reference has {expected[part]}"
    return "output has another memory layout than the reference's"


def _form(description: dict[str, Any]) -> str:
    for kind in ("tuple", "list", "dict"):
        if kind in description:
            return f"a {kind} of {len(description[kind])}"
    return "one tensor" if "tensor" in description else "a plain value"
