"""Tolerance follows eager's own error; what is wrong is found whatever its size."""

import pytest
import torch

from everforge.runners.tensors.trees import describe
from everforge.runners.truth.compare import (
    FLOOR_RELATIVE,
    Finding,
    Tolerance,
    Truth,
    compare,
    error_of,
    form_difference,
    tolerance_of,
)

FACTOR = 4.0


def judge(output: torch.Tensor, truth: torch.Tensor, eager: torch.Tensor) -> Finding:
    measured = Truth.of(truth, eager)
    tolerance = tolerance_of([error_of(eager, measured)], [measured], FACTOR)
    return compare([output], [measured], [tolerance])


@pytest.fixture
def softmax() -> tuple[torch.Tensor, torch.Tensor]:
    """Truth and eager of a softmax over 16k columns: every value is about 1/16384."""
    torch.manual_seed(0)
    x = torch.rand(4, 16384)
    return torch.softmax(x.double(), 1), torch.softmax(x, 1)


def test_eager_itself_passes(softmax: tuple[torch.Tensor, torch.Tensor]) -> None:
    truth, eager = softmax
    finding = judge(eager, truth, eager)
    assert finding.detail is None
    assert finding.error_ratio is not None
    assert finding.error_ratio <= 1 / FACTOR


def test_zeros_fail_where_every_value_is_tiny(softmax: tuple[torch.Tensor, torch.Tensor]) -> None:
    truth, eager = softmax
    assert judge(torch.zeros_like(eager), truth, eager).detail is not None


def test_one_wrong_element_in_65536_fails(softmax: tuple[torch.Tensor, torch.Tensor]) -> None:
    truth, eager = softmax
    wrong = eager.clone()
    wrong[3, 77] *= 1.5
    finding = judge(wrong, truth, eager)
    assert finding.detail is not None
    assert "times what is allowed" in finding.detail


def test_reordered_sum_passes_though_eager_is_exact() -> None:
    truth = torch.ones(64, dtype=torch.float64)
    output = torch.ones(64) + 2.0**-22
    assert judge(output, truth, torch.ones(64)).detail is None
    assert judge(output + 1e-4, truth, torch.ones(64)).detail is not None


def test_bf16_result_fails_under_an_fp32_policy(softmax: tuple[torch.Tensor, torch.Tensor]) -> None:
    truth, eager = softmax
    assert judge(eager.bfloat16().float(), truth, eager).detail is not None


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_stray_nan_or_infinity_fails(odd: float) -> None:
    truth, eager = torch.ones(5, dtype=torch.float64), torch.ones(5)
    output = eager.clone()
    output[2] = odd
    assert judge(output, truth, eager).detail == (
        "output 0: 1 of 5 elements are NaN or infinite where the reference is finite"
    )


def test_infinity_of_the_reference_must_be_kept() -> None:
    eager = torch.tensor([1.0, float("-inf")])
    assert judge(eager, eager.double(), eager).detail is None
    assert judge(torch.tensor([1.0, -1e30]), eager.double(), eager).detail is not None


def test_overflow_of_eager_alone_is_not_held_against_a_candidate() -> None:
    truth, eager = torch.tensor([1e300, 1.0], dtype=torch.float64), torch.tensor([float("inf"), 1.0])
    assert judge(torch.tensor([float("inf"), 1.0]), truth, eager).detail is None


def test_integers_must_be_equal() -> None:
    truth = torch.tensor([1, 2, 3])
    assert judge(truth, truth, truth).detail is None
    assert judge(truth + 1, truth, truth).detail is not None


def test_tolerance_has_a_floor() -> None:
    truth = torch.full((4,), 8.0, dtype=torch.float64)
    measured = Truth.of(truth, truth.float())
    tolerance = tolerance_of([error_of(truth.float(), measured)], [measured], FACTOR)
    assert tolerance == Tolerance(relative=FLOOR_RELATIVE, largest=2 * FLOOR_RELATIVE * 8.0)


def test_difference_of_form_is_said_in_words() -> None:
    one, _ = describe(torch.ones(2, 3))
    assert form_difference(describe(torch.ones(3, 2))[0], one) == ("output has shape [3, 2], the reference has [2, 3]")
    assert "dtype float64" in form_difference(describe(torch.ones(2, 3).double())[0], one)
    assert form_difference(describe((torch.ones(2),))[0], one) == (
        "returns a tuple of 1, the reference returns one tensor"
    )
    assert "layout" in form_difference(describe(torch.ones(3, 2).T)[0], one)
