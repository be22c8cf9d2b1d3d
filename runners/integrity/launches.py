"""Sees every launch of a candidate's own kernels while it happens, and lets somebody act around it.

Used by `coverage.py` and `decoys.py` inside the candidate's process. Nothing stays in place outside `intercepted`:
a timed call runs the candidate as it is written. Triton kernels, operators and shared libraries are caught at
their classes, wherever a candidate keeps them. Functions of extensions have no class of their own: every
reference to one that can be exchanged is exchanged for a stand-in, and afterwards back.

Replayed CUDA graphs launch kernels without any Python: they are noticed, and what they launch stays unseen.
"""

import ctypes
import gc
import importlib
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from everforge.runners.gate.triton_stand_ins import replaced
from everforge.runners.integrity.own_kernels import (
    classes_of,
    function_name,
    functions_of,
    is_own_operator,
    is_own_triton,
    name_of,
    own_loaded,
)

_BY_REFERENCE = type(ctypes.byref(ctypes.c_int()))
# A kernel has tens of arguments; what looks like more is data.
_MOST_PARTS = 256
_NESTING = 4


@dataclass(frozen=True)
class Launch:
    """One launch about to happen: `run` makes it, and may be called again with the same arguments."""

    kernel: str
    arguments: tuple[Any, ...]
    run: Callable[[], Any]


Interceptor = Callable[[Launch], Any]


class Watch:
    """What goes to the interceptor: outermost launches of each thread, so that an autotuner's trials count once."""

    def __init__(self, interceptor: Interceptor) -> None:
        self._interceptor = interceptor
        self._thread = threading.local()
        self.graph_replays = 0

    def launch(self, kernel: str, call: Callable[..., Any], args: Any, kwargs: Any, hidden: int = 0) -> Any:
        """Hand a launch to the interceptor; the first `hidden` arguments are no arguments of the kernel."""
        if getattr(self._thread, "inside", False):
            return call(*args, **kwargs)
        self._thread.inside = True
        try:
            arguments = (*args[hidden:], *kwargs.values())
            return self._interceptor(Launch(kernel, arguments, lambda: call(*args, **kwargs)))
        finally:
            self._thread.inside = False


@contextmanager
def intercepted(interceptor: Interceptor) -> Iterator[Watch]:
    """Have every own launch inside made by `interceptor`, which returns what the launch returned."""
    watch = Watch(interceptor)
    with ExitStack() as stack:
        _tap_triton(stack, watch)
        _tap_operators(stack, watch)
        _tap_graphs(stack, watch)
        extensions, libraries = own_loaded()
        _tap_libraries(stack, watch, libraries)
        stack.enter_context(_exchanged_functions(watch, extensions))
        yield watch


def _tap(
    stack: ExitStack, watch: Watch, owner: Any, method: str, kernel: Callable[[Any], str | None], hidden: int = 1
) -> None:
    """Have a method of a class go through the watch where `kernel(self)` names an own kernel."""
    original = getattr(owner, method)

    def tapped(*args: Any, **kwargs: Any) -> Any:
        name = None if kwargs.get("warmup") else kernel(args[0])
        return original(*args, **kwargs) if name is None else watch.launch(name, original, args, kwargs, hidden)

    stack.enter_context(replaced(owner, method, tapped))


def _tap_triton(stack: ExitStack, watch: Watch) -> None:
    def own(kernel: Any) -> str | None:
        return name_of(kernel) if is_own_triton(kernel) else None

    for module, name in _triton_launchers():
        with suppress(ImportError):  # a CPU machine may have no Triton
            _tap(stack, watch, getattr(importlib.import_module(module), name), "run", own)
    compiler = sys.modules.get("triton.compiler.compiler")
    if compiler is not None:
        _tap_compiled_kernels(stack, watch, compiler.CompiledKernel)
    # torch.compile launches the Triton kernels of a candidate under their own names, but not through Triton.
    inductor = sys.modules.get("torch._inductor.runtime.triton_heuristics")
    if inductor is not None:
        _tap(stack, watch, inductor.CachingAutotuner, "run", _given_to_inductor)


