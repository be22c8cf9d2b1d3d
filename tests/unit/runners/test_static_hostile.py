"""What hostile candidates try is refused by the static rules, with the right line."""

import pytest

from everforge.model.verdict import Verdict
from everforge.runners.rules.static_rules import Rule, check_source, judge_source

MODEL = "\nclass ModelNew:\n    pass\n"

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
    "register-kernel-for-torch": (
        Rule.ATTRIBUTE,
        "import torch\n@torch.library.register_kernel('aten::sum', 'cpu')  #!\ndef f(x):\n    return x",
    ),
    "register-kernel-by-alias": (
        Rule.ATTRIBUTE,
        "from torch.library import register_kernel as r\nr(op='aten::equal', device_types='cpu')  #!",
    ),
    "register-kernel-by-variable": (
        Rule.ATTRIBUTE,
        "import torch\nname = 'at' + 'en::sum'\ntorch.library.register_autograd(name, print)  #!",
    ),
    "register-kernel-by-overload": (
        Rule.ATTRIBUTE,
        "import torch\ntorch.library.register_kernel(torch.ops.aten.sum.default, 'cpu', print)  #!",
    ),
    "register-kernel-passed-on": (
        Rule.ATTRIBUTE,
        "import functools\nfrom torch.library import impl\nfunctools.partial(impl, 'aten::sum')  #!",
    ),
    "register-python-kernel": (Rule.ATTRIBUTE, "import torch\ntorch.ops.aten.sum.default.py_impl(1)(print)  #!"),
    "inductor-runs-text": (Rule.IMPORT, "from torch._inductor.codecache import PyCodeCache  #!"),
    "inductor-benchmarks": (Rule.IMPORT, "from torch._inductor.runtime.benchmarking import benchmarker  #!"),
    "dynamo-internals": (Rule.ATTRIBUTE, "import torch\ntorch._dynamo.eval_frame.set_eval_frame(None)  #!"),
    "triton-launch-hooks": (
        Rule.ATTRIBUTE,
        "import triton\ntriton.knobs.runtime.launch_enter_hook.calls.clear()  #!",
    ),
    "stream-left-current": (Rule.ATTRIBUTE, "import torch\ntorch.cuda.set_stream(torch.cuda.Stream())  #!"),
    "denormals-flushed": (Rule.ATTRIBUTE, "import torch\ntorch.set_flush_denormal(True)  #!"),
    "memory-shared": (Rule.ATTRIBUTE, "def f(x):\n    return x.untyped_storage()._share_filename_cpu_()  #!"),
    "formatter": (Rule.ATTRIBUTE, "import string\nstring.Formatter().get_field('0.a' + name, (f,), {})  #!"),
    "annotations-evaluated": (Rule.IMPORT, "from typing_extensions import get_annotations  #!"),
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
    'TORCH_LIBRARY_IMPL(aten, CPU, m) { m.impl("sum", nothing); }',
    "TORCH_LIBRARY_IMPL ( _ , CPU, m) { m.fallback(all); }",
    "TORCH_LIBRARY_FRAGMENT(quantized, m) {}",
    "at::addGlobalCallback(observer);",
    "c10::SetAllocator(c10::DeviceType::CPU, &mine);",
    "#include <cupti.h>",
    '"/*"; fork(); "*/"',
    "auto n = 1'0; const char* a = \"/*'\"; fork(); // '*/",
    'R"(")"; "/*"; fork(); "*/"',
    "// comment \\\n/*\nfork();",
]


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
