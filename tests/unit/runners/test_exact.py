"""The truth is float64 also where a reference makes or keeps float32 tensors, or casts to them."""

import copy
from collections.abc import Callable

import pytest
import torch

from everforge.errors import TaskError
from everforge.model.device import DeviceKind
from everforge.model.precision import Precision
from everforge.model.session import EvaluationSettings
from everforge.model.task import TaskSpec, Variant
from everforge.runners.devices import device_of
from everforge.runners.truth.cases import build_reference
from everforge.runners.truth.exact import InFloat64
from everforge.runners.truth.reference import ReferenceBuilder

TASK = """\
import torch
class Model(torch.nn.Module):
    def forward(self, x):
        # The variants of this file's tests replace the next line.
        {}
def get_inputs():
    return [torch.rand(2, 3)]
def get_init_inputs():
    return []
"""


def builder_of(forward: str, precision: Precision) -> ReferenceBuilder:
    variant = Variant(name="main")
    task = TaskSpec(name="task.py", source=TASK.format(forward), variants=(variant,), precision=precision)
    return ReferenceBuilder(task, variant, device_of(DeviceKind.CPU))


# Not a sum of powers of two: float32 rounds a third at 1e-8.
THIRD = 1 / 3


class Keeps(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)
        self.scale = torch.full((4, 4), 2.0)  # neither parameter nor buffer: .double() does not reach it

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.linear(x) @ self.scale)


def test_plain_attribute_meets_float64_parameters() -> None:
    model, x = Keeps(), torch.rand(2, 4)
    with torch.no_grad(), InFloat64():
        exact = copy.deepcopy(model).double()(x.double())
    assert exact.dtype == torch.float64
    torch.testing.assert_close(exact.float(), model(x))


@pytest.mark.parametrize(
    "forward",
    [
        pytest.param(lambda x: x.float() * THIRD, id="cast"),
        pytest.param(lambda x: x.to(torch.bfloat16) * THIRD, id="cast to bf16"),
        pytest.param(lambda x: torch.full_like(x, THIRD, dtype=torch.float32) * x, id="made"),
        pytest.param(lambda x: torch.sum(x * THIRD, dim=-1, keepdim=True, dtype=torch.float32), id="asked for"),
        pytest.param(lambda x: torch.stack([x * THIRD]).max(0).values, id="tuple of results"),
    ],
)
def test_nothing_is_rounded_below_float64(forward: Callable[[torch.Tensor], torch.Tensor]) -> None:
    x = torch.ones(1, 1, dtype=torch.float64)
    with InFloat64():
        exact = forward(x)
    assert exact.dtype == torch.float64
    assert exact.item() == THIRD


def test_integers_and_booleans_stay_as_they_are() -> None:
    with InFloat64():
        chosen, mask = torch.rand(3, 3).argmax(1), torch.rand(3) > THIRD
    assert chosen.dtype == torch.int64
    assert mask.dtype == torch.bool


def test_reference_that_makes_float32_tensors_has_a_truth() -> None:
    builder = builder_of("return x @ torch.ones(3, 3)", Precision.FP32)
    case = build_reference(builder, EvaluationSettings(seeds=1)).plain
    assert case.truths[0].values.dtype == torch.float64
    assert case.eager_errors[0].relative < 1e-6


def test_reference_that_cannot_run_at_the_policy_is_refused_with_a_remedy() -> None:
    builder = builder_of("return x @ torch.ones(3, 3)", Precision.BF16)
    with pytest.raises(TaskError, match=r"task.py, line 5: forward\(\) failed: .*not in bf16; make its tensors"):
        build_reference(builder, EvaluationSettings(seeds=1))
