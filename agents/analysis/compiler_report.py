"""What the compile-ahead gate says of Triton kernels, as a profile: all there is where no profiler ran."""

from everforge.model.check import GateReport, KernelReport
from everforge.model.device import DeviceKind
from everforge.model.kernel_profile import KernelProfile, Profile, ProfileTool

_WARP = 32


def of_gate_report(report: GateReport) -> Profile:
    """Registers, spills and shared memory of the kernels that compile; of several configurations the neediest."""
    neediest: dict[str, KernelReport] = {}
    for kernel in report.kernels:
        if kernel.fault is None and _needs(kernel) >= _needs(neediest.get(kernel.name, kernel)):
            neediest[kernel.name] = kernel
    notes = ["the compiler measures nothing: no times, no traffic; those need a profiler"]
    if report.not_checked is not None:
        notes.append(f"not compiled to the end: {report.not_checked}")
    return Profile(
        tool=ProfileTool.TRITON,
        device=DeviceKind.CUDA,
        device_name=report.arch,
        kernels=tuple(_kernel(kernel) for kernel in neediest.values()),
        sources={
            "registers_per_thread": "REG of cuobjdump -res-usage",
            "spilled_bytes": "STACK of cuobjdump -res-usage",
            "shared_bytes": "metadata.shared",
        },
        notes=tuple(notes),
    )


def _needs(kernel: KernelReport) -> tuple[int, int]:
    return kernel.stack_bytes or 0, kernel.registers or 0


def _kernel(kernel: KernelReport) -> KernelProfile:
    warps, stages = kernel.config.get("num_warps"), kernel.config.get("num_stages")
    return KernelProfile(
        name=kernel.name,
        registers_per_thread=kernel.registers,
        spilled_bytes=kernel.stack_bytes,
        shared_bytes=kernel.shared_bytes,
        threads_per_block=warps * _WARP if isinstance(warps, int) and warps > 0 else None,
        pipeline_stages=stages if isinstance(stages, int) and stages >= 0 else None,
    )
