"""Means and variances of wide rows in C++: one sweep folds both, as accurately as two, at any shape."""

import types
from typing import Any

import plan_interpreter as interpreter
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from everforge.agents.builtin.cpp_emitter import emit_cpp
from everforge.agents.builtin.cpp_schedule import joint_moments, scheduled
from everforge.agents.builtin.plan import KernelRegion
from everforge.agents.builtin.planner import plan_graph

WIDE = (2, 37, 2100)


traced = interpreter.traced


@pytest.fixture(autouse=True, scope="module")
def _extensions_in_a_directory_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path_factory.mktemp("extensions")))
        yield


def normalised(m: nn.ModuleList, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Plain, of a costly prologue, far from 0, and moments alone."""
    shape = x.shape[1:]
    return (
        *(F.layer_norm(x, shape), F.gelu(F.layer_norm(torch.exp(x), shape)), F.layer_norm(x * 0.01 + 100, shape)),
        *(x.var((1, 2)), x.mean((1, 2)), F.group_norm(torch.tanh(x), 1)),
    )


def region_of(*shape: int) -> KernelRegion:
    plan = plan_graph(traced(lambda m, x: F.layer_norm(x, x.shape[1:]), torch.randn(*shape)))
    (step,) = plan.steps
    assert isinstance(step, KernelRegion)
    return step


@pytest.fixture(scope="module")
def made() -> nn.Module:
    graph = traced(normalised, torch.randn(*WIDE))
    module = types.ModuleType("candidate")
    exec(compile(emit_cpp(plan_graph(graph), graph, {}), "candidate.py", "exec"), module.__dict__)
    candidate: nn.Module = module.ModelNew()
    return candidate


def check(made: nn.Module, x: torch.Tensor) -> None:
    """Error against float64 at most four times eager's own, plus a rounding of the largest value."""
    eager, exact = normalised(nn.ModuleList(), x), normalised(nn.ModuleList(), x.double())
    for mine, theirs, truth in zip(made(x), eager, exact, strict=True):
        assert torch.equal(mine.isnan(), truth.isnan())
        assert torch.equal(mine.isinf(), truth.isinf())
        finite = truth.isfinite() & theirs.isfinite()
        allowed = 4 * (theirs - truth)[finite].abs().amax() + 2.0**-22 * truth[finite].abs().amax()
        assert (mine - truth)[finite].abs().amax() <= allowed


@pytest.mark.parametrize("shape", [WIDE, (1, 5, 40000), (3, 1, 70), (2, 1, 2), (5, 3, 8193)], ids=str)
def test_one_sweep_is_as_accurate_as_eager_at_every_shape(made: nn.Module, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    check(made, torch.randn(*shape))


def test_infinite_rows_have_pytorchs_mean_beside_a_variance_that_is_nan(made: nn.Module) -> None:
    x = torch.randn(5, 37, 2100)
    x[0, 3, 5], x[1, 0, 0], x[2, 36, 2099] = float("inf"), float("nan"), float("-inf")
    x[3, 0, 0], x[3, 30, 7] = float("inf"), float("-inf")
    *_, variance, mean, _ = made(x)
    assert mean[:3].isinf().tolist() == [True, False, True]
    assert variance[:4].isnan().all()
    assert torch.equal(mean.isnan(), x.double().mean((1, 2)).isnan())


def test_image_groups_of_several_channels_are_folded_at_once() -> None:
    norm = nn.GroupNorm(2, 4)
    nn.init.normal_(norm.weight)
    x = torch.randn(2, 4, 128, 257)
    graph = traced(lambda m, x: m[0](x), x, parts=(norm,))
    module = types.ModuleType("candidate")
    source = emit_cpp(plan_graph(graph), graph, {})
    exec(compile(source, "candidate.py", "exec"), module.__dict__)
    candidate = module.ModelNew()
    candidate.load_state_dict({f"parts.0.{name}": value for name, value in norm.state_dict().items()})
    assert "Moments" in source
    torch.testing.assert_close(candidate(x).double(), norm.double()(x.double()), rtol=2e-6, atol=2e-6)


def test_wide_rows_are_swept_once_before_they_are_stored() -> None:
    assert [len(sweep.moments) for sweep in scheduled(region_of(3, 1 << 16), 4)] == [1, 0]


def test_rows_that_caches_hold_are_read_again() -> None:
    assert not joint_moments(region_of(3, 1000))
