"""The static rules: what honest candidates do passes, what hostile ones try is refused with the right line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everforge.model.verdict import Verdict
from everforge.runners.static_rules import (
    MAX_SOURCE_BYTES,
    MOST_VIOLATIONS,
    Rule,
    check_source,
    judge_source,
)

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
HOSTILE = {
    "import-os": (Rule.IMPORT, "import os  #!"),
    "import-sys-in-function": (Rule.IMPORT, "def f():\n    import torch, sys  #!"),
    "import-from-os": (Rule.IMPORT, "from os import _exit as leave  #!"),
    "import-time": (Rule.IMPORT, "import time  #!"),
    "import-gc": (Rule.IMPORT, "import gc  #!"),
    "import-inspect": (Rule.IMPORT, "x = 1\nimport inspect  #!"),
    "import-threading": (Rule.IMPORT, "from threading import Thread  #!"),
    "import-signal": (Rule.IMPORT, "import signal  #!"),
    "import-subprocess": (Rule.IMPORT, "try:\n    import subprocess  #!\nexcept ImportError: pass"),
    "import-multiprocessing": (Rule.IMPORT, "import torch.multiprocessing as mp  #!"),
    "import-distributed": (Rule.IMPORT, "from torch import distributed  #!"),
    "import-data": (Rule.IMPORT, "from torch.utils.data import DataLoader  #!"),
    "import-benchmark": (Rule.IMPORT, "from torch.utils.benchmark import Timer  #!"),
    "import-profiler": (Rule.IMPORT, "from torch.profiler import profile  #!"),
    "import-do-bench": (Rule.IMPORT, "from triton.testing import do_bench  #!"),
    "import-carried-module": (Rule.IMPORT, "from torch import os as o  #!"),
    "import-private-carried-module": (Rule.IMPORT, "from collections import _sys  #!"),
    "import-everything": (Rule.IMPORT, "from torch import *  #!"),
    "import-relative": (Rule.IMPORT, "from . import task  #!"),
    "import-the-harness": (Rule.IMPORT, "from everforge.runners import worker  #!"),
    "import-the-task": (Rule.IMPORT, "import reference  #!"),
    "import-dispatch-mode": (
        Rule.IMPORT,
        "from torch.utils._python_dispatch import TorchDispatchMode  #!",
    ),
    "import-numpy": (Rule.IMPORT, "import numpy as np  #!"),
    "import-fx": (Rule.IMPORT, "import torch.fx  #!"),
    "carried-os": (Rule.ATTRIBUTE, "import torch\ntorch.os.system('true')  #!"),
    "carried-through-alias": (Rule.ATTRIBUTE, "import torch\nt = torch\ns = t.cuda\ns.threading.Thread()  #!"),
    "carried-through-self": (
        Rule.ATTRIBUTE,
        "import torch\nclass A:\n    def f(self):\n        self.t = torch\n        return self.t.hub.load  #!",
    ),
    "carried-detour": (
        Rule.ATTRIBUTE,
        "import torch.nn.functional as F\nF.torch.load('weights')  #!",
    ),
    "carried-returned": (Rule.ATTRIBUTE, "import torch\ndef f():\n    return torch\nf().sys.modules  #!"),
    "torch-c": (Rule.ATTRIBUTE, "import torch\ntorch._C._jit_clear_class_registry()  #!"),
    "torch-load": (Rule.ATTRIBUTE, "import torch\nx = torch.load('/tmp/expected.pt')  #!"),
    "torch-from-file": (Rule.ATTRIBUTE, "import torch\nx = torch.from_file('/proc/self/maps')  #!"),
    "torch-jit-fork": (Rule.ATTRIBUTE, "import torch\ntorch.jit.fork(print)  #!"),
    "torch-cudart": (Rule.ATTRIBUTE, "import torch\ntorch.cuda.cudart().cudaProfilerStart()  #!"),
    "torch-library-override": (Rule.ATTRIBUTE, "import torch\ntorch.library.Library('aten', 'IMPL')  #!"),
    "global-module-hook": (
        Rule.ATTRIBUTE,
        "import torch\ntorch.nn.modules.module.register_module_forward_hook(print)  #!",
    ),
    "get-type-hints": (Rule.ATTRIBUTE, "import typing\ntyping.get_type_hints(print)  #!"),
    "attrgetter": (Rule.IMPORT, "from operator import attrgetter  #!"),
    "elapsed-time-read": (Rule.ATTRIBUTE, "def f(a, b):\n    return a.elapsed_time(b)  #!"),
    "patch-elapsed-time": (Rule.PATCH, "import torch\ntorch.cuda.Event.elapsed_time = lambda a, b: 0  #!"),
    "patch-allclose": (Rule.PATCH, "import torch\n\ntorch.allclose = lambda *a: True  #!"),
    "patch-through-import": (
        Rule.PATCH,
        "from torch.cuda import Event as E\nE.record = print  #!",
    ),
    "patch-load-state-dict": (
        Rule.PATCH,
        "import torch.nn as nn\nnn.Module.load_state_dict = print  #!",
    ),
    "patch-synchronize": (Rule.PATCH, "import torch\nsetattr(torch.cuda, 'synchronize', print)  #!"),
    "patch-by-object-setattr": (Rule.PATCH, "import torch\nobject.__setattr__(torch, 'equal', print)  #!"),
    "patch-by-type-setattr": (
        Rule.PATCH,
        "import torch\ntype.__setattr__(torch.cuda.Event, 'record', print)  #!",
    ),
    "patch-in-for-target": (Rule.PATCH, "import torch\nfor torch.equal in [print]:  #!\n    pass"),
    "patch-in-with-target": (Rule.PATCH, "import torch\nwith f() as torch.equal:  #!\n    pass"),
    "patch-in-unpacking": (Rule.PATCH, "import torch\nx, torch.equal = 1, print  #!"),
    "patch-augmented": (Rule.PATCH, "import math\nmath.pi += 1  #!"),
    "patch-deletes": (Rule.PATCH, "import torch\ndel torch.equal  #!"),
    "patch-class-of-input": (Rule.PATCH, "def f(x):\n    type(x).__add__ = None  #!"),
    "patch-dunder-class": (Rule.PATCH, "def f(x):\n    x.__class__.relu = None  #!"),
    "patch-module-dict": (Rule.ATTRIBUTE, "import torch\ntorch.__dict__['equal'] = print  #!"),
    "patch-config-object": (Rule.PATCH, "import torch\ntorch.backends.cuda.is_built = print  #!"),
    "patch-triton-launch": (Rule.PATCH, "import triton\ntriton.runtime.jit.JITFunction.run = print  #!"),
    "replace-driver": (
        Rule.ATTRIBUTE,
        "from triton.runtime import driver\ndriver.set_active(None)  #!",
    ),
    "eval": (Rule.BUILTIN, "x = eval('1')  #!"),
    "eval-in-fullwidth-letters": (Rule.BUILTIN, "x = ｅｖａｌ('1')  #!"),
    "exec-in-default": (Rule.BUILTIN, "def f(exec=exec('1')):  #!\n    pass"),
    "exec-aliased": (Rule.BUILTIN, "run = [exec][0]  #!"),
    "compile": (Rule.BUILTIN, "compile('1', 'f', 'eval')  #!"),
    "open": (Rule.BUILTIN, "with open('/tmp/x') as f:  #!\n    pass"),
    "dunder-import": (Rule.BUILTIN, "o = __import__('os')  #!"),
    "globals": (Rule.BUILTIN, "globals()['x'] = 1  #!"),
    "vars-of-module": (Rule.BUILTIN, "import torch\nvars(torch)['os']  #!"),
    "builtin-shadowed-at-module-level": (Rule.BUILTIN, "if 0:\n    eval = 1\neval('1')  #!"),
    "dunder-builtins": (Rule.BUILTIN, "b = __builtins__  #!"),
    "getattr-on-module": (Rule.ATTRIBUTE, "import torch\ngetattr(torch, 'o' + 's')  #!"),
    "getattr-constant": (Rule.ATTRIBUTE, "import torch\ngetattr(torch, 'hub')  #!"),
    "getattr-computed-on-function": (Rule.ATTRIBUTE, "def f(n):\n    return getattr(f, n)  #!"),
    "getattr-computed-on-method": (
        Rule.ATTRIBUTE,
        "class A:\n    def f(self, n):\n        return getattr(self.f, n)  #!",
    ),
    "getattr-computed-on-class": (Rule.ATTRIBUTE, "def f(x, n):\n    return getattr(type(x), n)  #!"),
    "getattr-joined": (Rule.ATTRIBUTE, "def f(x):\n    return getattr(x, ''.join(['a', 'b']))  #!"),
    "getattr-computed-dunder": (Rule.ATTRIBUTE, "def f(x):\n    return getattr(x, '__glo' + 'bals__')  #!"),
    "getattr-formatted": (Rule.ATTRIBUTE, "def f(x, n):\n    return getattr(x, f'f_{n}')  #!"),
    "getattr-passed-on": (Rule.BUILTIN, "from functools import reduce\nreduce(getattr, ['a'], 1)  #!"),
    "getattr-starred": (Rule.BUILTIN, "def f(*a):\n    return getattr(*a)  #!"),
    "subclasses-walk": (Rule.ATTRIBUTE, "().__class__.__base__.__subclasses__()  #!"),
    "function-globals": (Rule.ATTRIBUTE, "def f(): pass\nf.__globals__['x']  #!"),
    "code-object": (Rule.ATTRIBUTE, "def f(): pass\nf.__code__ = None  #!"),
    "frame-walk": (
        Rule.ATTRIBUTE,
        "try:\n    1 / 0\nexcept Exception as e:\n    e.__traceback__.tb_frame.f_back  #!",
    ),
    "generator-frame": (Rule.ATTRIBUTE, "g = (i for i in [1])\ng.gi_frame.f_back  #!"),
    "getattribute": (Rule.ATTRIBUTE, "import torch\nobject.__getattribute__(torch, 'os')  #!"),
    "bound-builtin-self": (Rule.ATTRIBUTE, "print.__self__.eval  #!"),
    "match-attribute": (
        Rule.ATTRIBUTE,
        "import torch\nmatch torch:\n    case object(os=found):  #!\n        pass",
    ),
    "hidden-in-string": (Rule.TEXT, "'{0.__globals__}'.format(print)  #!"),
    "hidden-in-sum": (Rule.TEXT, "x = '__glo' + 'bals__'  #!"),
    "proc-path": (Rule.TEXT, "PATH = '/proc/self/maps'  #!"),
    "long-chain": (Rule.ATTRIBUTE, "import torch\nx = torch" + ".a" * 40 + "  #!"),
    "tensor-subclass": (Rule.SUBCLASS, "import torch\nclass Lazy(torch.Tensor):  #!\n    pass"),
    "torch-function": (
        Rule.SUBCLASS,
        "class Proxy:\n    def __torch_function__(self, *a):  #!\n        pass",
    ),
    "as-subclass": (Rule.ATTRIBUTE, "def f(x, c):\n    return x.as_subclass(c)  #!"),
    "three-argument-type": (Rule.BUILTIN, "T = type('T', (object,), {})  #!"),
    "match-args": (Rule.NAME, "class M:\n    __match_args__ = ('a',)  #!"),
    "ctypes-libc-through-the-kernel": (
        Rule.LIBRARY,
        "import ctypes\nfrom torch.utils.cpp_extension import load\nctypes.CDLL(load('k', [])).system(b'true')  #!",
    ),
    "ctypes-libc": (Rule.LIBRARY, "import ctypes\nctypes.CDLL(None)  #!"),
    "ctypes-cudart": (Rule.LIBRARY, "import ctypes\nlib = ctypes.CDLL('libcudart.so')  #!"),
    "ctypes-pythonapi": (Rule.ATTRIBUTE, "import ctypes\nctypes.pythonapi.PyErr_SetInterrupt()  #!"),
    "ctypes-cast": (Rule.IMPORT, "from ctypes import cast, py_object  #!"),
    "ctypes-from-address": (
        Rule.ATTRIBUTE,
        "import ctypes\n(ctypes.c_float * 4).from_address(4096)  #!",
    ),
    "loader-internals": (
        Rule.ATTRIBUTE,
        "import torch\ntorch.utils.cpp_extension._run_ninja_build  #!",
    ),
    "utf7": (Rule.ENCODING, "# coding: utf-7  #!"),
    "hidden-second-line-encoding": (Rule.ENCODING, "#\x0b\u2028\n# vim: set fileencoding=unicode_escape :  #!"),
}

NATIVE_HOSTILE = [
    "pid_t p = fork();",
    'system("true");',
    "#include <unistd.h>",
    "#include <sys/ptrace.h>",
    'auto f = fopen("x", "r");',
    'std::ifstream maps("x");',
    'const char* maps = "/proc/self/maps";',
    "std::thread worker(run);",
    "#include <thread>",
    "auto now = std::chrono::steady_clock::now();",
    "unsigned long long t = __rdtsc();",
    'void* h = dlopen("libcudart.so", 1);',
    'PyRun_SimpleString("1");',
    'py::module_::import("os");',
    'auto loss = object.attr("__class__");',
    "_exit(0);",
    "signal(SIGALRM, handler);",
    "cudaLaunchHostFunc(stream, later, nullptr);",
    '"/*"; fork(); "*/"',
    "auto n = 1'0; const char* a = \"/*'\"; fork(); // '*/",
    'R"(")"; "/*"; fork(); "*/"',
    "// comment \\\n/*\nfork();",
]


@pytest.mark.parametrize("source", HONEST.values(), ids=HONEST.keys())
def test_honest_candidate_passes(source: str) -> None:
    assert judge_source(source) is None


@pytest.mark.parametrize(("rule", "snippet"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_candidate_is_rejected_at_its_line(rule: Rule, snippet: str) -> None:
    line = next(number for number, text in enumerate(snippet.split("\n"), start=1) if text.endswith("#!"))
    finding = judge_source(snippet + "\n" + MODEL)
    assert finding is not None
    assert finding.verdict is Verdict.REJECTED
    assert (line, rule) in [(violation.line, violation.rule) for violation in finding.violations]
    assert {violation.line for violation in finding.violations} == {line}
    assert finding.reason.startswith(f"line {line}: ")


@pytest.mark.parametrize("code", NATIVE_HOSTILE)
def test_hostile_native_code_is_rejected_at_its_line(code: str) -> None:
    source = f"from torch.utils.cpp_extension import load_inline\nSOURCE = r'''\nint one = 1;\n{code}\n'''\n{MODEL}"
    finding = judge_source(source)
    assert finding is not None
    assert finding.verdict is Verdict.REJECTED
    (violation,) = finding.violations
    assert violation.rule is Rule.NATIVE
    assert violation.line == 4 + code.count("\n")


def test_native_text_in_pieces_is_read_as_one() -> None:
    source = "import torch.utils.cpp_extension\nA = 'int x; fo' + 'rk();'\nB = f'sys{str()}tem(0)'\n" + MODEL
    assert [violation.line for violation in check_source(source)] == [2, 3]


def test_native_rules_need_a_loader() -> None:
    assert judge_source("HELP = 'call system(x) or fork()'" + MODEL) is None


@pytest.mark.parametrize(
    ("source", "line", "says"),
    [
        pytest.param("x = 1\nclass ModelNew(:\n", 2, "syntax", id="syntax"),
        pytest.param("", 1, "ModelNew", id="empty"),
        pytest.param("class Model:\n    class ModelNew: pass\n", 1, "ModelNew", id="nested-class"),
        pytest.param("def f():\n    class ModelNew: pass\n", 1, "ModelNew", id="class-in-a-function"),
        pytest.param("class ModelNew: pass\n\0", 1, "null bytes", id="null-byte"),
        pytest.param("x = '\ud800'" + MODEL, 1, "parse", id="lone-surrogate"),
        pytest.param("(" * 5000, 1, "parentheses", id="parentheses"),
        pytest.param("-" * 100000 + "1", 1, "parse", id="unary-signs"),
        pytest.param("x = 1" + " + 1" * 50000, 1, "recursion", id="long-sum"),
        pytest.param("x = y" + ".a" * 50000, 1, "recursion", id="long-chain"),
        pytest.param("".join(" " * i + "if 1:\n" for i in range(120)), 101, "indentation", id="indentation"),
    ],
)
def test_text_that_is_no_candidate_is_a_compile_error(source: str, line: int, says: str) -> None:
    finding = judge_source(source)
    assert finding is not None
    assert finding.verdict is Verdict.COMPILE_ERROR
    assert finding.reason.startswith(f"line {line}: ")
    assert says in finding.reason


def test_no_candidate_outweighs_a_broken_rule() -> None:
    finding = judge_source("import os\n")
    assert finding is not None
    assert finding.verdict is Verdict.COMPILE_ERROR
    assert {violation.rule for violation in finding.violations} == {Rule.IMPORT, Rule.MODEL_CLASS}


def test_source_over_the_limit_is_rejected_unparsed() -> None:
    finding = judge_source("(" * (1 << 20))
    assert finding is not None
    assert finding.verdict is Verdict.REJECTED
    assert str(MAX_SOURCE_BYTES) in finding.reason


def test_size_counts_bytes_not_characters() -> None:
    comment = "# " + "µ" * (MAX_SOURCE_BYTES // 2) + "\n"
    assert [violation.rule for violation in check_source(comment + MODEL)] == [Rule.SIZE]


def test_source_just_under_the_limit_is_judged() -> None:
    padding = "x = f(1, 2)\n" * ((MAX_SOURCE_BYTES - 100) // 12)
    assert judge_source(padding + MODEL) is None
    assert judge_source(padding + "import os\n" + MODEL) is not None


def test_violations_come_in_order_and_not_without_end() -> None:
    found = check_source("import os\n" * 1000 + MODEL)
    assert len(found) == MOST_VIOLATIONS
    assert [violation.line for violation in found] == list(range(1, MOST_VIOLATIONS + 1))


def test_reason_says_how_many_more() -> None:
    finding = judge_source("import os\nimport sys\n" + MODEL)
    assert finding is not None
    assert finding.reason.startswith("line 1: import of os: it reaches the operating system")
    assert finding.reason.endswith("(and 1 more)")


PIECES = (
    "import from torch . os as x = ( ) [ ] { } : \n \t def class ModelNew lambda getattr 'a' f'{x}' __globals__ #"
    " coding: \0 \ud800 + * , @ match case if for in with del type super \\ ' \" 1 async await"
)


@given(
    st.text()
    | st.lists(st.sampled_from(PIECES.split(" "))).map(" ".join)
    | st.binary().map(lambda raw: raw.decode("latin-1"))
)
def test_any_text_gives_a_finding_or_none(source: str) -> None:
    finding = judge_source(source)
    if finding is not None:
        assert finding.verdict in (Verdict.COMPILE_ERROR, Verdict.REJECTED)
        assert finding.reason
        assert all(violation.line >= 1 for violation in finding.violations)


@given(st.sampled_from(sorted(HONEST.values())), st.data())
def test_cut_candidates_never_raise(source: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(source)))
    end = data.draw(st.integers(start, len(source)))
    judge_source(source[:start] + source[end:])


def test_judging_is_repeatable() -> None:
    source = "import os, sys\nimport torch\ntorch.os\n" + MODEL
    assert judge_source(source) == judge_source(source)
