"""C++ candidates, compiled and run: values against float64, NaN and infinities as PyTorch has them, other shapes."""

import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from everforge.agents.builtin.cpp_emitter import cpp_space, emit_cpp
from everforge.agents.builtin.planner import plan_graph
from everforge.model.candidate import Language, ParameterValue, language_of
from everforge.model.graph import TaskGraph
from everforge.runners.facts.tracing import trace_task

Function = Callable[..., Any]
INFINITY, NAN = float("inf"), float("nan")


@pytest.fixture(autouse=True, scope="module")
def _extensions_in_a_directory_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("extensions")
        patch.setenv("TORCH_EXTENSIONS_DIR", str(path))
        yield path


class Reference(nn.Module):
    """A reference made of a function of its modules and inputs."""

    def __init__(self, function: Function, *parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(parts)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(self.parts, *inputs)


def source_for(model: nn.Module, inputs: tuple[torch.Tensor, ...], parameters: Mapping[str, ParameterValue]) -> str:
    graph = trace_task(model.eval(), inputs, "v", [])
    assert isinstance(graph, TaskGraph), graph
    return emit_cpp(plan_graph(graph), graph, parameters)


def candidate(
    model: nn.Module, *inputs: torch.Tensor, parameters: Mapping[str, ParameterValue] | None = None
) -> nn.Module:
    """The candidate for a reference, with the reference's state loaded strictly."""
    module = types.ModuleType("candidate")
    exec(compile(source_for(model, inputs, parameters or {}), "candidate.py", "exec"), module.__dict__)
    made: nn.Module = module.ModelNew()
    made.load_state_dict(model.state_dict(), strict=True)
    return made.eval()


def check(model: nn.Module, made: nn.Module, *inputs: torch.Tensor, factor: float = 4.0) -> None:
    """Error against float64 at most `factor` times eager's own, plus a rounding of the largest value."""
    with torch.no_grad():
        eager, got = model.float()(*inputs), made(*inputs)
        exact = model.double()(*(x.double() for x in inputs))
        model.float()
    pairs = [(got, eager, exact)] if isinstance(got, torch.Tensor) else zip(got, eager, exact, strict=True)
    for mine, theirs, truth in pairs:
        assert mine.shape == theirs.shape
        assert mine.dtype == theirs.dtype
        assert torch.equal(mine.isnan(), theirs.isnan())
        assert torch.equal(mine.isinf(), theirs.isinf())
        finite = theirs.isfinite()
        mine, theirs, truth = (x[finite].double() for x in (mine, theirs, truth))
        if truth.numel():
            allowed = factor * (theirs - truth).abs().max() + 2.0**-22 * truth.abs().max()
            assert (mine - truth).abs().max() <= allowed


# elementary functions --------------------------------------------------------------------------------------

FUNCTIONS: dict[str, tuple[Function, float]] = {
    "exp": (torch.exp, 2),
    "expm1": (torch.expm1, 4),
    "log": (torch.log, 2),
    "log1p": (torch.log1p, 4),
    "tanh": (torch.tanh, 4),
    "erf": (torch.erf, 4),
    "sigmoid": (torch.sigmoid, 4),
    "sqrt": (torch.sqrt, 1),
    "rsqrt": (torch.rsqrt, 2),
    "reciprocal": (torch.reciprocal, 1),
    "sin": (torch.sin, 2),
    "floor": (torch.floor, 0),
    "sign": (torch.sign, 0),
}
"""Each function and the units in the last place it may be off."""


def everywhere() -> torch.Tensor:
    """Numbers over all exponents and both signs, dense near where functions change formula, and the extremes."""
    magnitudes = torch.logspace(-44, 38, 20011, dtype=torch.float64)
    dense = torch.linspace(0, 110, 40009, dtype=torch.float64)
    near = torch.linspace(0, 5, 40009, dtype=torch.float64)
    positive = torch.cat([magnitudes, dense, near]).float()
    extremes = torch.tensor([0.0, -0.0, INFINITY, -INFINITY, NAN, 1e-45, 3.4028235e38, 88.7228, -103.97, -87.3, 1.0])
    return torch.cat([positive, -positive, extremes])


@pytest.mark.parametrize("lanes", [16, 8])
def test_functions_are_accurate_over_the_whole_range(lanes: int) -> None:
    numbers = everywhere()
    model = Reference(lambda m, x: tuple(function(x) for function, _ in FUNCTIONS.values()))
    got = candidate(model, numbers, parameters={"lanes": lanes})(numbers)
    for (name, (function, units)), mine in zip(FUNCTIONS.items(), got, strict=True):
        exact = function(numbers.double())
        rounded = exact.float()
        assert torch.equal(mine.isnan(), rounded.isnan()), name
        finite = rounded.isfinite()
        assert torch.equal(mine[~finite & ~rounded.isnan()], rounded[~finite & ~rounded.isnan()]), name
        # Below the smallest normal number sigmoid is 0, here as in PyTorch: 1 + exp(-x) has overflowed.
        unit = exact.abs() * 2.0**-23 + (2.0**-126 if name == "sigmoid" else 2.0**-149)
        off = ((mine.double() - exact).abs() / unit)[finite].max()
        assert off <= units + 1, f"{name}: {off:.1f} units in the last place"


# row programs ----------------------------------------------------------------------------------------------

SHAPES = [(5, 123), (3, 16384), (7, 1), (1, 40000), (64, 17)]

ROWS: dict[str, Reference] = {
    "softmax-lse": Reference(lambda m, x: torch.logsumexp(torch.softmax(x, 1), 1)),
    "softmax and maximum": Reference(lambda m, x: (torch.softmax(x, 1), x.amax(1), x.amin(1, keepdim=True))),
    "log-softmax of a chain": Reference(lambda m, x: functional.log_softmax(torch.tanh(x) * 3 + x, 1)),
    "scan with a tail": Reference(lambda m, x: functional.silu(torch.cumsum(x, 1))),
    "rms norm": Reference(lambda m, x: x * torch.rsqrt(torch.mean(x**2, -1, keepdim=True) + 1e-5)),
    "centred squares": Reference(lambda m, x: ((x - x.mean(1, keepdim=True)) ** 2).sum(1)),
}


@pytest.mark.parametrize("name", ROWS)
def test_one_row_kernel_serves_every_shape(name: str) -> None:
    model = ROWS[name]
    made = candidate(model, torch.randn(4, 64))
    for shape in SHAPES:
        torch.manual_seed(0)
        check(model, made, torch.randn(*shape) * 3)


@pytest.mark.parametrize("name", ROWS)
def test_nan_and_infinite_rows_end_as_in_pytorch(name: str) -> None:
    rows = torch.randn(6, 40)
    rows[0, 3], rows[1, 39], rows[2, 0] = NAN, INFINITY, -INFINITY
    rows[3], rows[4] = -INFINITY, 1e10
    check(ROWS[name], candidate(ROWS[name], torch.randn(4, 64)), rows)


CHOICES: list[dict[str, ParameterValue]] = [
    {"kernel_0_keep_from": 1000},
    {"kernel_0_keep_from": 4, "kernel_0_unroll": 1},
    {"lanes": 8},
    {"kernel_0_streams": True},
]


@pytest.mark.parametrize("parameters", CHOICES, ids=str)
def test_parameters_change_speed_not_values(parameters: dict[str, ParameterValue]) -> None:
    model = Reference(lambda m, x: torch.softmax(functional.gelu(x), 1) * x.std(1, keepdim=True))
    made = candidate(model, torch.randn(4, 64), parameters=parameters)
    for shape in ((5, 123), (2, 20000)):
        check(model, made, torch.randn(*shape))


def test_group_norm_with_affine_parameters_and_odd_images() -> None:
    model = Reference(lambda m, x: functional.mish(m[0](x)), nn.GroupNorm(3, 12))
    nn.init.normal_(model.parts[0].weight)
    nn.init.normal_(model.parts[0].bias)
    made = candidate(model, torch.randn(2, 12, 5, 7))
    check(model, made, torch.randn(2, 12, 5, 7))
    check(model, made, torch.randn(1, 12, 33, 31))


def test_transposed_and_broadcast_operands() -> None:
    model = Reference(lambda m, x, y: torch.exp(-((x + x.T) ** 2)) * y + (y > 0))
    made = candidate(model, torch.randn(37, 37), torch.randn(37, 1))
    check(model, made, torch.randn(37, 37), torch.randn(37, 1))


def test_noncontiguous_inputs_are_taken() -> None:
    model = ROWS["softmax-lse"]
    check(model, candidate(model, torch.randn(4, 64)), torch.randn(64, 9).T)


def test_booleans_are_read_as_they_are() -> None:
    model = Reference(lambda m, x, keep, one: torch.where(one, torch.cumsum(x * keep, 1), -x * keep.T))
    x, keep, one = torch.randn(37, 37), torch.rand(37, 37) > 0.5, torch.rand(37, 1) > 0.5
    torch.testing.assert_close(candidate(model, x, keep, one)(x, keep, one), model(x, keep, one))


def test_product_with_epilogue_and_row_tail() -> None:
    model = Reference(lambda m, x: torch.softmax(functional.gelu(m[0](x)) * 2, 1), nn.Linear(40, 50))
    check(model, candidate(model, torch.randn(9, 40)), torch.randn(9, 40))


def test_unknown_operation_runs_in_pytorch_between_kernels() -> None:
    model = Reference(lambda m, x: torch.sort(x.exp(), 1)[0].cumsum(1))
    check(model, candidate(model, torch.randn(6, 30)), torch.randn(6, 30))


def test_parameters_of_another_variant_load_strictly() -> None:
    made = candidate(Reference(lambda m, x: m[0](x), nn.LayerNorm(24)), torch.randn(3, 24))
    wider = Reference(lambda m, x: m[0](x), nn.LayerNorm(100))
    nn.init.normal_(wider.parts[0].weight)
    made.load_state_dict(wider.state_dict(), strict=True)
    check(wider, made, torch.randn(5, 100))


def test_result_in_place_of_a_temporary_leaves_inputs_alone() -> None:
    model = Reference(lambda m, x, w: torch.relu(x @ w) + 1)
    x, w = torch.randn(8, 8), torch.randn(8, 8)
    kept = x.clone(), w.clone()
    made = candidate(model, x, w)
    first = made(x, w)
    second = made(x, w)
    assert first.data_ptr() != second.data_ptr()
    assert torch.equal(x, kept[0])
    assert torch.equal(w, kept[1])


def test_shape_of_another_structure_is_refused_in_words() -> None:
    made = candidate(Reference(lambda m, x, y: x * y), torch.randn(4, 8), torch.randn(4, 8))
    with pytest.raises(ValueError, match="does not have the structure"):
        made(torch.randn(4, 8), torch.randn(4, 1))


def test_source_names_its_language_and_what_it_fuses() -> None:
    text = source_for(ROWS["softmax-lse"], (torch.randn(4, 64),), {})
    assert language_of(text) is Language.CPP
    assert "row program fuses softmax, logsumexp" in text


def test_first_choice_of_every_parameter_is_its_default() -> None:
    graph = trace_task(ROWS["softmax-lse"], [torch.randn(4, 64)], "v", [])
    assert isinstance(graph, TaskGraph)
    plan = plan_graph(graph)
    defaults = {name: choices[0] for name, choices in cpp_space(plan).items()}
    assert emit_cpp(plan, graph, defaults) == emit_cpp(plan, graph, {})


# chains nobody thought of ----------------------------------------------------------------------------------

CHAIN: dict[str, Function] = {
    "tanh": torch.tanh,
    "square": torch.square,
    "clamp": lambda x: x.clamp(-0.5, 2.0),
    "gelu": functional.gelu,
    "softplus": functional.softplus,
    "leaky": functional.leaky_relu,
    "hardswish": functional.hardswish,
    "shift": lambda x: x * 0.5 - 1.0,
    "sigmoid": torch.sigmoid,
    "absolute": lambda x: torch.sqrt(torch.abs(x) + 0.1),
    "choose": lambda x: torch.where(x < 0, x, -x),
    "elu": functional.elu,
    "softmax": lambda x: torch.softmax(x, -1),
}


@settings(max_examples=6)
@given(st.lists(st.lists(st.sampled_from(sorted(CHAIN)), min_size=1, max_size=6), min_size=5, max_size=5))
def test_random_chains_agree_with_pytorch(chains: list[list[str]]) -> None:
    def forward(m: nn.ModuleList, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        results = []
        for names, x in zip(chains, inputs, strict=True):
            for name in names:
                x = CHAIN[name](x)
            results.append(x)
        return tuple(results)

    torch.manual_seed(0)
    inputs = tuple(torch.randn(3 + n, 29 * (n + 1)) for n in range(len(chains)))
    model = Reference(forward)
    check(model, candidate(model, *inputs), *inputs, factor=8.0)
