"""C++ candidates bear what their makers never saw: other shapes, views, other scales, an empty batch."""

import copy
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest
import torch

from everforge.agents.builtin.abilities import TRITON
from everforge.agents.builtin.cpp_emitter import emit_cpp
from everforge.agents.builtin.plan import Plan
from everforge.agents.builtin.planner import plan_graph
from everforge.agents.builtin.shape_bound import bound_of, reference_text, shape_numbers
from everforge.agents.builtin.triton_emitter import emit_triton
from everforge.model.device import DeviceKind
from everforge.model.graph import TaskGraph
from everforge.model.task import InputContract, TaskSpec, Variant
from everforge.runners.devices import device_of
from everforge.runners.facts.held_out import derived_variants
from everforge.runners.facts.tracing import trace_task
from everforge.runners.rules.static_rules import judge_source
from everforge.runners.tensors.trees import leaves
from everforge.runners.truth.input_forms import hostile_forms
from everforge.runners.truth.reference import ReferenceBuilder

CPU = device_of(DeviceKind.CPU)
EVERY_FORM = InputContract(empty_batch=True)
MAIN = Variant(name="main")


@pytest.fixture(autouse=True, scope="module")
def _extensions_in_a_directory_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path_factory.mktemp("extensions")))
        yield


def task_of(constants: str, inputs: str, forward: str, init: str = "pass", given: str = "") -> TaskSpec:
    """A task whose forward is an expression of `xs`, its inputs; `init` may use `width`, which `given` names."""
    source = f"""\
import json
import math
import torch
from torch import nn
from torch.nn import functional as F
{constants}
names = json.loads("[]")
class Model(nn.Module):
    def __init__(self, width=0):
        super().__init__()
        {init}
    def forward(self, *xs):
        return {forward}
def get_inputs():
    return [{inputs}]
def get_init_inputs():
    return [{given}]
"""
    return TaskSpec(name="task.py", source=source, variants=(MAIN,))


ROWS = "batch_size = 24\nwidth = 60\n"
ONE, TWO = "torch.randn(batch_size, width)", "torch.randn(batch_size, width), torch.rand(batch_size, width)"
# Whatever overflows or cancels if it is written carelessly, in one candidate, since compiling takes the time.
SATURATING = task_of(
    ROWS,
    ONE,
    "(F.gelu(xs[0]), F.mish(xs[0]), F.softplus(xs[0]), torch.sigmoid(xs[0]), torch.tanh(xs[0]), F.silu(xs[0]),"
    " F.elu(xs[0]), F.hardswish(xs[0]), F.logsigmoid(xs[0]), torch.expm1(-xs[0].abs()))",
)
ROW_PROGRAMS = task_of(
    ROWS,
    ONE,
    "(torch.softmax(xs[0] * 9, 1), torch.logsumexp(xs[0] * 9, 1), F.log_softmax(xs[0], 1), torch.cumsum(xs[0], 1),"
    " F.layer_norm(xs[0], xs[0].shape[1:]), xs[0] * torch.rsqrt(xs[0].pow(2).mean(1, keepdim=True) + 1e-5),"
    " xs[0].amax(1))",
)
IMAGES = task_of(
    "batch_size = 4\nchannels = 12\nheight = 10\nwide = 14\n",
    "torch.randn(batch_size, channels, height, wide)",
    "F.mish(F.group_norm(xs[0], 3)).mean((2, 3))",
)
PRODUCT = task_of(
    "batch_size = 16\nk = 40\n", "torch.randn(batch_size, k), torch.randn(k, 24)", "F.gelu(xs[0] @ xs[1])"
)
SERVES_ANY_SHAPE = {"saturating": SATURATING, "rows": ROW_PROGRAMS, "images": IMAGES, "product": PRODUCT}

