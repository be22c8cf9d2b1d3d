"""What the fuzz tests throw at the harness: outputs of every type, classes and errors of every shape, forged answers.

Each is the text of a candidate for the task `cumulative_sum`. Used by `test_fuzz.py`.
"""

import json
import textwrap
from typing import Any

HEAD = """
import torch
import torch.nn as nn
"""
HONEST = "return torch.cumsum(x, dim=self.dim)"


def candidate(forward: str = HONEST, *, before: str = "", init: str = "pass") -> str:
    """A candidate with this forward; `before` stands at module level, `init` in the constructor."""
    body = textwrap.indent(textwrap.dedent(forward).strip(), " " * 8)
    made = textwrap.indent(textwrap.dedent(init).strip(), " " * 8)
    return f"""{HEAD}
{textwrap.dedent(before)}

class ModelNew(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim
{made}

    def forward(self, x):
{body}
"""


# Expressions of `x`: one of every type of Python and torch that a forward could return.
OUTPUTS = {
    "none": "None",
    "integer": "5",
    "long-integer": "1 << 100_000",
    "float-nan": "float('nan')",
    "complex": "1j",
    "text": "'text'",
    "long-text": "'x' * (16 << 20)",
    "surrogate": "'\\ud800'",
    "bytes": "b'bytes'",
    "ellipsis": "...",
    "not-implemented": "NotImplemented",
    "object": "object()",
    "class": "dict",
    "function": "lambda: x",
    "module": "torch",
    "itself": "self",
    "error": "ValueError('returned')",
    "iterator": "iter([x])",
    "endless-iterator": "iter(int, 1)",
    "generator": "(i for i in [x])",
    "set": "{1, 2}",
    "range": "range(3)",
    "list": "[x]",
    "long-list": "[x] * 100_000",
    "tuple": "(x,)",
    "empty-tuple": "()",
    "dict": "{'a': x}",
    "dict-with-number-key": "{1: x}",
    "dict-with-tensor-key": "{x: x}",
    "dict-with-tuple-key": "{(1, 2): x}",
    "dict-with-none-key": "{None: x}",
    "dict-with-surrogate-key": "{'\\udfff': x}",
    "deep-tuple": "__import__('functools').reduce(lambda inner, _: (inner,), range(100_000), x)",
    "deep-dict": "__import__('functools').reduce(lambda inner, _: {'a': inner}, range(100_000), x)",
    "recursive-list": "(lambda found: found.append(found) or found)([x])",
    "numbers": "x[0].tolist()",
    "dtype": "x.dtype",
    "sparse": "x.to_sparse()",
    "meta": "x.to('meta')",
    "nested": "torch.nested.nested_tensor([x])",
    "complex-tensor": "x.to(torch.complex64)",
    "boolean-tensor": "x.bool()",
    "float8-tensor": "x.to(torch.float8_e5m2)",
    "quantised": "torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)",
    "empty-tensor": "torch.empty(0)",
    "scalar-tensor": "x.sum()",
    "deep-shape": "x.reshape(x.shape + (1,) * 60)",
    "parameter": "nn.Parameter(x)",
    "conjugate-view": "torch.complex(x, x).conj()",
    "negative-view": "torch.complex(x, x).conj().imag",
    "huge-expanded": "torch.zeros(1).expand(1 << 40)",
    "huge-real": "torch.zeros(1 << 38)",
    "other-size-storage": "torch.empty(0).set_(x.untyped_storage(), 0, (3,), (7,))",
    "freed-storage": "(lambda y: y.untyped_storage().resize_(0) and None or y)(x.clone())",
}

