"""The names a candidate may and may not use, as tables, with the reason given to whoever wrote it.

`static_rules.py` walks a candidate's syntax tree and asks here about every import, dotted path, attribute and
builtin. Imports are an allow-list; what lies below `torch` and `triton` is a list of refusals, since those
two have thousands of honest functions and a few dozen doors out of them.
"""

import sys


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _each(text: str, reason: str) -> dict[str, str]:
    return dict.fromkeys(text.split(), reason)


# What a kernel needs from the standard library: numbers, containers, text templates. hashlib names extensions by
# their source; ctypes calls what the extension loader built through its C interface, see CTYPES_NAMES.
ALLOWED_ROOTS = _words(
    "__future__ abc collections contextlib copy ctypes dataclasses enum functools hashlib itertools math numbers"
    " operator string textwrap torch triton typing typing_extensions warnings"
)

_SYSTEM = "reaches the operating system, and environment, files and processes belong to the harness"
_CLOCK = "reads a clock, and timing belongs to the harness"
_INTROSPECTION = "reads or edits the interpreter's own objects"
_THREADS = "starts threads or processes, whose work escapes the timed call"
_FILES = "reads or writes files"
_RUNS_TEXT = "runs text or stored objects as code, which no rule can read"
_HOOKS = "can intercept the operations the harness itself performs"
_TIMING = "measures or profiles; tune with @triton.autotune, timing belongs to the harness"
_NETWORK = "reaches the network"
_RUNTIME = "reaches below torch into the device's runtime"
_SHARES = "shares memory with other processes or files"
_NOT_PLAIN = "makes tensors that are not plain tensors"

# Of modules that are not allowed, what only holds values.
_ALLOWED_MEMBERS = frozenset(("types.MappingProxyType", "types.SimpleNamespace"))
_IMPORT_REASONS = {
    **_each("os sys platform shutil subprocess resource posix pty", _SYSTEM),
    **_each("time datetime timeit", _CLOCK),
    **_each("gc inspect builtins types weakref traceback dis ast", _INTROSPECTION),
    **_each("threading multiprocessing concurrent asyncio signal queue", _THREADS),
    **_each("io pathlib tempfile glob mmap fcntl", _FILES),
    **_each("importlib runpy pickle marshal code cffi unittest", _RUNS_TEXT),
    **_each("socket urllib http ssl requests", _NETWORK),
    "numpy": "computes outside the device; use torch",
    "random": "is not seeded by the harness; use torch's generators",
}

# Below torch, triton and a few allowed modules: what is refused here is refused with all that is below it.
_REFUSED_PATHS = {
    **_each("torch.multiprocessing torch.distributed torch.futures torch.jit.fork torch.jit.wait", _THREADS),
    **_each("torch.load torch.save torch.from_file torch.serialization torch.storage torch.export", _FILES),
    **_each("torch.jit.load torch.jit.save torch.UntypedStorage.from_file torch.classes", _FILES),
    **_each("torch.ops.load_library torch.cuda.memory._dump_snapshot triton.runtime.cache", _FILES),
    **_each("torch.hub", _NETWORK),
    **_each("torch.package torch.fx triton.runtime.build typing.get_type_hints", _RUNS_TEXT),
    **_each("typing_extensions.get_type_hints typing_extensions.get_annotations", _RUNS_TEXT),
    "typing_extensions.evaluate_forward_ref": _RUNS_TEXT,
    **_each("torch.overrides torch.autograd.graph torch.nn.modules.module torch.testing", _HOOKS),
    **_each("triton.knobs.runtime", _HOOKS),
    **_each("torch.profiler torch.autograd.profiler torch.cuda.profiler", _TIMING),
    **_each("triton.testing triton.profiler", _TIMING),
    **_each("torch.cuda.cudart torch.cuda.CUDAPluggableAllocator", _RUNTIME),
    **_each("torch.cuda.change_current_allocator torch.cuda.memory.CUDAPluggableAllocator", _RUNTIME),
    **_each("torch.cuda.memory.change_current_allocator triton.backends triton._C", _RUNTIME),
    **_each(
        "operator.attrgetter operator.methodcaller string.Formatter", "hides which attribute is read; name it plainly"
    ),
    "torch.set_flush_denormal": "changes the arithmetic of the whole process, the harness's own included",
    "torch.cuda.set_stream": "leaves the harness on another stream; use `with torch.cuda.stream(...)`, and join it",
}

