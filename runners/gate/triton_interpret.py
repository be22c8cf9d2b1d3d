"""Runs a Triton candidate in Triton's interpreter: its values on the CPU, slowly, with no GPU.

Triton decides when it is imported whether kernels are compiled or interpreted, its own library of kernels
included. A process that calls `interpret` is interpreted for good and runs candidate code: a jailed child of its
own, by `slots.py`. The interpreter lacks parts of the language, so what it raises is no verdict.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from everforge.runners.gate.triton_stand_ins import replaced, stand_in_driver, stand_in_queries

# The autotuner asks for an architecture; the interpreter is the same for all of them.
_ARCHITECTURE = "sm_90"


@contextmanager
def interpret() -> Iterator[None]:
    """Import, build and call a candidate inside, on CPU tensors; it must not be imported before.

    Of an autotuned kernel the first configuration is interpreted.
    """
    _import_anew()
    with ExitStack() as stack:
        # No configuration is run to be measured: all come out equal, and the first is taken.
        stack.enter_context(stand_in_driver(_ARCHITECTURE, lambda _: True))
        stack.enter_context(stand_in_queries(_ARCHITECTURE))
        stack.enter_context(_mended())
        yield


def _import_anew() -> None:
    """Have Triton imported as an interpreter, also where it was imported as a compiler; takes 50 ms."""
    os.environ["TRITON_INTERPRET"] = "1"
    for name in [name for name in sys.modules if name.partition(".")[0] == "triton"]:
        if not name.startswith("triton._C"):  # the compiled core is the same in both modes and loads once
            del sys.modules[name]


@contextmanager
def _mended() -> Iterator[None]:
    """Mend two faults of Triton 3.6's interpreter, either of which would speak falsely of a right kernel.

    Loop bounds raise under NumPy 2.4 (triton-lang/triton issue 9171), and `dot` multiplies the bit patterns of
    bf16 operands, since NumPy has no bf16 and holds them as integers.
    """
    from triton.runtime import interpreter

    patch_tensor, dot = interpreter._patch_lang_tensor, interpreter.InterpreterBuilder.create_dot

    def with_index(tensor: Any, scope: Any) -> None:
        patch_tensor(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    def wide_dot(builder: Any, left: Any, right: Any, *rest: Any) -> Any:
        return dot(builder, _widened(left), _widened(right), *rest)

    with (
        replaced(interpreter, "_patch_lang_tensor", with_index),
        replaced(interpreter.InterpreterBuilder, "create_dot", wide_dot),
    ):
        yield


def _widened(handle: Any) -> Any:
    """A bf16 operand as fp32: the same bits, above 16 zeros."""
    import triton.language as tl
    from triton.runtime.interpreter import TensorHandle

    if handle.dtype.scalar != tl.bfloat16:
        return handle
    return TensorHandle((handle.data.astype("uint32") << 16).view("float32"), tl.float32)
