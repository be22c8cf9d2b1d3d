"""Compiles a Triton candidate's kernels for a GPU that is not there: a cheap gate before a device is used.

A candidate's forward runs on tensors without memory, and each launch it makes is compiled down to machine code by
Triton and the `ptxas` it brings, with the argument types, constants and configurations of that launch; nothing is
launched. It runs candidate code, so `slots.py` calls it in a jailed child that ends afterwards.

Only an error of the compiler is held against a candidate. Where the stand-in device cannot follow (values read
on the host, CUDA graphs, C++ extensions) the report says that it was not checked, and why.
"""

import re
import subprocess
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from everforge.model.candidate import ParameterValue
from everforge.model.check import CompileFault, GateReport, KernelReport
from everforge.runners.gate.triton_stand_ins import ARCHITECTURES, replaced, stand_in_device, stand_in_driver

# Of an autotuned kernel's configurations that compile, so many are compiled: one proves the kernel, a few show
# how registers move with the block size, and each takes 0.1 to 1 s.
CONFIGURATIONS_PER_KERNEL = 2
_MESSAGE_CHARACTERS = 2000
# What the name of an instruction in PTX says about how a kernel works.
_FEATURES = {
    "wgmma": "wgmma.mma_async",
    "mma": "mma.sync",
    "tma": "cp.async.bulk.tensor",
    "cp.async": "cp.async.c",
}
_RESOURCES = re.compile(r"REG:(\d+) STACK:(\d+)")
# Messages of Triton's that speak of the machine: ptxas ended by a signal, or not installed.
_NOT_ITS_FAULT = re.compile(r"error code -\d+|Cannot find ptxas")


def compile_ahead(run_forward: Callable[[], Any], arch: str) -> GateReport:
    """Compile every Triton kernel that `run_forward` launches, for `arch` (`sm_90`, …).

    `run_forward` imports the candidate, builds its module and calls it once on tensors it makes itself, all under
    `torch.device("cuda")`; what it makes has no memory and no values. Raises nothing the candidate raises.
    """
    if arch not in ARCHITECTURES:
        return GateReport(arch=arch, not_checked=f"Triton cannot compile ahead for {arch}: no stand-in for it")
    compilation = Compilation()
    raised: BaseException | None = None
    try:
        with (
            stand_in_driver(arch, compilation.try_configuration),
            _compiling_through(compilation),
            stand_in_device(arch),
        ):
            run_forward()
    except BaseException as error:  # noqa: BLE001 - a candidate may raise anything, SystemExit included: all of it is data
        raised = error
    return compilation.report(arch, raised)


@contextmanager
def _compiling_through(compilation: "Compilation") -> Iterator[None]:
    """Have every kernel compiled by `compilation`, and its count of configurations begin anew for each launch."""
    import triton.compiler
    from triton.runtime.autotuner import Autotuner

    compile_kernel, autotune = triton.compiler.compile, Autotuner.run

    def recorded(source: Any, *arguments: Any, **options: Any) -> Any:
        return compilation.compile(lambda: compile_kernel(source, *arguments, **options), source, options)

    def counted(autotuner: Any, *arguments: Any, **options: Any) -> Any:
        compilation.compiled_configurations = 0
        return autotune(autotuner, *arguments, **options)

    # Each kernel takes `compile` from its module at its first launch.
    with replaced(triton.compiler, "compile", recorded), replaced(Autotuner, "run", counted):
        yield


class Compilation:
    """What has been compiled so far, and what has failed."""

    def __init__(self) -> None:
        self.compiled_configurations = 0
        self._kernels: list[KernelReport] = []
        self._failures: list[tuple[BaseException, CompileFault]] = []

    def try_configuration(self, call: Callable[[], Any]) -> bool:
        """Run one configuration of an autotuned kernel, unless enough of them have compiled."""
        if self.compiled_configurations >= CONFIGURATIONS_PER_KERNEL:
            return False
        call()
        self.compiled_configurations += 1
        return True

    def compile(self, compile_kernel: Callable[[], Any], source: Any, options: dict[str, Any]) -> Any:
        """Compile one kernel and keep what came of it; what the compiler raises goes on to the candidate."""
        name, config = source.name, _configuration(source, options.get("options") or {})
        started_s = time.perf_counter()
        try:
            compiled = compile_kernel()
        except (OSError, MemoryError):  # a full disk, no memory left: the machine's fault
            raise
        except Exception as error:  # the compiler's passes raise plain RuntimeError among others
            seconds = time.perf_counter() - started_s
            fault = fault_of(error, source.fn)
            self._failures.append((error, fault))
            self._kernels.append(KernelReport(name=name, config=config, compile_seconds=seconds, fault=fault))
            raise
        seconds = time.perf_counter() - started_s
        self._kernels.append(_compiled_report(compiled, name, config, seconds))
        return compiled

    def report(self, arch: str, raised: BaseException | None) -> GateReport:
        """The outcome, given what `run_forward` raised in the end."""
        kernels = tuple(self._kernels)
        fault = None if raised is None else self._fault_behind(raised)
        if fault is not None and _NOT_ITS_FAULT.search(fault.message):
            return GateReport(arch=arch, kernels=kernels, not_checked=f"the compiler did not run: {fault.message}")
        if fault is not None:
            return GateReport(arch=arch, kernels=kernels, fault=fault)
        if raised is not None:
            return GateReport(arch=arch, kernels=kernels, not_checked=_where_it_stopped(raised))
        if not kernels:
            return GateReport(arch=arch, not_checked="no Triton kernel was launched")
        return GateReport(arch=arch, kernels=kernels)

    def _fault_behind(self, raised: BaseException) -> CompileFault | None:
        """The compiler's failure that ended the run; None if it was ended by something else."""
        from triton.runtime.errors import OutOfResources

        for error in _chain(raised):
            if isinstance(error, OutOfResources):  # it compiles, but no multiprocessor could hold it
                kernel = self._kernels[-1].name if self._kernels else "kernel"
                return CompileFault(kernel=kernel, message=str(error))
            for failed, fault in self._failures:
                if failed is error:
                    return fault
        return None