ATTENTION = "torch.softmax(xs[0] @ xs[0].mT / xs[0].shape[-1] ** 0.5, -1) @ xs[0]"
BOUND = {
    "mean over the batch": task_of(ROWS, TWO, "torch.relu(xs[0] * xs[1]) / xs[0].shape[0]"),
    "scale of attention": task_of(
        "batch_size = 3\nlength = 10\nwidth = 24\n", "torch.randn(batch_size, length, width)", ATTENTION
    ),
    "halves": task_of(ROWS, ONE, "F.silu(xs[0][:, : xs[0].shape[1] // 2]) * 2"),
    "parameters": task_of(
        ROWS,
        ONE,
        "torch.tanh(self.norm(F.linear(xs[0], self.weight, self.bias))) / math.sqrt(xs[0].shape[1])",
        "self.norm = nn.LayerNorm(width); self.weight = nn.Parameter(torch.randn(width, width));"
        " self.bias = nn.Parameter(torch.randn(width))",
        "width",
    ),
}


def graph_of(task: TaskSpec, variant: Variant = MAIN) -> TaskGraph:
    builder = ReferenceBuilder(task, variant, CPU)
    graph = trace_task(builder.model, builder.inputs(), variant.name, builder.init_args)
    assert isinstance(graph, TaskGraph), graph
    return graph


def planned(task: TaskSpec, *shown: Variant) -> tuple[Plan, TaskGraph]:
    """The plan made of the first variant, bound to the shapes of those it serves if it must be."""
    graphs = [graph_of(task, variant) for variant in shown or task.variants]
    plan = plan_graph(graphs[0])
    return replace(plan, bound=bound_of(plan, graphs[0], graphs, task.source)), graphs[0]


def candidate_class(plan: Plan, graph: TaskGraph) -> Callable[..., torch.nn.Module]:
    module = types.ModuleType("candidate")
    exec(compile(emit_cpp(plan, graph, {}), "candidate.py", "exec"), module.__dict__)
    made: Callable[..., torch.nn.Module] = module.ModelNew
    return made


def check_everywhere(task: TaskSpec, make: Callable[..., torch.nn.Module], variant: Variant) -> set[str]:
    """Compare the candidate with the reference in every form of a variant's inputs; the forms that were tried."""
    builder = ReferenceBuilder(task, variant, CPU)
    made = make(*builder.init_args)
    made.load_state_dict(builder.model.state_dict(), strict=True)
    plain, tried = builder.inputs(), set()
    for label, inputs in (("plain", plain), *hostile_forms(plain, EVERY_FORM)):
        try:
            eager = outputs_of(builder.model, inputs)
            exact = outputs_of(copy.deepcopy(builder.model).double(), tuple(x.double() for x in inputs))
        except Exception:  # noqa: BLE001 - the reference refuses this form in whatever way it does
            continue
        with torch.no_grad():
            got = list(leaves(made(*inputs)))
        for mine, theirs, truth in zip(got, eager, exact, strict=False):
            compare(mine, theirs, truth, f"{label} of {variant.constants}")
        tried.add(label)
    return tried


def outputs_of(model: torch.nn.Module, inputs: Any) -> list[torch.Tensor]:
    with torch.no_grad():
        return list(leaves(model(*inputs)))


def compare(mine: torch.Tensor, theirs: torch.Tensor, truth: torch.Tensor, where: str) -> None:
    assert (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype), where
    assert torch.equal(mine.isfinite(), theirs.isfinite()), where
    finite = theirs.isfinite()
    mine, theirs, truth = (x[finite].double() for x in (mine, theirs, truth))
    if truth.numel():
        allowed = 4 * (theirs - truth).abs().max() + 2.0**-22 * truth.abs().max()
        assert (mine - truth).abs().max() <= allowed, where


@pytest.mark.parametrize("name", SERVES_ANY_SHAPE)
def test_one_kernel_bears_unseen_shapes_and_every_form(name: str) -> None:
    task = SERVES_ANY_SHAPE[name]
    plan, graph = planned(task)
    assert plan.bound is None
    make, unseen = candidate_class(plan, graph), derived_variants(task, CPU, Random(4)).variants
    assert len(unseen) == 2
    for variant in (MAIN, *unseen):
        tried = check_everywhere(task, make, variant)
        assert {"plain", "transposed in memory", "at an odd offset", "times 0.01", "times 32"} <= tried
        assert "empty batch" in tried