def _triton_launchers() -> list[tuple[str, str]]:
    launchers = [("triton.runtime.jit", "JITFunction"), ("triton.runtime.autotuner", "Autotuner")]
    launchers.append(("triton.runtime.autotuner", "Heuristics"))
    # Loaded by the first kernel that is interpreted; to load it where kernels are compiled would be in vain.
    with suppress(ImportError):
        if importlib.import_module("triton").knobs.runtime.interpret:
            launchers.append(("triton.runtime.interpreter", "InterpretedFunction"))
    return launchers


def _tap_compiled_kernels(stack: ExitStack, watch: Watch, compiled_kernel: Any) -> None:
    """`compiled[grid](…)`, for kernels a candidate compiles ahead and launches itself."""
    original = compiled_kernel.__getitem__

    def with_grid(compiled: Any, grid: Any) -> Callable[..., Any]:
        launcher, kernel = original(compiled, grid), getattr(compiled.src, "fn", None)
        if not is_own_triton(kernel):
            return launcher  # type: ignore[no-any-return]
        return lambda *args, **kwargs: watch.launch(name_of(kernel), launcher, args, kwargs)

    stack.enter_context(replaced(compiled_kernel, "__getitem__", with_grid))


def _given_to_inductor(autotuner: Any) -> str | None:
    kind = getattr(getattr(autotuner, "heuristic_type", None), "name", None)
    return name_of(autotuner.fn) if kind == "USER_AUTOTUNE" else None


def _tap_operators(stack: ExitStack, watch: Watch) -> None:
    own = lru_cache(maxsize=1024)(is_own_operator)

    def of_overload(operator: Any) -> str | None:
        name = operator._schema.name
        return name if own(name) else None

    def of_packet(packet: Any) -> str | None:
        name = packet._qualified_op_name
        return name if own(name) else None

    _tap(stack, watch, torch._ops.OpOverload, "__call__", of_overload)
    _tap(stack, watch, torch._ops.OpOverloadPacket, "__call__", of_packet)
    compiled = getattr(sys.modules.get("torch.cuda._utils"), "_CudaKernel", None)
    if compiled is not None:
        _tap(stack, watch, compiled, "__call__", lambda _: "cuda kernel")


def _tap_graphs(stack: ExitStack, watch: Watch) -> None:
    for backend, name in ((torch.cuda, "CUDAGraph"), (torch.xpu, "XPUGraph")):
        graph = getattr(backend, name, None)
        if graph is None:
            continue

        def counted(*args: Any, _replay: Callable[..., Any] = graph.replay, **kwargs: Any) -> Any:
            watch.graph_replays += 1
            return _replay(*args, **kwargs)

        stack.enter_context(replaced(graph, "replay", counted))


def _tap_libraries(stack: ExitStack, watch: Watch, libraries: tuple[ctypes.CDLL, ...]) -> None:
    for library in libraries:
        # Each ctypes library has a class for its functions to itself.
        _tap(stack, watch, library._FuncPtr, "__call__", lambda function: str(function.__name__))


