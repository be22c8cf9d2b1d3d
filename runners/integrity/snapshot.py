"""Has a candidate replaced anything the worker's loop stands on: clocks, comparisons, the channel, the harness itself?

The worker takes a `snapshot` before it imports a candidate and asks what has `changed` since. It runs in the
candidate's own process: what it finds is evidence, and finding nothing proves nothing. The parent's clock and its
own comparison do not depend on it.

Left out is what honest code changes: Triton, TorchDynamo and extensions as they are loaded, a default device,
gradients switched off for good, backend flags, functions that run at exit (a worker never exits in an orderly way).
"""

import builtins
import gc
import importlib
import signal
import sys
import threading
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import torch
from torch.utils._device import DeviceContext

from everforge.runners.integrity.own_kernels import is_own_file

_GPU_NAMES = ("synchronize", "Stream", "current_stream", "Event", "stream", "empty_cache")
_EVENT_NAMES = ("record", "elapsed_time", "synchronize", "query", "wait", "__new__", "__init__")
# What the loop, the channel and timing call, by where it is looked up.
_NAMES: dict[str, tuple[str, ...]] = {
    "time": ("perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns", "time", "time_ns", "sleep"),
    "json": ("dumps", "loads"),
    "json.encoder": ("JSONEncoder", "c_make_encoder", "encode_basestring_ascii"),
    "json.decoder": ("JSONDecoder", "scanstring"),
    "select": ("select",),
    "struct": ("Struct", "pack", "unpack"),
    "socket": ("socket", "send_fds", "recv_fds", "socketpair"),
    "socket:socket": ("recvmsg", "recv", "send", "sendall", "sendmsg", "settimeout", "close", "fileno"),
    "os": ("fstat", "read", "write", "close", "dup", "dup2", "_exit", "getpid"),
    "mmap": ("mmap",),
    "traceback": ("format_exception",),
    "torch": (
        *("clone", "equal", "allclose", "isclose", "empty", "empty_like", "zeros", "full", "full_like", "no_grad"),
        *("device", "randint", "randn", "rand", "where", "frombuffer", "is_tensor"),
    ),
    "torch.cuda": _GPU_NAMES,
    "torch.cuda:Event": _EVENT_NAMES,
    "torch.xpu": _GPU_NAMES,
    "torch.xpu:Event": _EVENT_NAMES,
    "torch:no_grad": ("__init__", "__enter__", "__exit__"),
    "torch.nn:Module": (
        *("__call__", "_call_impl", "_wrapped_call_impl", "__init__", "__setattr__", "__getattr__", "__delattr__"),
        *("load_state_dict", "_load_from_state_dict", "state_dict", "to", "_apply", "train", "eval"),
        *("parameters", "named_parameters", "buffers", "requires_grad_", "modules", "children"),
    ),
}
# Every attribute that these have: the harness uses most of what a tensor can do.
_WHOLE = ("torch:Tensor",)
# Programs replace these for reasons of their own.
_FREE_BUILTINS = frozenset(("open", "print", "input", "_", "help", "exit", "quit", "copyright", "credits", "license"))
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_ABSENT = object()
_CALLABLE = (types.FunctionType, types.BuiltinFunctionType, type, types.ModuleType)
_METHOD = (types.FunctionType, staticmethod, classmethod, property)


@dataclass(frozen=True)
class Watched:
    """One name, where it is looked up, and what it stood for."""

    path: str
    owner: Any
    name: str
    value: Any
    # Of Python functions: what can be exchanged inside them.
    body: tuple[Any, ...]


@dataclass(frozen=True)
class Snapshot:
    """What was in place before a candidate was imported."""

    builtins: tuple[Watched, ...]
    watched: tuple[Watched, ...]
    modules: dict[str, types.ModuleType]
    state: dict[str, Any]
    hooks: dict[str, tuple[Any, ...]]


def snapshot() -> Snapshot:
    """What is in place now; nothing of a candidate may have run in this process yet."""
    harness = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "everforge"}
    watched = [*_named(), *_whole()]
    for name, module in harness.items():
        watched += _of_module(name, module)
    return Snapshot(tuple(_builtins()), tuple(watched), harness, _state(), _hooks())