# Module-level text and the statement that raises: errors that fight back when somebody reads them.
ERRORS = {
    "str-raises": ("class E(Exception):\n    def __str__(self): raise ValueError('no')", "raise E"),
    "str-is-no-text": ("class E(Exception):\n    def __str__(self): return 5", "raise E"),
    "str-recurses": ("class E(Exception):\n    def __str__(self): return str(self)", "raise E"),
    "str-raises-exit": ("class E(Exception):\n    def __str__(self): raise SystemExit(0)", "raise E"),
    "repr-raises": ("class E(Exception):\n    def __repr__(self): raise ValueError('no')", "raise E(object())"),
    "long-message": ("", "raise ValueError('x' * (64 << 20))"),
    "many-lines": ("", "raise ValueError('line\\n' * (4 << 20))"),
    "surrogates": ("", "raise ValueError('\\ud800\\udfff')"),
    "null-bytes": ("", "raise ValueError('\\x00\\x1b[2J')"),
    "empty": ("", "raise ValueError"),
    "long-name": ("E = type('E' * (1 << 20), (Exception,), {})", "raise E"),
    "surrogate-name": ("E = type('E\\ud800', (Exception,), {})", "raise E"),
    "keyboard-interrupt": ("", "raise KeyboardInterrupt"),
    "generator-exit": ("", "raise GeneratorExit"),
    "stop-iteration": ("", "raise StopIteration(x)"),
    "bare-base": ("class E(BaseException): pass", "raise E"),
    "memory-error": ("", "raise MemoryError"),
    "cycle-of-causes": ("", "a, b = ValueError('a'), ValueError('b')\na.__cause__, b.__cause__ = b, a\nraise a"),
    "deep-causes": (
        "def deep(n):\n    error = None\n    for i in range(n):\n        new = ValueError(str(i))\n"
        "        new.__cause__ = error\n        error = new\n    return error",
        "raise deep(20_000)",
    ),
    "deep-group": (
        "def group(n):\n    error = ValueError('x')\n    for _ in range(n):\n"
        "        error = ExceptionGroup('g', [error])\n    return error",
        "raise group(5_000)",
    ),
    "long-traceback": ("def down(n):\n    return down(n - 1) if n else 1 / 0", "return down(900)"),
    "recursion": ("def down():\n    return down()", "return down()"),
    "unlimited-recursion": (
        "import sys\nsys.setrecursionlimit(1 << 30)\ndef down(x):\n    return [down([x])]",
        "return down(x)",
    ),
    "recursion-in-c": ("", "y = []\nfor _ in range(1_000_000):\n    y = [y]\nreturn repr(y)"),
    "lying-class": (
        "class M(type):\n    def __subclasscheck__(c, o): return True\n    def __instancecheck__(c, o): 1 / 0\n"
        "class E(Exception, metaclass=M): pass",
        "raise E",
    ),
    "notes": ("", "error = ValueError('x')\nerror.__notes__ = 5\nraise error"),
}

# Whole sources whose ModelNew is not what it should be.
CLASSES = {
    "number": "ModelNew = 5",
    "class-statement-then-number": "class ModelNew: pass\nModelNew = 5",
    "no-module": "class ModelNew:\n    def __init__(self, dim): pass",
    "function": "def ModelNew(dim):\n    return nn.Linear(1, 1)",
    "instance": "class C(nn.Module):\n    def __call__(self, *a): return self\nModelNew = C()",
    "deleted": "class ModelNew(nn.Module): pass\ndel ModelNew",
    "no-init-call": "class ModelNew(nn.Module):\n    def __init__(self, dim): pass",
    "no-arguments": "class ModelNew(nn.Module):\n    def __init__(self): super().__init__()",
    "keyword-only": "class ModelNew(nn.Module):\n    def __init__(self, *, dim): super().__init__()",
    "init-returns": "class ModelNew(nn.Module):\n    def __init__(self, dim): return 5",
    "init-raises": "class ModelNew(nn.Module):\n    def __init__(self, dim): raise SystemExit('no')",
    "new-returns-other": "class ModelNew(nn.Module):\n    def __new__(cls, dim): return 5",
    "no-forward": "class ModelNew(nn.Module):\n    def __init__(self, dim): super().__init__()",
    "forward-is-none": (
        "class ModelNew(nn.Module):\n    forward = None\n    def __init__(self, dim): super().__init__()"
    ),
    "forward-property": (
        "class ModelNew(nn.Module):\n    def __init__(self, dim): super().__init__()\n"
        "    forward = property(lambda self: 1 / 0)"
    ),
    "metaclass-call": (
        "class M(type):\n    def __call__(cls, *a): return cls\nclass ModelNew(nn.Module, metaclass=M): pass"
    ),
    "metaclass-instance-check": (
        "class M(type):\n    def __instancecheck__(cls, o): 1 / 0\n    def __getattribute__(cls, n): raise SystemExit\n"
        "class ModelNew(nn.Module, metaclass=M): pass"
    ),
    "getattribute-raises": (
        "class ModelNew(nn.Module):\n    def __init__(self, dim): super().__init__()\n"
        "    def __getattribute__(self, name): raise KeyboardInterrupt(name)"
    ),
    "endless-parameters": (
        "class ModelNew(nn.Module):\n    def __init__(self, dim): super().__init__()\n"
        "    def train(self, mode=True): raise ValueError\n    def parameters(self, recurse=True): yield 5"
    ),
    "module-getattr": "def __getattr__(name): raise SystemExit(name)",
    "module-replaced": "import sys\nsys.modules[__name__] = 5\nsys.modules.clear()",
    "extra-parameters": (
        "class ModelNew(nn.Module):\n    def __init__(self, dim):\n        super().__init__()\n"
        "        self.w = nn.Parameter(torch.ones(1 << 20))"
    ),
    "load-raises": (
        "class ModelNew(nn.Module):\n    def __init__(self, dim): super().__init__()\n"
        "    def load_state_dict(self, *a, **k): raise OSError(5)"
    ),
}

