"""Honest candidates of every style pass the static rules, and no cut through them breaks the rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everforge.runners.rules.static_rules import judge_source

MODEL = "\nclass ModelNew:\n    pass\n"

HONEST = {
    "pointwise": """
import torch
import torch.nn as nn
import torch.nn.functional as F

class ModelNew(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.gelu(self.linear(x)).select(0, 1)
""",
    "triton-autotune": """
import torch, triton
import triton.language as tl

@triton.autotune(
    configs=[triton.Config({"BLOCK": b}, num_warps=w) for b in (256, 512) for w in (4, 8)], key=["n"]
)
@triton.heuristics({"EVEN": lambda args: args["n"] % args["BLOCK"] == 0})
@triton.jit
def kernel(x_ptr, y_ptr, n, BLOCK: tl.constexpr, EVEN: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + offsets, tl.math.exp(tl.load(x_ptr + offsets, mask=offsets < n)), mask=offsets < n)

class ModelNew(torch.nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        kernel[lambda meta: (triton.cdiv(x.numel(), meta["BLOCK"]),)](x, y, x.numel())
        return y
""",
    "triton-libdevice": """
import triton
from triton.language.extra import libdevice
from triton.language.extra.cuda import libdevice as tldevice
from triton.tools.tensor_descriptor import TensorDescriptor
from triton.runtime import driver
PROGRAMS = driver.active.utils.get_device_properties(driver.active.get_current_device())["multiprocessor_count"]
"""
    + MODEL,
    "triton-random-and-inline-asm": """
import triton, triton.language as tl
@triton.jit
def noisy(x, seed):
    value = tl.random.rand(seed, tl.arange(0, 128))
    return tl.inline_asm_elementwise("ex2.approx.f32 $0, $1;", "=f,f", [value], dtype=tl.float32, is_pure=True, pack=1)
"""
    + MODEL,
    "triton-set-allocator": """
import torch, triton
triton.set_allocator(lambda size, alignment, stream: torch.empty(size, device="cuda", dtype=torch.int8))
"""
    + MODEL,
    "load-inline-cpp": '''
import torch
from torch.utils.cpp_extension import load_inline

SOURCE = r"""
#include <torch/extension.h>
#include <ATen/Parallel.h>
#include <immintrin.h>
#include <vector>
// an early exit (when empty) keeps the clock (of the core) low; see http://example.org/open (section 2)
torch::Tensor relu(torch::Tensor x) {
    TORCH_CHECK(x.is_contiguous(), "x must be \\"contiguous\\"");
    auto y = x.clone();
    float* p = y.data_ptr<float>();
    #pragma omp parallel for
    for (int64_t i = 0; i < y.numel(); ++i) p[i] = p[i] > 0 ? p[i] : 1'000.0f * 0;
    return y;
}
"""
module = load_inline(name="relu", cpp_sources=SOURCE, functions=["relu"], extra_cflags=["-O3", "-fopenmp"])

class ModelNew(torch.nn.Module):
    def forward(self, x):
        return module.relu(x)
''',
    "load-inline-cuda": '''
import torch, torch.utils.cpp_extension
from string import Template
import textwrap
CUDA = Template("""
#include <cuda_runtime.h>
__global__ void scale(float* x, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    asm volatile("cp.async.commit_group;");
    if (i < n) x[i] *= $factor;
}
void launch(torch::Tensor x) { scale<<<1, 256, 0, at::cuda::getCurrentCUDAStream()>>>(x.data_ptr<float>(), 1); }
""").substitute(factor=2)
built = torch.utils.cpp_extension.load_inline(
    name="scale", cpp_sources="void launch(torch::Tensor x);", cuda_sources=textwrap.dedent(CUDA), functions=["launch"]
)
'''
    + MODEL,
    "library-through-ctypes": """
import ctypes
from torch.utils import cpp_extension

def build():
    return cpp_extension.load_inline(name="k", cpp_sources="extern \\"C\\" void k(float*, long);", functions=[])

library = ctypes.CDLL(build().__file__)
library.k.argtypes = [ctypes.c_void_p, ctypes.c_long]
library.k.restype = None

class ModelNew:
    def forward(self, x):
        library.k(ctypes.c_void_p(x.data_ptr()), x.numel())
        return x
""",
    "library-by-kernel-name": """
import ctypes
import hashlib
from torch.utils.cpp_extension import load_inline

SOURCE = "extern \\"C\\" void scale(float** at, const long* sizes, int threads) {}"
_library = ctypes.CDLL(
    load_inline(
        name="k" + hashlib.sha256(SOURCE.encode()).hexdigest()[:16],
        cpp_sources=[SOURCE],
        is_python_module=False,
        no_implicit_headers=True,
    )
)

def _run(kernel, tensors):
    at = (ctypes.c_void_p * len(tensors))(*[tensor.data_ptr() for tensor in tensors])
    getattr(_library, kernel)(at, (ctypes.c_int64 * 1)(4), 2)

class ModelNew:
    def forward(self, x):
        _run("scale", [x])
        return x
""",
    "cuda-graph": """
import torch

class ModelNew(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.graph = None

    def forward(self, x):
        if self.graph is None:
            self.static_x = x.clone()
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.static_y = self.static_x.relu()
        self.static_x.copy_(x)
        self.graph.replay()
        return self.static_y.clone()
""",
    "streams-joined": """
import torch

class ModelNew(torch.nn.Module):
    def forward(self, x):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            y = x * 2
            done = torch.cuda.Event()
            done.record(side)
        torch.cuda.current_stream().wait_event(done)
        y.record_stream(torch.cuda.current_stream())
        return y
""",
    "cached-transposes": """
import torch
import torch.nn as nn

class ModelNew(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n, n))
        self.register_buffer("packed", torch.empty(0), persistent=False)
        self._register_load_state_dict_pre_hook(self._forget)
        self.register_load_state_dict_post_hook(lambda module, keys: module.pack())

    def _forget(self, state_dict, prefix, *args):
        self.packed = None

    @torch.no_grad()
    def pack(self):
        self.packed = self.weight.t().contiguous()
""",
    "load-state-dict-override": """
import torch

class ModelNew(torch.nn.Module):
    def load_state_dict(self, state_dict, strict=True, assign=False):
        result = super().load_state_dict(state_dict, strict=strict, assign=assign)
        self.ready = False
        return result

    def _load_from_state_dict(self, state_dict, prefix, *args):
        super()._load_from_state_dict(state_dict, prefix, *args)
""",
    "torch-compile": """
import torch

@torch.compile(mode="max-autotune", dynamic=False)
def fused(x):
    return torch.softmax(x, -1).logsumexp(-1)

class ModelNew(torch.nn.Module):
    def __init__(self, compile: bool = True):
        super().__init__()
        self.run = torch.compile(fused) if compile else fused
""",
    "settings": """
import torch
import torch._inductor.config as inductor_config

torch.backends.cuda.matmul.allow_tf32 = True
torch.backends.cudnn.benchmark = True
torch.backends.cudnn.conv.fp32_precision = "tf32"
torch.set_float32_matmul_precision("high")
torch._dynamo.config.cache_size_limit = 64
inductor_config.triton.cudagraphs = False
torch.set_num_threads(2)
"""
    + MODEL,
    "dataclasses-and-caches": """
from __future__ import annotations
import functools, itertools, math, operator, warnings, contextlib, copy
from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Any, Optional, Tuple

@dataclass(frozen=True)
class Plan:
    block: int = 128
    names: dict[str, int] = field(default_factory=dict)

@functools.lru_cache(maxsize=None)
def plan_for(n: int) -> Plan:
    return Plan(block=1 << math.ceil(math.log2(n)))

total = functools.reduce(operator.mul, [1, 2, 3])
"""
    + MODEL,
    "autograd-function": """
import torch

class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        ctx.size = x.numel()
        return x * x

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * x * grad

class ModelNew(torch.nn.Module):
    def forward(self, x):
        return Square.apply(x)
""",
    "custom-op": """
import torch

@torch.library.custom_op("mine::double", mutates_args=())
def double(x: torch.Tensor) -> torch.Tensor:
    return x * 2

@double.register_fake
def _(x):
    return torch.empty_like(x)

class ModelNew(torch.nn.Module):
    def forward(self, x):
        return torch.ops.mine.double(x) + torch.ops.aten.select.int(x, 0, 0)
""",
    "operators-in-a-namespace-of-its-own": """
import torch
from torch.library import Library, impl, register_autograd, register_kernel

fragment = Library("mine", "FRAGMENT")
fragment.define("triple(Tensor x) -> Tensor")

@impl("mine::triple", "CPU")
def triple(x):
    return x * 3

@torch.library.custom_op("mine::double", mutates_args=())
def double(x: torch.Tensor) -> torch.Tensor:
    return x * 2

@register_kernel("mine::double", "cuda")
def double_on_cuda(x):
    return x + x

register_autograd(double, lambda context, grad: grad * 2)

@torch.library.register_fake("mine::triple")
def _(x):
    return torch.empty_like(x)
"""
    + MODEL,
    "torch-library-in-cpp": """
from torch.utils.cpp_extension import load_inline
SOURCE = '''
TORCH_LIBRARY(mine, m) { m.def("f(Tensor x) -> Tensor"); }
TORCH_LIBRARY_IMPL(mine, CPU, m) { m.impl("f", &f); }
TORCH_LIBRARY_IMPL(aten_like, CUDA, m) {}
'''
"""
    + MODEL,
    "what-inductor-writes": """
import torch
import torch._inductor.config
from torch._inductor.runtime import triton_helpers
from torch._inductor.runtime.triton_helpers import libdevice, math as tl_math
import torch._dynamo

torch._inductor.config.coordinate_descent_tuning = True
torch._dynamo.reset()

@torch._dynamo.disable
def plain(x):
    torch._dynamo.mark_dynamic(x, 0)
    return x
"""
    + MODEL,
    "prepacked-and-named": """
import enum
from types import MappingProxyType, SimpleNamespace
from torch.utils import mkldnn

class Kind(enum.Enum):
    WIDE = 1

PLAN = SimpleNamespace(block=128, kinds=MappingProxyType(dict(Kind.__members__)))

class ModelNew:
    cache = None

    def prepare(self, layer):
        ModelNew.cache = mkldnn.to_mkldnn(layer)
""",
    "attributes-by-name": """
import torch.nn as nn

class ModelNew(nn.Module):
    def __init__(self, layers):
        super().__init__()
        for i in range(layers):
            setattr(self, f"layer_{i}", nn.Linear(4, 4))
            setattr(self, "norm%d" % i, nn.LayerNorm(4))

    def forward(self, x):
        for i in range(2):
            x = getattr(self, "layer_" + str(i))(x)
        for name, _ in self.named_parameters():
            *path, leaf = name.split(".")
            x = x + getattr(self.get_submodule(".".join(path)), leaf)
        return x if getattr(self, "bias", None) is None else x + self.bias
""",
    "object-setattr": """
import torch

class ModelNew(torch.nn.Module):
    def __init__(self):
        super().__init__()
        object.__setattr__(self, "hidden", torch.zeros(1))
        self.__dict__["cache"] = {}

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
""",
    "private-operators": """
import torch
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.utils import _pair

class ModelNew(_BatchNorm):
    def forward(self, x, scale):
        torch._foreach_add_([x], 1.0)
        return torch._scaled_mm(x, x, scale, scale) + torch._weight_norm(x, x)
""",
    "fallback-in-try": """
import torch
try:
    import triton
    import triton.language as tl
    HAS_TRITON = True
except ImportError:
    triton = None
    HAS_TRITON = False

class ModelNew(torch.nn.Module):
    def forward(self, x):
        try:
            return self.fast(x)
        except RuntimeError as error:
            warning = str(error)
            return x.relu()
""",
    "names-of-builtins-as-parameters": """
class ModelNew:
    def build(self, open, compile=False, *, input=None, **vars):
        return [open, compile, input, vars, (lambda exec: exec + 1)(2)]
""",
    "printing-and-main": """
class ModelNew:
    pass

if __name__ == "__main__":
    print(f"version {ModelNew.__name__} {ModelNew().__class__.__name__}", type(ModelNew()))
""",
    "class-in-a-branch": """
import torch
if torch.cuda.is_available():
    class ModelNew(torch.nn.Module):
        pass
else:
    class ModelNew(torch.nn.Module):
        pass
""",
    "prose-that-names-bad-things": '''
"""Reads nothing from /proc/self, never touches __globals__ and does not fork()."""
# import os; eval("x")
class ModelNew:
    """No sys._getframe here."""
    text = "open the file, then exec the system"
''',
    "utf8-cookie-and-escapes": "# -*- coding: utf-8 -*-\nPATTERN = '\\d µ'\n" + MODEL,
    "torch-jit-script": """
import torch

@torch.jit.script
def scripted(x: torch.Tensor) -> torch.Tensor:
    return x.relu()

traced = torch.jit.trace(scripted, torch.zeros(1))
"""
    + MODEL,
    "sdpa-and-checkpoint": """
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint
from torch.utils.dlpack import from_dlpack
"""
    + MODEL,
}


# What is refused, and the rule that refuses it; the line that breaks it ends in `#!`.
@pytest.mark.parametrize("source", HONEST.values(), ids=HONEST.keys())
def test_honest_candidate_passes(source: str) -> None:
    assert judge_source(source) is None


@given(st.sampled_from(sorted(HONEST.values())), st.data())
def test_cut_candidates_never_raise(source: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(source)))
    end = data.draw(st.integers(start, len(source)))
    judge_source(source[:start] + source[end:])