def changed(before: Snapshot) -> list[str]:
    """A sentence for each thing that was replaced since the snapshot; takes under 5 ms."""
    # The check itself stands on builtins: the old ones are back in place while it runs. Syntax alone does that.
    space, replaced = builtins.__dict__, {}
    for watched in before.builtins:
        value = space.get(watched.name, _ABSENT)
        if value is not watched.value:
            replaced[watched.name] = value
            space[watched.name] = watched.value
    try:
        found = [f"builtins.{name} was replaced by {_described(value)}" for name, value in replaced.items()]
        return found + _changed(before)
    finally:
        for name, value in replaced.items():
            space[name] = value
            if value is _ABSENT:
                del space[name]


def _changed(before: Snapshot) -> list[str]:
    findings = [finding for watched in before.watched if (finding := _finding(watched)) is not None]
    for name, module in before.modules.items():
        if sys.modules.get(name) is not module:
            findings.append(f"the module {name} was replaced by {_described(sys.modules.get(name, _ABSENT))}")
    state = _state()
    findings += [
        f"{name} was changed from {value!r} to {state[name]!r}"
        for name, value in before.state.items()
        if state[name] != value
    ]
    for name, hooks in _hooks().items():
        known = {id(hook) for hook in before.hooks[name]}
        findings += [f"{name} was given {_described(hook)}" for hook in hooks if id(hook) not in known]
    return findings


def _named() -> Iterator[Watched]:
    for place, names in _NAMES.items():
        owner, path = _place(place)
        for name in names:
            if owner is not None and _static(owner, name) is not _ABSENT:
                yield _watch(path, owner, name)


def _whole() -> Iterator[Watched]:
    for place in _WHOLE:
        owner, path = _place(place)
        for name in dict.fromkeys(name for space in owner.__mro__ for name in vars(space)):
            if name not in ("__dict__", "__weakref__", "__doc__", "__module__"):
                yield _watch(path, owner, name)


def _builtins() -> Iterator[Watched]:
    for name, value in vars(builtins).items():
        if callable(value) and name not in _FREE_BUILTINS:
            yield _watch("builtins", builtins, name)


def _of_module(path: str, module: types.ModuleType) -> Iterator[Watched]:
    """A module's functions, classes and the modules it uses, and the methods of its own classes."""
    for name, value in list(vars(module).items()):
        if not isinstance(value, _CALLABLE):
            continue
        yield _watch(path, module, name)
        if isinstance(value, type) and value.__module__ == path:
            for method, body in list(vars(value).items()):
                if isinstance(body, _METHOD):
                    yield _watch(f"{path}.{name}", value, method)


def _place(place: str) -> tuple[Any, str]:
    """`module:Class` or `module` as an object, and as it is written in code."""
    module, _, attribute = place.partition(":")
    owner = importlib.import_module(module)
    return (getattr(owner, attribute, None) if attribute else owner), place.replace(":", ".")


def _watch(path: str, owner: Any, name: str) -> Watched:
    value = _static(owner, name)
    return Watched(f"{path}.{name}", owner, name, value, _body(value))


def _static(owner: Any, name: str) -> Any:
    """What a name stands for, without running any code of its owner."""
    for space in owner.__mro__ if isinstance(owner, type) else (owner,):
        found = space.__dict__.get(name, _ABSENT)
        if found is not _ABSENT:
            return found
    return _ABSENT


def _body(value: Any) -> tuple[Any, ...]:
    kind = type(value)
    function = value.fget if kind is property else value.__func__ if kind in (staticmethod, classmethod) else value
    if type(function) is not types.FunctionType:
        return ()
    return (function.__code__, function.__defaults__, function.__kwdefaults__)


def _finding(watched: Watched) -> str | None:
    value = _static(watched.owner, watched.name)
    if value is not watched.value:
        if _tags_modules(value, watched):
            return None
        how = "was removed" if value is _ABSENT else f"was replaced by {_described(value)}"
        return f"{watched.path} {how}"
    if watched.body and any(new is not old for new, old in zip(_body(value), watched.body, strict=True)):
        return f"the code of {watched.path} was exchanged for {_described(value)}"
    return None