class StandIn:
    """Stands in for a function of an extension; outside `intercepted` a forgotten one only calls it.

    It is no Python function, since as an attribute of a class that would become a method.
    """

    __slots__ = ("__name__", "__weakref__", "function", "watch")

    def __init__(self, name: str, function: Any) -> None:
        self.__name__ = name
        self.function = function
        self.watch: Watch | None = None
        _stand_ins_alive.add(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.watch is None:
            return self.function(*args, **kwargs)
        return self.watch.launch(self.__name__, self.function, args, kwargs)


# A candidate may have put one where it cannot be exchanged back, such as in a tuple: it serves the next watch.
_stand_ins_alive: "weakref.WeakSet[StandIn]" = weakref.WeakSet()


@contextmanager
def _exchanged_functions(watch: Watch, extensions: tuple[types.ModuleType, ...]) -> Iterator[None]:
    """Own functions of extensions exchanged for stand-ins, also those of extensions that are loaded inside."""
    left_over = tuple(_stand_ins_alive)
    known = {id(stand_in.function): stand_in for stand_in in left_over}
    stand_ins: list[StandIn] = []
    with ExitStack() as stack:

        def take(modules: tuple[types.ModuleType, ...]) -> None:
            new = [stand_in for module in modules for stand_in in _stand_ins(module, known)]
            for stand_in in new:
                stand_in.watch = watch
            exchange({id(stand_in.function): (stand_in.function, stand_in) for stand_in in new})
            stand_ins.extend(new)
            for module in modules:
                _tap_methods(stack, watch, module)

        _tap_loading(stack, take)
        take(extensions)
        for stand_in in left_over:
            stand_in.watch = watch
        try:
            yield
        finally:
            taken = (*stand_ins, *left_over)
            stand_ins.clear()  # a list would have its stand-ins exchanged too
            exchange({id(stand_in): (stand_in, stand_in.function) for stand_in in taken})
            for stand_in in taken:
                stand_in.watch = None


def _stand_ins(module: types.ModuleType, known: dict[int, StandIn]) -> list[StandIn]:
    functions = functions_of(module).items()
    return [known.get(id(value)) or StandIn(function_name(module, name), value) for name, value in functions]


def _tap_loading(stack: ExitStack, take: Callable[[tuple[types.ModuleType, ...]], None]) -> None:
    extensions = sys.modules.get("torch.utils.cpp_extension")
    if extensions is None:
        return
    load = extensions._import_module_from_library

    def loaded(*args: Any, **kwargs: Any) -> Any:
        module = load(*args, **kwargs)
        if isinstance(module, types.ModuleType):
            take((module,))
        return module

    stack.enter_context(replaced(extensions, "_import_module_from_library", loaded))


def _tap_methods(stack: ExitStack, watch: Watch, module: types.ModuleType) -> None:
    for class_name, owner in classes_of(module).items():
        public = [name for name, value in vars(owner).items() if callable(value) and not name.startswith("__")]
        for method in (*public, *({"__call__"} & vars(owner).keys())):
            name = f"{module.__name__}.{class_name}.{method}"
            _tap(stack, watch, owner, method, lambda _, name=name: name)  # type: ignore[misc]


def exchange(pairs: dict[int, tuple[Any, Any]]) -> None:
    """Exchange objects for others wherever they are held exchangeably; `pairs` is (old, new) by the old one's id.

    Globals, attributes, closures, dictionaries and lists; not tuples, partial functions or running frames.
    """
    if not pairs:
        return
    # A tuple: a list of the old ones would be taken for one of the candidate's.
    for holder in gc.get_referrers(*(old for old, _ in pairs.values())):
        if type(holder) is dict:
            _exchange_in_dict(holder, pairs)
        elif type(holder) is list:
            holder[:] = [pairs[id(value)][1] if id(value) in pairs else value for value in holder]
        elif type(holder) is types.CellType:
            holder.cell_contents = pairs[id(holder.cell_contents)][1]
        elif not isinstance(holder, (StandIn, type, tuple)) and hasattr(type(holder), "__dict__"):
            _exchange_in_dict(getattr(holder, "__dict__", {}), pairs)


def _exchange_in_dict(holder: dict[Any, Any], pairs: dict[int, tuple[Any, Any]]) -> None:
    found = {key: pairs[id(value)][1] for key, value in list(holder.items()) if id(value) in pairs}
    if "__module__" in holder and found:  # perhaps a class's, which remembers its attributes elsewhere too
        for owner in [owner for owner in gc.get_referrers(holder) if isinstance(owner, type)]:
            for key, value in found.items():
                setattr(owner, key, value)
            return
    holder.update(found)


def addresses_in(value: Any, depth: int = 0) -> Iterator[int]:
    """The addresses an argument may stand for: a number, a pointer, an array of NumPy's, or ctypes' arrays of these."""
    if isinstance(value, int) and not isinstance(value, bool):
        yield value
    elif isinstance(value, ctypes.c_void_p):
        yield value.value or 0
    elif isinstance(value, ctypes._Pointer):
        yield ctypes.cast(value, ctypes.c_void_p).value or 0
    elif isinstance(value, (ctypes.Array, ctypes.Structure, _BY_REFERENCE)):
        yield from _inside(value, depth)
    elif isinstance(interface := getattr(value, "__array_interface__", None), dict):  # NumPy's
        yield int(interface["data"][0])


def _inside(value: Any, depth: int) -> Iterator[int]:
    """The addresses in an aggregate of ctypes: kernels take their tensors in one as often as one by one."""
    if isinstance(value, ctypes.Array):
        parts = value[:_MOST_PARTS]
    elif isinstance(value, ctypes.Structure):
        parts = [getattr(value, field[0]) for field in getattr(value, "_fields_", [])[:_MOST_PARTS]]
    else:
        parts = [value._obj]
    for part in parts if depth < _NESTING else []:
        yield from addresses_in(part, depth + 1)