# What a process may do to itself or the machine: where it stands, module level or forward.
ABUSES = {
    "million-lines": candidate("for i in range(1_000_000):\n    print(i)\nreturn None"),
    "megabytes-on-stderr": candidate(
        "import os\nfor _ in range(64):\n    os.write(2, b'\\xff' * (1 << 20))\nreturn None"
    ),
    "endless-output": candidate("import os\nwhile True:\n    os.write(1, b'y' * (1 << 20))"),
    "no-newline": candidate("print('x' * (32 << 20), end='')\nreturn None"),
    "escape-codes": candidate("print('\\x1b[2J\\x1b]0;owned\\x07', flush=True)\nreturn None"),
    "closed-descriptors": candidate("import os\nos.closerange(0, 1024)\nreturn None"),
    "closed-at-import": candidate(before="import os\nos.closerange(3, 1024)"),
    "no-descriptors-left": candidate("held = []\nwhile True:\n    held.append(open('/dev/null'))"),
    "memory-at-once": candidate("return bytearray(1 << 44)"),
    "memory-step-by-step": candidate("held = []\nwhile True:\n    held.append(torch.ones(16 << 20))"),
    "memory-at-import": candidate(before="held = []\nwhile True:\n    held.append(bytearray(64 << 20))"),
    "fork-bomb": candidate(
        "import os, time\nfor _ in range(400):\n    if os.fork() == 0:\n        time.sleep(60)\nreturn None"
    ),
    "fork-of-forks": candidate("import os\nfor _ in range(7):\n    os.fork()\nreturn None"),
    "thread-bomb": candidate(
        "import threading, time\nfor _ in range(2000):\n    threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "return None"
    ),
    "threads-outlive": candidate(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\nraise SystemExit"
    ),
    "abort": candidate("import os\nos.abort()"),
    "null-pointer": candidate("import ctypes\nctypes.string_at(0)"),
    "stack-of-c": candidate("import ctypes\nctypes.memset(ctypes.addressof(ctypes.c_int()) - (1 << 16), 0, 1 << 20)"),
    "removed-directory": candidate("import os, shutil\nshutil.rmtree(os.getcwd())\nreturn None"),
    "huge-file": candidate("with open('big', 'wb') as big:\n    while True:\n        big.write(b'x' * (16 << 20))"),
    "many-files": candidate("for i in range(20_000):\n    open(f'f{i}', 'w').close()\nreturn None"),
    "stops-itself": candidate("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\nreturn None"),
    "sleeps-at-import": candidate(before="import time\ntime.sleep(600)"),
    "sleeps-at-build": candidate(init="import time\ntime.sleep(600)"),
    "sleeps-at-call": candidate("import time\ntime.sleep(600)"),
    "deaf-to-signals": candidate(
        "while True:\n    time.sleep(1)",
        before="import signal, time\nsignal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    ),
    "spins-in-c": candidate("import re\nreturn re.match('(a+)+$', 'a' * 64 + 'b')"),
    "sleeps-in-output": candidate(
        "return L((x,))",
        before="import time\nclass L(tuple):\n    def __iter__(self):\n        while True:\n            time.sleep(1)",
    ),
    "deep-nesting-of-source": f"{HEAD}x = {'(' * 5000}1{')' * 5000}\nclass ModelNew(nn.Module): pass",
    "long-chain-of-source": f"{HEAD}x = {'-' * 50_000}1\nclass ModelNew(nn.Module): pass",
    "long-line-of-source": f"{HEAD}x = [{'1,' * 100_000}]\nclass ModelNew(nn.Module): pass",
}
SLEEPS_WHEN_TIMED = candidate(
    f"self.calls += 1\nif self.calls > 20:\n    import time\n    time.sleep(600)\n{HONEST}", init="self.calls = 0"
)

_FORGER = """
import gc, json, os, socket, stat, struct, time

def channel():
    for number in range(3, 256):
        try:
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                return socket.socket(fileno=number)
        except OSError:
            pass

def number():
    for found in gc.get_objects():
        if isinstance(getattr(found, "_number", None), str):
            return found._number

def frame(value):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return struct.pack("!I", len(body)) + body
"""


def forging(statements: str) -> str:
    """A candidate that writes to the result channel `ours` itself, at import."""
    return f"{_FORGER}\nours = channel()\n{textwrap.dedent(statements)}\nclass ModelNew: pass\n"


def answering(answers: list[Any]) -> str:
    """A candidate that answers every request itself, by its number, with one of these and then the last for ever."""
    return forging(
        f"""
        answers = json.loads({json.dumps(json.dumps(answers))})
        asked = number()
        while True:
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            ours.sendall(frame({{"number": asked, "answer": answer}}))
            size = struct.unpack("!I", ours.recv(4, socket.MSG_WAITALL))[0]
            asked = json.loads(ours.recv(size, socket.MSG_WAITALL))["number"]
        """
    )


CHANNELS = {
    "half-a-header": forging("ours.sendall(b'\\x00\\x00')\ntime.sleep(600)"),
    "half-a-body-then-end": forging("ours.sendall(struct.pack('!I', 100) + b'{\"desc')\nos._exit(0)"),
    "announced-flood": forging(
        "ours.sendall(struct.pack('!I', 0xFFFFFFFF))\nwhile True:\n    ours.sendall(b'x' * 65536)"
    ),
    "flood-of-answers": forging("while True:\n    ours.sendall(frame({}))"),
    "no-json": forging("ours.sendall(frame(b'\\xff\\xfe nonsense'))\ntime.sleep(600)"),
    "no-object": forging("ours.sendall(frame([1, 2, 3]))\ntime.sleep(600)"),
    "deep-json": forging("ours.sendall(frame(b'[' * 1_000_000))\ntime.sleep(600)"),
    "long-number": forging("ours.sendall(frame(b'{\"a\": ' + b'9' * 1_000_000 + b'}'))\ntime.sleep(600)"),
    "infinite-number": forging("ours.sendall(frame(b'{\"times_us\": [1e999, NaN, -Infinity]}'))\ntime.sleep(600)"),
    "many-descriptors": forging(
        "import array\nheld = [os.open('/dev/null', os.O_RDONLY) for _ in range(200)]\n"
        "fds = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', held))]\n"
        "for _ in range(20):\n    ours.sendmsg([frame({})], fds)\ntime.sleep(600)"
    ),
    "closed-channel": forging("ours.close()"),
    "closed-for-writing": forging("ours.shutdown(socket.SHUT_WR)\ntime.sleep(600)"),
    "never-reads": forging("ours.sendall(frame({}))\ntime.sleep(600)"),
    "failure-is-a-number": answering([{"failure": 5}]),
    "failure-is-empty": answering([{"failure": {}}]),
    "failure-of-lists": answering([{"failure": {"build": [], "memory": {}, "line": [1], "traceback": {}}}]),
    "failure-with-surrogates": answering(
        [{"failure": {"build": 1, "memory": 0, "line": "\ud800", "traceback": "\udfff"}}]
    ),
    "empty-answers": answering([{}]),
    "description-of-nothing": answering([{"description": None, "mutated": None, "seconds": None, "times_us": None}]),
    "description-of-nonsense": answering(
        [{"description": {"tensor": -5, "shape": "x", "dtype": 5, "order": {}, "device": []}, "mutated": []}]
    ),
    "description-nested": answering([{"description": {"tuple": [{"dict": [[1, {"list": 5}]]}]}, "mutated": False}]),
    "times-of-nonsense": answering([{}, {}, {"description": {}, "times_us": ["1", None, [], 1e308]}]),
}