def _tags_modules(value: Any, watched: Watched) -> bool:
    """Whether this is the constructor of modules that TorchDynamo puts around the one that was there."""
    dynamo = sys.modules.get("torch._dynamo.mutation_guard")
    if dynamo is None or watched.path != "torch.nn.Module.__init__" or type(value) is not types.FunctionType:
        return False
    around = [cell.cell_contents for cell in value.__closure__ or ()]
    made_there = any(value.__code__ is part for part in dynamo.install_generation_tagging_init.__code__.co_consts)
    return made_there and any(part is watched.value for part in around)


def _state() -> dict[str, Any]:
    """Settings of the interpreter and of PyTorch that harness code runs under, as plain values."""
    return {
        "torch.get_default_dtype()": str(torch.get_default_dtype()),
        "torch.is_inference_mode_enabled()": torch.is_inference_mode_enabled(),
        "the number of active dispatch modes": torch._C._len_torch_dispatch_stack(),
        "the number of active function modes": _function_modes(),
        **{f"signal.getitimer({int(timer)})": signal.getitimer(timer)[0] > 0 for timer in _TIMERS},
    }


def _function_modes() -> int:
    """Modes that see every call of PyTorch's functions, but for the one that `torch.set_default_device` leaves."""
    modes = [torch._C._get_function_stack_at(place) for place in range(torch._C._len_torch_function_stack())]
    return sum(type(mode) is not DeviceContext for mode in modes)


def _hooks() -> dict[str, tuple[Any, ...]]:
    """Functions that others call: on every call, collection, import or signal."""
    return {
        "sys.setprofile": _present(sys.getprofile()),
        "sys.settrace": _present(sys.gettrace()),
        "threading.setprofile": _present(threading.getprofile()),
        "threading.settrace": _present(threading.gettrace()),
        "gc.callbacks": tuple(hook for hook in gc.callbacks if _is_candidates(hook)),
        "sys.meta_path": tuple(finder for finder in sys.meta_path if _is_candidates(finder)),
        "signal.signal": tuple(handler for handler in _handlers() if type(handler) is not signal.Handlers),
        "the hooks of all modules": tuple(_module_hooks()),
    }


def _present(hook: Any) -> tuple[Any, ...]:
    return () if hook is None else (hook,)


def _handlers() -> Iterator[Any]:
    for number in signal.valid_signals():
        yield signal.getsignal(number)


def _module_hooks() -> Iterator[Any]:
    space = torch.nn.modules.module
    for name in ("_global_forward_hooks", "_global_forward_pre_hooks", "_global_parameter_registration_hooks"):
        yield from getattr(space, name).values()


def _is_candidates(hook: Any) -> bool:
    """Whether a hook is of a file outside installed libraries, which add some of their own when first used."""
    code = _code_of(hook)
    return code is not None and is_own_file(code.co_filename)


def _code_of(value: Any) -> types.CodeType | None:
    """The code of a function or method, or of the first method of a class or of an instance's class.

    By `type` throughout: `isinstance` and `getattr` would run code of a hostile object.
    """
    kind = type(value)
    if kind in (staticmethod, classmethod, types.MethodType):
        return _code_of(value.__func__)
    if kind is types.FunctionType:
        return value.__code__  # type: ignore[no-any-return]
    space = value if issubclass(kind, type) else kind
    bodies = (method for method in type.__getattribute__(space, "__dict__").values())
    return next((body.__code__ for body in bodies if type(body) is types.FunctionType), None)


def _described(value: Any) -> str:
    """What something is and where it was written, without running any code of it."""
    if value is _ABSENT:
        return "nothing"
    kind = type(value)
    is_function = kind in (types.FunctionType, types.MethodType, staticmethod, classmethod)
    name = type.__getattribute__(value if issubclass(kind, type) else kind, "__name__")
    what = "function" if is_function else f"class {name}" if issubclass(kind, type) else name
    code = _code_of(value)
    if code is None:
        return f"a {what}"[:200]
    file = PurePath(code.co_filename).name
    place = "the candidate" if file == "everforge_candidate.py" else file
    return f"{what} at line {code.co_firstlineno} of {place}"[:200]
