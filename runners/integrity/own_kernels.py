"""Finds what of the kernels in a worker's process is the candidate's own, for `launches.py` and `coverage.py`.

Own is what does not come from an installed library: Triton kernels by the file of their source, extension modules
and shared libraries by the file they were loaded from, operators by the C++ file that registered them. Objects are
found through the garbage collector, so it does not matter where a candidate keeps them: in a global, a container,
a closure, or an instance made later.
"""

import ctypes
import gc
import importlib.machinery
import os
import re
import sys
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import compress
from pathlib import Path
from typing import Any

import torch

# Where the system's own shared libraries lie; a candidate cannot write there.
_SYSTEM = ("/usr", "/lib", "/lib64", "/opt")
_REGISTERED_AT = re.compile(r"registered at (.+?):\d+")
_TORCH_NAMESPACES = ("aten::", "prim::", "prims::", "_", "quantized::", "onednn::", "inductor::", "c10d")
_LOADED = (types.ModuleType, ctypes.CDLL)
_MODULE_SUFFIXES = tuple(importlib.machinery.EXTENSION_SUFFIXES)


@dataclass(frozen=True)
class OwnKernels:
    """A candidate's own kernels: Triton's, functions of extensions, operators, shared libraries, CUDA sources."""

    triton: tuple[Any, ...]
    extensions: tuple[types.ModuleType, ...]
    operators: tuple[str, ...]
    libraries: tuple[ctypes.CDLL, ...]
    compiled: tuple[Any, ...]

    @property
    def names(self) -> list[str]:
        """Each kernel once, as it is named in counts of launches; a library by its file, whatever it holds."""
        found = [name_of(kernel) for kernel in self.triton]
        found += [function_name(module, name) for module in self.extensions for name in functions_of(module)]
        found += [*self.operators, *(os.path.basename(str(library._name)) for library in self.libraries)]
        found += ["cuda kernel"] * bool(self.compiled)
        return sorted(set(found))


def own_kernels(candidate_module: types.ModuleType) -> OwnKernels:
    """All own kernels alive now; what the candidate has not made yet, such as in a constructor, is not among them.

    It takes 20 to 60 ms: one pass over the objects of the process. `candidate_module` is the imported candidate,
    which must still be in use, since what nobody holds any more is gone.
    """
    if not isinstance(candidate_module, types.ModuleType):
        raise TypeError(f"own_kernels needs the candidate's module, not a {type(candidate_module).__name__}")
    return find_own_kernels()


def find_own_kernels() -> OwnKernels:
    """As `own_kernels`, whoever holds them."""
    compiled = _class_of("torch.cuda._utils", "_CudaKernel")
    found = alive((*_LOADED, *_triton_classes(), *compiled))
    return OwnKernels(
        triton=tuple(kernel for kernel in _of(found, _triton_classes()) if is_own_triton(kernel)),
        extensions=own_extensions(found),
        operators=tuple(_own_operators()),
        libraries=own_libraries(found),
        compiled=tuple(_of(found, compiled)),
    )


def own_loaded() -> tuple[tuple[types.ModuleType, ...], tuple[ctypes.CDLL, ...]]:
    """Own extension modules and shared libraries alone: in 2 ms where there are none."""
    found = alive(_LOADED) if _maps_own_file() else []
    return own_extensions(found), own_libraries(found)


def own_extensions(objects: list[Any]) -> tuple[types.ModuleType, ...]:
    """The extension modules among objects that are the candidate's."""
    return tuple(module for module in _of(objects, (types.ModuleType,)) if _is_own_extension(module))


def own_libraries(objects: list[Any]) -> tuple[ctypes.CDLL, ...]:
    """The libraries opened through ctypes among objects that are the candidate's."""
    return tuple(library for library in _of(objects, (ctypes.CDLL,)) if _is_own_library(library))