EXTENSION_LOADER = "torch.utils.cpp_extension"
LOADER_FUNCTIONS = frozenset((f"{EXTENSION_LOADER}.load", f"{EXTENSION_LOADER}.load_inline"))
# Modules of which a kernel needs a few parts: torch.utils holds the data loader and dispatch modes beside them,
# Inductor a loader of text as code and a benchmark timer, Dynamo the compiler's own frames.
_NEEDED_PARTS = {
    "torch.utils": _words("checkpoint cpp_extension dlpack mkldnn _pytree _triton"),
    EXTENSION_LOADER: _words(
        "load load_inline include_paths is_ninja_available verify_ninja_availability CUDA_HOME SYCL_HOME"
    ),
    "torch._inductor": _words("config runtime"),
    "torch._inductor.runtime": _words("hints triton_helpers"),
    "torch._dynamo": _words(
        "allow_in_graph config disable graph_break is_compiling mark_dynamic mark_static maybe_mark_dynamic optimize"
        " reset run"
    ),
}
# Declaring and calling a C function, and nothing that turns a number into memory.
CTYPES_NAMES = frozenset(("CDLL", "POINTER", "byref", "sizeof"))

# How torch's private operators begin; its private modules lead to the interpreter and the dispatcher.
_PRIVATE_OPERATORS = tuple(
    _words(
        "_adaptive _addmm _aminmax _assert _batch_norm _check _convert_weight _convolution _efficient"
        " _embedding_bag _fft _flash _foreach _fused _grouped_mm _int_mm _log_softmax _masked _mixed_dtypes"
        " _mkldnn _native _nested _pack _pad _safe_softmax _scaled _segment_reduce _shape_as_tensor _softmax"
        " _sparse _standard_gamma _to_sparse _transform_bias _trilinear _triton _unique _unsafe _weight"
        " _dynamo _inductor"
    )
)
# Functions and harmless modules of torch and triton that are called like a standard library module.
_NOT_THE_STDLIB = frozenset(("chunk", "random", "select", "signal", "trace", "types"))

# Modules that torch, triton and the standard library keep as attributes of their own modules.
_MODULE_ATTRIBUTES = _words(
    "os sys subprocess builtins importlib inspect gc threading multiprocessing socket shutil pickle platform"
    " tempfile pathlib traceback pkgutil runpy ctypes _C sysconfig"
)
_FRAME_ATTRIBUTES = _words(
    "f_back f_builtins f_code f_globals f_locals tb_frame tb_next gi_frame gi_code cr_frame cr_code ag_frame"
    " ag_code func_globals mro"
)
_OTHER_ATTRIBUTES = {
    "elapsed_time": "reads the device's timer, and timing belongs to the harness",
    **_each("from_address in_dll", "turns a number or a symbol into memory"),
    "load_library": _FILES,
    **_each("_share_filename_cpu_ _share_fd_cpu_ _share_cuda_ _write_file _set_from_file", _SHARES),
    **_each("_new_shared_filename_cpu _new_shared_fd_cpu _new_shared_cuda _new_using_filename_cpu", _SHARES),
    **_each("_new_using_fd_cpu share_memory_", _SHARES),
    **_each("set_active reset_active", "replaces the driver the harness uses"),
    **_each("as_subclass _make_subclass _make_wrapper_subclass", _NOT_PLAIN),
    **_each("register_module_forward_hook register_module_forward_pre_hook", _HOOKS),
    **_each("register_module_full_backward_hook swap_tensors py_impl py_functionalize_impl", _HOOKS),
}
_PLAIN_DUNDERS = _words(
    "__all__ __author__ __call__ __class__ __constants__ __contains__ __dict__ __doc__ __enter__ __exit__"
    " __file__ __getitem__ __init__ __iter__ __len__ __members__ __name__ __new__ __post_init__ __qualname__ __repr__"
    " __setattr__ __setitem__ __slots__ __version__"
)
# In a string these can only be meant for a lookup that the syntax tree does not show.
HIDDEN_NAMES = _words(
    "__globals__ __builtins__ __subclasses__ __import__ __code__ __bases__ __mro__ f_back f_globals tb_frame"
)
SYSTEM_DIRECTORIES = ("/proc/", "/sys/", "/dev/", "/etc/", "/run/")
# The class of plain tensors, and methods that make another class answer in its place.
TENSOR_CLASSES = frozenset(("torch.Tensor", "torch._tensor.Tensor"))
TENSOR_PROTOCOL_METHODS = frozenset(("__torch_function__", "__torch_dispatch__"))

BUILTIN_REFUSALS = {
    **_each("eval exec compile", _RUNS_TEXT),
    **_each("globals locals vars", "hands out a namespace, whose entries no rule can follow"),
    **_each("input breakpoint help exit quit", "talks to a terminal or ends the process"),
    **_each("__builtins__ __build_class__ __loader__ __spec__", _INTROSPECTION),
    "open": _FILES,
    "__import__": "imports past the list of allowed modules",
}

# A path of more parts than this is not followed but refused; the longest honest one has seven.
LONGEST_CHAIN = 32
LONG_CHAIN = "(a chain too long to follow)"

