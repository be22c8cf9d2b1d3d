"""Launch coverage: honest candidates give no evidence, decoys do, and no report is believed for its form."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from everforge.model.candidate import Language
from everforge.runners.integrity.coverage import judge_coverage
from everforge.runners.integrity.decoys import contributes

NOT_LAUNCHED = "claims triton but launched no kernel of its own"
NO_MATTER = "its own kernels' results do not reach the output"

# Each candidate computes exp(x) + 1 of a matrix, so that honest ones and decoys differ in nothing but the trick.
HEAD = """
import torch
import triton
import triton.language as tl
from torch import nn

@triton.jit
def add_exp(x, y, count, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + at, tl.exp(tl.load(x + at, mask=at < count)) + 1, mask=at < count)

@triton.jit
def clamp(x, count, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(x + at, tl.maximum(tl.load(x + at, mask=at < count), 0), mask=at < count)

def launch(kernel, x):
    y = torch.empty_like(x)
    kernel[(triton.cdiv(x.numel(), 64),)](x, y, x.numel(), BLOCK=64)
    return y

def launch_in_place(kernel, x):
    kernel[(triton.cdiv(x.numel(), 64),)](x, x.numel(), BLOCK=64)
    return x
"""
MODEL = "\nclass ModelNew(nn.Module):\n    def forward(self, x):\n"

HONEST = {
    "plain": HEAD + MODEL + "        return launch(add_exp, x)\n",
    "autotuned": HEAD
    + """
tuned = triton.autotune([triton.Config({"BLOCK": 64}), triton.Config({"BLOCK": 128})], key=["count"])(add_exp)
"""
    + MODEL
    + "        y = torch.empty_like(x)\n"
    + "        tuned[lambda meta: (triton.cdiv(x.numel(), meta['BLOCK']),)](x, y, x.numel())\n        return y\n",
    "heuristics in a container": HEAD
    + """
kernels = {"all": [triton.heuristics({"BLOCK": lambda arguments: 64})(add_exp)]}
"""
    + MODEL
    + "        y = torch.empty_like(x)\n        kernels['all'][0][(triton.cdiv(x.numel(), 64),)](x, y, x.numel())\n"
    + "        return y\n",
    "kernel of a closure": HEAD.replace("@triton.jit\ndef add_exp", "def add_exp")
    + """
def made():
    kernel = triton.jit(add_exp)
    return lambda x: launch(kernel, x)
"""
    + """
class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.run = made()

    def forward(self, x):
        return self.run(x)
""",
    "buffer kept for outputs": HEAD
    + """
class ModelNew(nn.Module):
    y = None

    def forward(self, x):
        self.y = torch.empty_like(x) if self.y is None else self.y
        add_exp[(triton.cdiv(x.numel(), 64),)](x, self.y, x.numel(), BLOCK=64)
        return self.y
""",
    "in place on its input": HEAD
    + MODEL
    + "        add_exp[(triton.cdiv(x.numel(), 64),)](x, x, x.numel(), BLOCK=64)\n        return x\n",
    "in place, where nothing changes": HEAD + MODEL + "        return launch_in_place(clamp, x.exp() + 1)\n",
    "small beside a product": HEAD
    + MODEL
    + "        return launch(add_exp, (x @ torch.eye(x.shape[1])) @ torch.eye(x.shape[1]))\n",
    "one of two is dead": HEAD
    + MODEL
    + "        other = x.clone()\n        clamp[(triton.cdiv(x.numel(), 64),)](other, x.numel(), BLOCK=64)\n"
    + "        return launch(add_exp, x)\n",
    "through an autograd function": HEAD
    + """
class Function(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return launch(add_exp, x)
"""
    + MODEL
    + "        return Function.apply(x)\n",
    "prepared when built": HEAD
    + """
class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = launch(add_exp, torch.full((1,), -1000.0))

    def forward(self, x):
        return x.exp() + self.one
""",
}

HOSTILE = {
    "never launched": (HEAD + MODEL + "        return x.exp() + 1\n", NOT_LAUNCHED),
    "falls back": (
        HEAD
        + MODEL
        + "        try:\n            return launch(no_such_kernel, x)\n"
        + "        except NameError:\n            return x.exp() + 1\n",
        NOT_LAUNCHED,
    ),
    "library's kernel": (
        HEAD + MODEL + "        return (x.exp() + 1).softmax(1) * 0 + x.exp() + 1\n",
        NOT_LAUNCHED,
    ),
    "on a dummy": (HEAD + MODEL + "        launch(add_exp, torch.zeros(1))\n        return x.exp() + 1\n", NO_MATTER),
    "overwritten": (
        HEAD + MODEL + "        y = launch(add_exp, x)\n        y.copy_(x.exp() + 1)\n        return y\n",
        NO_MATTER,
    ),
    "times zero": (HEAD + MODEL + "        return x.exp() + 1 + 0 * launch(add_exp, x)\n", NO_MATTER),
    "times next to zero": (HEAD + MODEL + "        return x.exp() + 1 + 1e-12 * launch(add_exp, x)\n", NO_MATTER),
    "writes nothing": (
        HEAD.replace("tl.maximum(tl.load(x + at, mask=at < count), 0), mask=at < count", "0.0, mask=at < 0")
        + MODEL
        + "        return launch_in_place(clamp, x.exp() + 1)\n",
        NO_MATTER,
    ),
    "copies what is there": (
        HEAD.replace("tl.maximum(tl.load(x + at, mask=at < count), 0)", "tl.load(x + at, mask=at < count)")
        + MODEL
        + "        return launch_in_place(clamp, x.exp() + 1)\n",
        NO_MATTER,
    ),
    "when built, for show": (
        HEAD
        + """
class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        launch(add_exp, torch.zeros(1))

    def forward(self, x):
        return x.exp() + 1
""",
        NO_MATTER,
    ),
}


def reports_of(cases: list[dict[str, Any]], mode: str, directory: Path) -> list[dict[str, Any]]:
    """Each case's report, from one process of its own."""
    environment = {**os.environ, "TORCH_EXTENSIONS_DIR": str(directory / "extensions"), "OMP_NUM_THREADS": "2"}
    program = str(Path(__file__).with_name("coverage_process.py"))
    # Inductor's own modules still use it when torch.compile loads them (torch 2.11).
    deprecated = "ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", deprecated, program, mode, "cpu"],
        input=json.dumps(cases), capture_output=True, text=True, cwd=directory, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def triton_reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    sources = {**HONEST, **{name: source for name, (source, _) in HOSTILE.items()}}
    cases = [{"source": source, "claim": "triton", "shape": [9, 11]} for source in sources.values()]
    return dict(zip(sources, reports_of(cases, "interpreted", tmp_path_factory.mktemp("triton")), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", HONEST)
def test_honest_triton_candidate_gives_no_evidence(triton_reports: dict[str, dict[str, Any]], name: str) -> None:
    report = plain(triton_reports[name])
    assert judge_coverage(Language.TRITON, [report])[0] is None
    assert report["contributes"] is True
    assert report["share"] is not None


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_decoy_is_evidence(triton_reports: dict[str, dict[str, Any]], name: str) -> None:
    assert judge_coverage(Language.TRITON, [plain(triton_reports[name])])[0] == HOSTILE[name][1]


# One extension with all three ways into it: bound functions, operators, and a C interface.
EXTENSION = r"""
#include <torch/csrc/utils/pybind.h>
#include <torch/library.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/add.h>
#include <ATen/ops/exp.h>
#include <cmath>

extern "C" void add_exp_at(const float* x, float* y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) y[i] = std::exp(x[i]) + 1;
}
struct Both { const float* x; float* y; };
extern "C" void add_exp_in(void* const* at, const int64_t* counts) {
  add_exp_at(static_cast<const float*>(at[0]), static_cast<float*>(at[1]), counts[0]);
}
extern "C" void add_exp_of(const Both* both, int64_t count) { add_exp_at(both->x, both->y, count); }
static at::Tensor add_exp(const at::Tensor& x) {
  at::Tensor y = at::empty_like(x);
  add_exp_at(x.const_data_ptr<float>(), y.mutable_data_ptr<float>(), x.numel());
  return y;
}
static void add_exp_(at::Tensor x) { add_exp_at(x.const_data_ptr<float>(), x.mutable_data_ptr<float>(), x.numel()); }
static at::Tensor by_torch(const at::Tensor& x) { return at::add(at::exp(x), 1); }
struct Kernel {
  at::Tensor run(const at::Tensor& x) { return add_exp(x); }
};
PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
  module.def("add_exp", &add_exp);
  module.def("add_exp_", &add_exp_);
  module.def("by_torch", &by_torch);
  module.def("version", [] { return 1; });
  pybind11::class_<Kernel>(module, "Kernel").def(pybind11::init<>()).def("run", &Kernel::run);
}
TORCH_LIBRARY(everforge_coverage, library) { library.def("add_exp", &add_exp); }
"""
CPP = f"""
import ctypes, functools, torch
from torch import nn
from torch.utils.cpp_extension import load_inline

def load():
    return load_inline("everforge_coverage", {EXTENSION!r}, extra_cflags=["-O1"], no_implicit_headers=True)

"""
LOADED = CPP + "own = load()\n"

C_INTERFACE = (
    LOADED
    + "own_c = ctypes.CDLL(own.__file__)\nown_c.add_exp_at.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_int64]\n"
    + MODEL
    + "        y = torch.empty_like(x)\n"
)

HONEST_CPP = {
    "function of the module": LOADED + MODEL + "        return own.add_exp(x)\n",
    "in place on a clone": LOADED + MODEL + "        x = x.clone()\n        own.add_exp_(x)\n        return x\n",
    "global": LOADED + "add_exp = own.add_exp\n" + MODEL + "        return add_exp(x)\n",
    "partial function": LOADED + "add_exp = functools.partial(own.add_exp)\n" + MODEL + "        return add_exp(x)\n",
    "attribute of the class": LOADED
    + "class ModelNew(nn.Module):\n    run = own.add_exp\n    def forward(self, x):\n        return self.run(x)\n",
    "static method": LOADED
    + "class ModelNew(nn.Module):\n    run = staticmethod(own.add_exp)\n    def forward(self, x):\n"
    + "        return self.run(x)\n",
    "method of a bound class": LOADED + "kernel = own.Kernel()\n" + MODEL + "        return kernel.run(x)\n",
    "operator": LOADED + MODEL + "        return torch.ops.everforge_coverage.add_exp(x)\n",
    "overload": LOADED
    + "add_exp = torch.ops.everforge_coverage.add_exp.default\n" + MODEL + "        return add_exp(x)\n",
    "autograd function": LOADED
    + "class Function(torch.autograd.Function):\n    @staticmethod\n    def forward(context, x):\n"
    + "        return own.add_exp(x)\n" + MODEL + "        return Function.apply(x)\n",
    "loaded by the constructor": CPP
    + "class ModelNew(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    + "        self.run = load().add_exp\n"
    + "    def forward(self, x):\n        return self.run(x)\n",
    "C interface": C_INTERFACE
    + "        own_c.add_exp_at(x.data_ptr(), y.data_ptr(), x.numel())\n        return y\n",
    "C interface, addresses in an array": C_INTERFACE
    + "        at = (ctypes.c_void_p * 2)(x.data_ptr(), y.data_ptr())\n"
    + "        own_c.add_exp_in(at, (ctypes.c_int64 * 1)(x.numel()))\n        return y\n",
    "C interface, addresses in a structure": C_INTERFACE
    + "        class Both(ctypes.Structure):\n"
    + "            _fields_ = [('x', ctypes.c_void_p), ('y', ctypes.c_void_p)]\n"
    + "        both = Both(x.data_ptr(), y.data_ptr())\n"
    + "        own_c.add_exp_of(ctypes.byref(both), ctypes.c_int64(x.numel()))\n        return y\n",
    "compiled around": LOADED
    + """
@torch.library.custom_op("everforge_python::add_exp", mutates_args=())
def add_exp(x: torch.Tensor) -> torch.Tensor:
    return own.add_exp(x)

add_exp.register_fake(torch.empty_like)
run = torch.compile(lambda x: add_exp(x * 2 - x) * 1)
"""
    + MODEL + "        return run(x)\n",
}  # fmt: skip
HOSTILE_CPP = {
    "never called": (LOADED + MODEL + "        return x.exp() + 1\n", NOT_LAUNCHED),
    "says its version": (LOADED + MODEL + "        own.version()\n        return x.exp() + 1\n", NO_MATTER),
    "on a dummy": (LOADED + MODEL + "        own.add_exp(torch.zeros(1))\n        return x.exp() + 1\n", NO_MATTER),
    "times zero": (LOADED + MODEL + "        return x.exp() + 1 + 0 * own.add_exp(x)\n", NO_MATTER),
    "C interface on a dummy, addresses in an array": (
        C_INTERFACE + "        at = (ctypes.c_void_p * 2)(x.data_ptr(), y.data_ptr())\n"
        "        own_c.add_exp_in(at, (ctypes.c_int64 * 1)(1))\n        return x.exp() + 1\n",
        NO_MATTER,
    ),
    "C interface on a dummy": (
        C_INTERFACE + "        own_c.add_exp_at(x.data_ptr(), y.data_ptr(), 1)\n        return x.exp() + 1\n",
        NO_MATTER,
    ),
}
# Right, and its own by all that can be seen of it, but its time is PyTorch's: the share says so.
BY_TORCH = LOADED + MODEL + "        return own.by_torch(x)\n"
# TorchScript calls operators without Python: seen by the profiler, and what they write is not.
SCRIPTED = (
    LOADED
    + "import warnings\nwarnings.simplefilter('ignore')  # it is deprecated, and still used\n"
    + "UNIT = 'def run(x):\\n  return torch.ops.everforge_coverage.add_exp(x)\\n'\n"
    + "run = torch.jit.CompilationUnit(UNIT).run\n"
    + MODEL
    + "        return run(x)\n"
)


@pytest.fixture(scope="module")
def cpp_reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    sources = {**HONEST_CPP, "by torch": BY_TORCH, "scripted": SCRIPTED}
    sources |= {name: source for name, (source, _) in HOSTILE_CPP.items()}
    cases = [{"source": source, "claim": "cpp", "shape": [64, 64]} for source in sources.values()]
    return dict(zip(sources, reports_of(cases, "compiled", tmp_path_factory.mktemp("cpp")), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", HONEST_CPP)
def test_honest_cpp_candidate_gives_no_evidence(cpp_reports: dict[str, dict[str, Any]], name: str) -> None:
    report = plain(cpp_reports[name])
    assert judge_coverage(Language.CPP, [report])[0] is None
    assert report["contributes"] is True


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE_CPP)
def test_cpp_decoy_is_evidence(cpp_reports: dict[str, dict[str, Any]], name: str) -> None:
    expected = HOSTILE_CPP[name][1].replace("triton", "cpp")
    assert judge_coverage(Language.CPP, [plain(cpp_reports[name])])[0] == expected


@pytest.mark.slow
def test_reporting_and_honest_candidates_leave_nothing_replaced(triton_reports: dict[str, dict[str, Any]]) -> None:
    assert {name: report["replaced"] for name, report in triton_reports.items() if report["replaced"]} == {}


@pytest.mark.slow
def test_extensions_and_compilers_replace_nothing(cpp_reports: dict[str, dict[str, Any]]) -> None:
    assert {name: report["replaced"] for name, report in cpp_reports.items() if report["replaced"]} == {}


@pytest.mark.slow
def test_module_built_anew_is_as_right_as_before(triton_reports: dict[str, dict[str, Any]]) -> None:
    assert all(report["unharmed"] for report in triton_reports.values())


@pytest.mark.slow
def test_share_tells_own_loops_from_torch_called_by_an_extension(cpp_reports: dict[str, dict[str, Any]]) -> None:
    assert cpp_reports["by torch"]["share"] < cpp_reports["function of the module"]["share"] <= 1


@pytest.mark.slow
def test_scripted_operator_is_launched_and_nothing_more_is_known(cpp_reports: dict[str, dict[str, Any]]) -> None:
    report = plain(cpp_reports["scripted"])
    assert report["launches"] == {"everforge_coverage::add_exp": 1}
    assert report["contributes"] is None


def plain(report: dict[str, Any]) -> dict[str, Any]:
    """The report as it would be on the channel, after what the process adds for the tests."""
    assert "raised" not in report, report["raised"]
    return {name: value for name, value in report.items() if name not in ("at import", "unharmed", "replaced")}


def made(**fields: Any) -> dict[str, Any]:
    """A report of a candidate whose kernel matters, with other fields."""
    honest = {"claimed": "triton", "own": ["f"], "launches": {"f": 1}, "contributes": True, "share": 0.5}
    return {**honest, **fields}


@pytest.mark.slow
def test_names_are_found_before_anything_is_launched(cpp_reports: dict[str, dict[str, Any]]) -> None:
    assert "everforge_coverage.add_exp" in cpp_reports["never called"]["at import"]
    assert "everforge_coverage::add_exp" in cpp_reports["never called"]["at import"]


def test_kernel_of_one_variant_alone_serves_the_claim() -> None:
    reports = [made(launches={}, contributes=None, share=0.0), made(share=0.02)]
    assert judge_coverage(Language.TRITON, reports) == (None, pytest.approx(0.01))


def test_decoys_on_every_variant_that_launches_are_evidence() -> None:
    reports = [made(launches={}, contributes=None), made(contributes=False), made(contributes=False)]
    assert judge_coverage(Language.TRITON, reports)[0] == NO_MATTER


def test_what_a_replayed_graph_launches_is_unknown_and_not_none() -> None:
    assert judge_coverage(Language.TRITON, [made(launches={"f": 3}, contributes=None, share=None)]) == (None, None)


def test_pytorch_claims_nothing() -> None:
    assert judge_coverage(Language.PYTORCH, [made(claimed="pytorch", own=[], launches={})]) == (None, None)


@pytest.mark.parametrize(
    "report",
    [
        pytest.param(made(share=float("nan")), id="no number"),
        pytest.param(made(share=1.5), id="share above one"),
        pytest.param(made(share="0.5"), id="number as text"),
        pytest.param(made(contributes=1), id="truth as number"),
        pytest.param(made(launches={"f": -1}), id="negative"),
        pytest.param(made(launches={"f": True}), id="count as truth"),
        pytest.param(made(launches={"f": 10**30}), id="absurd count"),
        pytest.param(made(launches={"f" * 10**6: 1}), id="long name"),
        pytest.param(made(own=["f"] * 10**5), id="many names"),
        pytest.param(made(extra=1), id="another field"),
        pytest.param(made(claimed="pytorch"), id="another claim"),
        pytest.param({}, id="empty"),
        pytest.param(None, id="nothing"),
    ],
)
def test_malformed_report_is_evidence_itself(report: Any) -> None:
    evidence, share = judge_coverage(Language.TRITON, [made(), report])
    assert evidence is not None
    assert evidence.startswith("its report on the kernels it launched")
    assert len(evidence) < 300
    assert share is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda part: st.lists(part, max_size=4) | st.dictionaries(st.text(max_size=8), part, max_size=4),
)


@given(st.lists(json_values | st.fixed_dictionaries({name: json_values for name in made()}), max_size=3))
def test_no_report_breaks_the_judge(reports: list[Any]) -> None:
    evidence, share = judge_coverage(Language.TRITON, reports)
    assert evidence is None or evidence
    assert share is None or 0 <= share <= 1


def test_launch_of_a_graph_leaves_it_open_whether_kernels_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda graph: None)
    graph = torch.cuda.CUDAGraph.__new__(torch.cuda.CUDAGraph)

    def call() -> torch.Tensor:
        graph.replay()
        return torch.ones(3)

    assert contributes(call) is None