def _maps_own_file() -> bool:
    """Whether a shared object of the candidate's own is in this process's memory."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # hidden: it may be
        return True
    # Address, permissions, offset, device, inode, path: of code only the executable part is of interest.
    mapped = (line.split(maxsplit=5) for line in lines)
    code = {fields[5] for fields in mapped if len(fields) == 6 and "x" in fields[1]}
    return any(path.startswith(os.sep) and is_own_file(path) for path in code)


def alive(classes: tuple[type, ...]) -> list[Any]:
    """All objects of these classes and their subclasses; the loops over every object of the process run in C."""
    everything = gc.get_objects()
    kinds = list(map(type, everything))
    # By `type`, not `isinstance`: that would ask lazy objects for their class, which imports and warns.
    wanted = {kind for kind in set(kinds) if issubclass(kind, classes)}
    return list(compress(everything, map(wanted.__contains__, kinds)))


def _of(objects: list[Any], classes: tuple[type, ...]) -> list[Any]:
    return [found for found in objects if issubclass(type(found), classes)]


def _class_of(module: str, name: str) -> tuple[type, ...]:
    found = getattr(sys.modules.get(module), name, None)
    return () if found is None else (found,)


def _triton_classes() -> tuple[type, ...]:
    return (
        *_class_of("triton.runtime.jit", "JITFunction"),
        *_class_of("triton.runtime.interpreter", "InterpretedFunction"),
    )


def python_function(kernel: Any) -> Any:
    """The Python function a Triton kernel was made from, through autotuners and heuristics."""
    for _ in range(16):  # decorators in a row; a cycle is made on purpose and ends here
        if isinstance(kernel, types.FunctionType):
            break
        kernel = getattr(kernel, "fn", None)
    return kernel


def name_of(kernel: Any) -> str:
    """The name of a Triton kernel, which is also its name on the device."""
    return str(getattr(python_function(kernel), "__name__", "triton kernel"))


def is_own_triton(kernel: Any) -> bool:
    """Whether a Triton kernel's source is the candidate's."""
    function = python_function(kernel)
    return isinstance(function, types.FunctionType) and is_own_file(function.__code__.co_filename)


def _is_own_extension(module: types.ModuleType) -> bool:
    path = vars(module).get("__file__")
    return isinstance(path, str) and path.endswith(_MODULE_SUFFIXES) and is_own_file(path)


def _is_own_library(library: ctypes.CDLL) -> bool:
    name = vars(library).get("_name")
    return isinstance(name, str) and os.sep in name and is_own_file(name)


def function_name(module: types.ModuleType, name: str) -> str:
    """How a function of an extension module is named in counts of launches."""
    return f"{module.__name__}.{name}"


def functions_of(module: types.ModuleType) -> dict[str, Any]:
    """The functions an extension module binds; those of its classes are reached through `classes_of`."""
    return {name: value for name, value in vars(module).items() if isinstance(value, types.BuiltinFunctionType)}


def classes_of(module: types.ModuleType) -> dict[str, type]:
    """The classes an extension module defines."""
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__
    }


def _own_operators() -> Iterator[str]:
    names: Iterable[str] = torch._C._dispatch_get_all_op_names()
    for name in {name.partition(".")[0] for name in names if not name.startswith(_TORCH_NAMESPACES)}:
        if is_own_operator(name):
            yield name


def is_own_operator(name: str) -> bool:
    """Whether C++ of the candidate registered an operator (`space::name`) or an implementation of it.

    Operators that Python registers are none: what they compute they compute through other kernels.
    """
    try:
        registrations = torch._C._dispatch_dump(name)
    except RuntimeError:  # a name nobody registered
        return False
    files = {path for path in _REGISTERED_AT.findall(registrations) if not path.endswith(".py")}
    return any(os.path.exists(path) and is_own_file(path) for path in files)


def is_own_file(path: str) -> bool:
    """Whether a file belongs to the candidate: not to the interpreter, a library, or a compiler's cache."""
    caches = tuple(os.environ.get(name, "") for name in ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"))
    inductor = sys.modules.get("torch._inductor.runtime.cache_dir_utils")
    return _is_outside(path, (*caches, "" if inductor is None else str(inductor.cache_dir())))


@lru_cache(maxsize=4096)
def _is_outside(path: str, caches: tuple[str, ...]) -> bool:
    """Whether a file lies neither in these directories nor in those of installed libraries."""
    real = os.path.realpath(path)
    return not any(real.startswith(directory + os.sep) for directory in _directories(caches))


@lru_cache(maxsize=64)
def _directories(caches: tuple[str, ...]) -> tuple[str, ...]:
    here = Path(__file__).parents[1]
    installed = {str(Path(torch.__file__).parents[1]), sys.prefix, sys.base_prefix, str(here), *_SYSTEM}
    return tuple({os.path.realpath(path) for path in (*installed, *caches) if path} - {"/"})
