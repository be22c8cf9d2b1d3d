"""Runs a Triton candidate in Triton's interpreter: its values on the CPU, slowly, with no GPU.

Triton decides when it is imported whether kernels are compiled or interpreted, its own library of kernels
included. A process must therefore start with `INTERPRETER_ENVIRONMENT`, or, forked from one that has imported
Triton already, call `enter_interpreter` before it imports the candidate. Either way the process is interpreted for
good and runs candidate code: a jailed child of its own, called by `worker.py`.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from everforge.errors import HarnessFault
from everforge.runners.triton_stand_ins import stand_in_driver

INTERPRETER_ENVIRONMENT = {"TRITON_INTERPRET": "1"}
# The autotuner asks for an architecture; the interpreter is the same for all of them.
_ARCHITECTURE = "sm_90"


@dataclass(frozen=True)
class Interpreted:
    """What a forward returned on CPU tensors, or why the interpreter could not tell."""

    outputs: Any = None
    not_checked: str | None = None


def enter_interpreter() -> None:
    """Have Triton imported anew as an interpreter; takes 50 ms. The candidate must not be imported yet."""
    os.environ.update(INTERPRETER_ENVIRONMENT)
    for name in [name for name in sys.modules if name.partition(".")[0] == "triton"]:
        if not name.startswith("triton._C"):  # the compiled core is the same in both modes and loads once
            del sys.modules[name]


def interpret(run_forward: Callable[[], Any]) -> Interpreted:
    """Import, build and call a candidate on small CPU tensors with its kernels interpreted.

    Of an autotuned kernel the first configuration is interpreted. Whatever goes wrong is `not_checked`, never a
    verdict: the interpreter lacks parts of the language, and a kernel may be right without them.
    Raises HarnessFault if Triton was imported to compile.
    """
    from triton.language import standard
    from triton.runtime.interpreter import InterpretedFunction

    if not isinstance(standard.sum, InterpretedFunction):
        raise HarnessFault("Triton was imported to compile; call enter_interpreter before the candidate's import")
    try:
        with stand_in_driver(_ARCHITECTURE, lambda _: True):
            return Interpreted(outputs=run_forward())
    except BaseException as error:  # noqa: BLE001 - a candidate may raise anything, SystemExit included: all of it is data
        return Interpreted(not_checked=f"the interpreter stopped: {type(error).__name__}: {error}"[:500])
