"""Launch coverage: honest candidates give no evidence, decoys do, and no report is believed for its form."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch._C._autograd import DeviceType

from everforge.model.candidate import Language
from everforge.runners.coverage import judge_coverage
from everforge.runners.kernel_share import share_of_events

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
    "in place, where nothing changes": HEAD
    + MODEL
    + "        y = x.exp() + 1\n        clamp[(triton.cdiv(y.numel(), 64),)](y, y.numel(), BLOCK=64)\n        return y\n",
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
        HEAD.replace("tl.store(x + at,", "tl.store(x + at + count,").replace("mask=at < count)\n\ndef", "mask=at < 0)\n\ndef")
        + MODEL
        + "        y = x.exp() + 1\n        clamp[(1,)](y, y.numel(), BLOCK=64)\n        return y\n",
        NO_MATTER,
    ),
    "copies what is there": (
        HEAD.replace("tl.maximum(tl.load(x + at, mask=at < count), 0)", "tl.load(x + at, mask=at < count)")
        + MODEL
        + "        y = x.exp() + 1\n        clamp[(triton.cdiv(y.numel(), 64),)](y, y.numel(), BLOCK=64)\n        return y\n",
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
    done = subprocess.run(
        [sys.executable, "-W", "error", program, mode],
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


@pytest.mark.parametrize("name", HONEST)
def test_honest_triton_candidate_gives_no_evidence(triton_reports: dict[str, dict[str, Any]], name: str) -> None:
    report = plain(triton_reports[name])
    assert judge_coverage(Language.TRITON, [report])[0] is None
    assert report["contributes"] is True
    assert report["share"] is not None


@pytest.mark.parametrize("name", HOSTILE)
def test_decoy_is_evidence(triton_reports: dict[str, dict[str, Any]], name: str) -> None:
    assert judge_coverage(Language.TRITON, [plain(triton_reports[name])])[0] == HOSTILE[name][1]


def plain(report: dict[str, Any]) -> dict[str, Any]:
    """The report as it would be on the channel, after what the process adds for the tests."""
    assert "raised" not in report, report["raised"]
    return {name: value for name, value in report.items() if name not in ("at import", "unharmed")}
