"""What Triton's compiler tells of a kernel: registers, spills, shared memory, warps, stages. No times.

Read from the object a launch returns, or `triton.compile` ahead of time. Once it was loaded on a device, the driver's
counts are its attributes; before, they are read from the machine code.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from everforge.model.device import DeviceKind
from everforge.model.kernel_profile import KernelProfile, Profile, ProfileTool, ranked
from everforge.runners.gate.triton_gate import cubin_resources

_DEVICES = {"cuda": DeviceKind.CUDA, "xpu": DeviceKind.XPU}
# The driver counts spills in registers of 4 bytes: local memory over 4 (nvidia/driver.c of Triton 3.6).
_SPILL_BYTES = 4
# Per multiprocessor of sm_80 and later: CUDA C++ Programming Guide, table of compute capabilities.
_REGISTERS = 65536
_THREADS = 2048
# Registers are given out to a warp in units of 256 (ibid.).
_REGISTER_UNIT = 256


def of_compiled_kernels(kernels: Iterable[Any]) -> Profile:
    """A profile of compiled kernels (`triton.compiler.CompiledKernel`), each name once, the largest figures of it.

    What machine code or metadata do not tell is None and named in the notes.
    """
    listed = list(kernels)
    targets = [kernel.metadata.target for kernel in listed]
    backends = {target.backend for target in targets}
    known = {_DEVICES[backend] for backend in backends if backend in _DEVICES}
    return Profile(
        tool=ProfileTool.TRITON,
        device=known.pop() if len(known) == 1 else DeviceKind.CUDA,
        device_name=", ".join(sorted({f"{target.backend} {target.arch}" for target in targets})) or None,
        kernels=ranked(_by_name(_kernel(kernel) for kernel in listed)),
        sources={
            "registers_per_thread": "n_regs, or REG of cuobjdump -res-usage",
            "spilled_bytes": "4 × n_spills, or STACK of cuobjdump -res-usage",
            "shared_bytes": "metadata.shared",
            "threads_per_block": "metadata.num_warps × warp size",
            "pipeline_stages": "metadata.num_stages",
        },
        notes=("the compiler measures nothing: no times, no traffic; those need a profiler",),
    )


def _by_name(kernels: Iterable[KernelProfile]) -> list[KernelProfile]:
    """One for each name: of several specialisations the one with the most spills, then registers."""
    worst: dict[str, KernelProfile] = {}
    for kernel in kernels:
        before = worst.setdefault(kernel.name, kernel)
        if _needs(kernel) > _needs(before):
            worst[kernel.name] = kernel
    return list(worst.values())


def _needs(kernel: KernelProfile) -> tuple[int, int]:
    return kernel.spilled_bytes or 0, kernel.registers_per_thread or 0


def _kernel(compiled: Any) -> KernelProfile:
    metadata = compiled.metadata
    registers, spilled_bytes = _registers(compiled)
    threads = metadata.num_warps * metadata.target.warp_size
    limits = _block_limits(registers, threads) if metadata.target.backend == "cuda" else {}
    return KernelProfile(
        name=metadata.name,
        threads_per_block=threads,
        registers_per_thread=registers,
        spilled_bytes=spilled_bytes,
        shared_bytes=metadata.shared,
        pipeline_stages=getattr(metadata, "num_stages", None),
        block_limits=limits,
    )


def _registers(compiled: Any) -> tuple[int | None, int | None]:
    """Registers and spilled bytes of one thread: as the driver says, else as the machine code does."""
    counted, spilled = getattr(compiled, "n_regs", None), getattr(compiled, "n_spills", None)
    if counted is not None and spilled is not None:
        return int(counted), int(spilled) * _SPILL_BYTES
    assembly: Mapping[str, Any] = compiled.asm
    return cubin_resources(assembly["cubin"]) if "cubin" in assembly else (None, None)


def _block_limits(registers: int | None, threads: int) -> dict[str, int]:
    """Blocks that registers and warps leave room for; shared memory is split between it and L1 at launch."""
    limits = {"warps": _THREADS // threads}
    if registers:
        warps = -(-threads // 32)
        limits["registers"] = _REGISTERS // (-(-registers * 32 // _REGISTER_UNIT) * _REGISTER_UNIT * warps)
    return limits
