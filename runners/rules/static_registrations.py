"""Registering operators with PyTorch: allowed for a candidate's own, refused where PyTorch's would be replaced.

`torch.library.register_kernel("aten::sum", "cpu")` puts another function in the place of every sum in the process,
those by which the harness copies inputs and checks outputs included. What a kernel needs is an operator in a
namespace of its own. `static_walk.py` asks about calls from Python, `native_rules.py` about TORCH_LIBRARY.
"""

import ast
from collections.abc import Collection

_REGISTERING = "Library impl register_autocast register_autograd register_kernel register_torch_dispatch register_vmap"
# Functions whose first argument names an operator or a namespace and whose effect reaches all that calls it.
# custom_op and triton_op only make new operators, and register_fake is for compilers alone.
REGISTRATIONS = frozenset(f"torch.library.{name}" for name in _REGISTERING.split())
_WITH_OPERATORS = (
    "_c10d_functional _c10d_functional_autograd _dtensor _quantized _test aten c10d c10d_functional cuda debugprims"
    " export fb higher_order inductor mkl mkldnn mkldnn_prepacked onednn prepacked prim prims profiler quantized"
    " quantized_decomposed rngprims sparse static_runtime streams symm_mem xnnpack"
)
# Those with operators in torch 2.11, and `_`, which stands for all of them.
PYTORCH_NAMESPACES = frozenset(("_", *_WITH_OPERATORS.split()))
# What that argument is called.
_FIRST = ("ns", "op", "qualname")
_OWN = "name a namespace of your own in a plain text, or use torch.library.custom_op"


def registration_refusal(path: str, call: ast.Call, own_functions: Collection[str]) -> str | None:
    """Why this call of one of REGISTRATIONS may not be made, or None.

    `own_functions` are the names of the candidate's functions: what custom_op made of one may be given instead.
    """
    first = call.args[0] if call.args else next((word.value for word in call.keywords if word.arg in _FIRST), None)
    if isinstance(first, ast.Name) and first.id in own_functions:
        return None
    if not isinstance(first, ast.Constant) or not isinstance(first.value, str):
        return f"{path}: what it registers cannot be read; {_OWN}"
    namespace = first.value.partition("::")[0].strip()
    if namespace in PYTORCH_NAMESPACES:
        return f"{path}: it replaces operators of PyTorch's, in {namespace!r}; {_OWN}"
    return None


def passed_on(path: str) -> str:
    """Why one of REGISTRATIONS may not be handed to other code."""
    return f"{path} passed on: call it where its operator can be read"