def fault_of(error: BaseException, kernel: Any) -> CompileFault:
    """The compiler's message, with the line in the candidate's file where it has one."""
    from triton.compiler.errors import CompilationError

    line, message = None, str(error)
    for link in _chain(error):
        function = _function_with_source(kernel, getattr(link, "src", None))
        if isinstance(link, CompilationError) and function is not None:
            line = _line_in_file(function, link.node)
        if isinstance(link, CompilationError) and link.error_message:
            message = link.error_message
    text = f"line {line}: {message}" if line else message
    return CompileFault(kernel=kernel.__name__, line=line, message=text.strip()[:_MESSAGE_CHARACTERS])


def _function_with_source(kernel: Any, source: str | None) -> Any | None:
    """The kernel or the function it calls that has this source; None for one of Triton's own."""
    candidates = [kernel, *kernel.get_capture_scope().values()]
    own = [found for found in candidates if getattr(found, "src", None) == source and source]
    return next((found for found in own if found.module == kernel.module), None)


def _line_in_file(function: Any, node: Any) -> int | None:
    line = getattr(node, "lineno", None)
    before_def = next(index for index, text in enumerate(function.raw_src) if text.lstrip().startswith("def "))
    return None if line is None else int(function.starting_line_number + before_def + line - 1)


def _configuration(source: Any, options: dict[str, Any]) -> dict[str, ParameterValue]:
    """The kernel's constants by name, and how many warps and stages it is compiled for."""
    names = source.fn.arg_names
    constants = {names[path[0]]: value for path, value in source.constants.items() if len(path) == 1}
    chosen = {name: options[name] for name in ("num_warps", "num_stages", "num_ctas") if name in options}
    merged = {**constants, **chosen}
    return {
        name: value if isinstance(value, bool | int | float | str) else str(value) for name, value in merged.items()
    }


def _compiled_report(compiled: Any, name: str, config: dict[str, ParameterValue], seconds: float) -> KernelReport:
    registers, stack_bytes = cubin_resources(compiled.asm["cubin"])
    ptx = compiled.asm["ptx"]
    return KernelReport(
        name=name,
        config=config,
        compile_seconds=seconds,
        registers=registers,
        stack_bytes=stack_bytes,
        shared_bytes=compiled.metadata.shared,
        features=tuple(feature for feature, instruction in _FEATURES.items() if instruction in ptx),
    )


def cubin_resources(cubin: bytes) -> tuple[int | None, int | None]:
    """Registers and stack bytes (spilled registers) of one thread, read by Triton's cuobjdump in a few ms."""
    from triton import knobs

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [knobs.nvidia.cuobjdump.path, "-res-usage", file.name]
        listing = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = _RESOURCES.search(listing)
    return (int(found[1]), int(found[2])) if found else (None, None)


def _where_it_stopped(raised: BaseException) -> str:
    """What a candidate raised on the stand-in device, and the last line of its own that was running."""
    from torch._subclasses.fake_tensor import DataDependentOutputException

    what = f"{type(raised).__name__}: {(str(raised).strip().splitlines() or [''])[0]}"
    if isinstance(raised, DataDependentOutputException):
        what = f"it reads a tensor's values on the host, and tensors have none here ({what})"
    own = [frame for frame in traceback.extract_tb(raised.__traceback__) if not _is_library(frame.filename)]
    return f"{what[:300]}, at line {own[-1].lineno}" if own else what[:300]


def _is_library(filename: str) -> bool:
    import torch
    import triton

    homes = [Path(str(module.__file__)).parent for module in (torch, triton)] + [Path(__file__).parents[1]]
    return any(Path(filename).is_relative_to(home) for home in homes)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was raised from, outermost first."""
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in seen:
        seen.append(link)
        yield link
        link = link.__cause__ or link.__context__