# Settings of torch a kernel may choose for itself; all else that is imported stays as it is.
_SETTING_MODULES = ("torch._inductor.config", "torch._dynamo.config")
_BACKEND_SETTINGS = _words(
    "allow_tf32 fp32_precision benchmark benchmark_limit deterministic enabled allow_fp16_accumulation"
    " allow_fp16_reduced_precision_reduction allow_bf16_reduced_precision_reduction"
)


def import_refusal(path: str) -> str | None:
    """Why the module or member `path` may not be imported, or None; `module.*` is everything in it."""
    root, _, rest = path.partition(".")
    if path in _ALLOWED_MEMBERS:
        return None
    if root not in ALLOWED_ROOTS:
        why = _IMPORT_REASONS.get(root, f"is not among the modules a kernel needs: {allowed_roots_text()}")
        return f"import of {root}: it {why}"
    if rest.endswith("*") and root not in ("math", "typing"):
        return f"import of everything from {path.removesuffix('.*')}: name what is used"
    return path_refusal(path)


def allowed_roots_text() -> str:
    """The allowed modules as one readable list."""
    return ", ".join(sorted(ALLOWED_ROOTS - {"__future__"}))


def path_refusal(path: str) -> str | None:
    """Why the dotted path, resolved through the candidate's imports, may not be used, or None."""
    if path == LONG_CHAIN:
        return f"a chain of more than {LONGEST_CHAIN} attributes: no kernel needs one"
    parts = path.split(".")
    for end in range(1, len(parts)):
        prefix, name = ".".join(parts[:end]), parts[end]
        why = _member_refusal(prefix, name)
        if why is not None:
            return f"{prefix}.{name} {why}"
    return None


def _member_refusal(prefix: str, name: str) -> str | None:
    root = prefix.partition(".")[0]
    path = f"{prefix}.{name}"
    if path in _REFUSED_PATHS:
        return _REFUSED_PATHS[path]
    if _is_foreign_module(root, path, name):
        return "is a module it happens to carry, and not one a kernel needs"
    if root == "ctypes":
        is_needed = name in CTYPES_NAMES or name.startswith("c_")
        return None if is_needed else "is not needed to call a compiled kernel"
    if name not in _NEEDED_PARTS.get(prefix, (name,)):
        return f"is not one of the parts of {prefix} a kernel needs: " + ", ".join(sorted(_NEEDED_PARTS[prefix]))
    return _private_refusal(root, prefix, name)


def _is_foreign_module(root: str, path: str, name: str) -> bool:
    bare = name.strip("_")
    if bare not in sys.stdlib_module_names or path == "collections.abc":
        return False
    if root in ("torch", "triton"):
        return bare not in _NOT_THE_STDLIB and (bare not in ALLOWED_ROOTS or bare == "ctypes")
    return True


def _private_refusal(root: str, prefix: str, name: str) -> str | None:
    if not name.startswith("_") or name in _PLAIN_DUNDERS - {"__dict__"}:
        return None
    if root not in ("torch", "triton") or name.startswith("__"):
        return _INTROSPECTION
    if prefix == "torch" and not name.startswith(_PRIVATE_OPERATORS):
        return "is a private part of torch and no operator"
    return None


def attribute_refusal(name: str) -> str | None:
    """Why no object's attribute `name` may be read or written, or None."""
    if name in _MODULE_ATTRIBUTES:
        return f".{name}: it {_IMPORT_REASONS.get(name, _SYSTEM)}"
    if name in _FRAME_ATTRIBUTES:
        return f".{name}: it {_INTROSPECTION}"
    if name in _OTHER_ATTRIBUTES:
        return f".{name}: it {_OTHER_ATTRIBUTES[name]}"
    if name.startswith("__") and name.endswith("__") and name not in _PLAIN_DUNDERS:
        return f".{name}: it {_INTROSPECTION}"
    return None


def dunder_is_plain(name: str) -> bool:
    """Whether a class or module may define the double-underscore name `name`."""
    return name in _PLAIN_DUNDERS or not (name.startswith("__") and name.endswith("__"))


def is_setting(path: str) -> bool:
    """Whether `path` is a setting of torch, or a part of one, that a candidate may assign."""
    if path.startswith(tuple(f"{module}." for module in _SETTING_MODULES)):
        return True
    return path.startswith("torch.backends.") and path.rpartition(".")[2] in _BACKEND_SETTINGS


def could_become_refused(leading: str) -> bool:
    """Whether a name that starts with `leading` could still turn out to be a refused attribute."""
    if leading == "" or leading.startswith("_"):
        return True
    refused = _MODULE_ATTRIBUTES | _FRAME_ATTRIBUTES | _OTHER_ATTRIBUTES.keys()
    return any(name.startswith(leading) for name in refused)