@pytest.mark.parametrize("name", BOUND)
def test_numbers_that_follow_from_shapes_bind_a_plan_which_is_right_elsewhere_too(name: str) -> None:
    task = BOUND[name]
    plan, graph = planned(task)
    assert plan.bound is not None
    make = candidate_class(plan, graph)
    for variant in (MAIN, *derived_variants(task, CPU, Random(4)).variants):
        assert "plain" in check_everywhere(task, make, variant)


def test_the_fused_kernel_runs_at_the_shapes_a_plan_is_bound_to() -> None:
    task = BOUND["mean over the batch"]
    plan, graph = planned(task)
    make = candidate_class(plan, graph)
    made = make()
    made._arguments = None  # type: ignore[assignment]  # what the way through the reference begins with
    made(*ReferenceBuilder(task, MAIN, CPU).inputs())
    with pytest.raises(TypeError):
        made(torch.randn(5, 60), torch.randn(5, 60))


def test_variants_that_give_other_numbers_are_left_to_the_reference() -> None:
    task, small = BOUND["mean over the batch"], Variant(name="small", constants={"batch_size": 7})
    plan, _ = planned(task, MAIN, small)
    assert plan.bound is not None
    assert plan.bound.shapes == (((24, 60), (24, 60)),)


def test_variants_that_share_a_bound_plan_are_all_served() -> None:
    task, wide = BOUND["mean over the batch"], Variant(name="wide", constants={"width": 80})
    plan, _ = planned(task, MAIN, wide)
    assert plan.bound is not None
    assert set(plan.bound.shapes) == {((24, 60), (24, 60)), ((24, 80), (24, 80))}


@pytest.mark.parametrize("name", BOUND)
@pytest.mark.parametrize("write", ["C++", "Triton"])
def test_static_rules_let_the_reference_in_a_candidate_through(name: str, write: str) -> None:
    plan, graph = planned(BOUND[name])
    text = emit_cpp(plan, graph, {}) if write == "C++" else emit_triton(plan, graph, {}, DeviceKind.CUDA)
    assert judge_source(text) is None
    assert "json" not in text


@pytest.mark.parametrize(
    ("forward", "said"),
    [
        pytest.param("xs[0] * 2 + 0.5", [], id="small numbers"),
        pytest.param("F.gelu(xs[0])", [], id="constants of a function"),
        pytest.param("xs[0].mean(1)", [], id="a mean counts its columns"),
        pytest.param("xs[0] / 24", ["aten.div.Tensor computes with 24"], id="batch"),
        pytest.param("xs[0] * (1 / 60)", ["aten.mul.Tensor computes with 0.0166667"], id="over the width"),
        pytest.param("xs[0] * 20 ** 0.5", ["aten.mul.Tensor computes with 4.47214"], id="root of a third"),
        pytest.param("torch.sort(xs[0].exp(), 1)[0][:, :30]", ["aten.slice.Tensor has the size 30"], id="half"),
    ],
)
def test_shape_numbers_are_found(forward: str, said: list[str]) -> None:
    graph = graph_of(task_of(ROWS, ONE, forward))
    assert set(said) <= set(shape_numbers(plan_graph(graph), graph))
    assert said or not list(shape_numbers(plan_graph(graph), graph))


def test_windows_that_drop_a_rest_elsewhere_bind_a_plan() -> None:
    graph = graph_of(task_of(ROWS, ONE, "F.max_pool1d(xs[0].unsqueeze(1), 4).squeeze(1)"))
    assert "max_pool1d takes whole windows" in set(shape_numbers(plan_graph(graph, TRITON), graph))


def test_reference_text_is_the_model_and_what_it_names() -> None:
    source = (
        "import os\nimport torch\nfrom torch import nn\nsize = 4\nunused = os.getcwd()\n"
        "def double(x):\n    return x * size\n"
        "class Model(nn.Module):\n    def forward(self, x):\n        return double(x)\n"
        "def get_inputs():\n    return [torch.rand(size)]\n"
    )
    text = reference_text(source)
    assert "double" in text
    assert "size = 4" in text
    assert not {"os", "unused", "get_inputs", "import torch"} & set(text.splitlines() + text.split())
