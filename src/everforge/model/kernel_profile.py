"""What a profiler saw of kernels, in one form for every vendor: times, resources, traffic, stalls, gaps.

`runners/profiles/` makes it from the exports of Nsight Compute, unitrace, VTune and the torch profiler, and from what
Triton's compiler says; `agents/analysis` reads it. A figure that a tool did not give is None, never 0.
"""

from collections.abc import Iterable
from enum import StrEnum

from pydantic import Field

from everforge.model.base import Record
from everforge.model.device import DeviceKind

PROFILE_SCHEMA_VERSION = 1

Share = float  # from 0 to 1; tools print percentages


class ProfileTool(StrEnum):
    """The tools whose exports are read; one adapter in `runners/profiles/` for each."""

    NSIGHT_COMPUTE = "nsight-compute"
    TORCH_PROFILER = "torch-profiler"
    TRITON = "triton"
    UNITRACE = "unitrace"
    VTUNE = "vtune"


class Stall(Record):
    """A reason for which warps, or threads of an Intel vector engine, could not issue."""

    reason: str = Field(description="In the tool's own word: long_scoreboard, sbid, …; `stalled` where none is told")
    share: Share = Field(
        ge=0,
        le=1,
        description="Of the time between two instructions of a warp; of the kernel's time on Intel's engines",
    )


class KernelProfile(Record):
    """All launches of one kernel: times and bytes are sums, shares means weighted by time, resources the largest."""

    name: str = Field(description="As the tool prints it, without launch shapes")
    launches: int | None = Field(None, ge=1, description="Launches behind the figures")
    time_us: float | None = Field(None, ge=0, description="Time on the device, all launches")
    share: Share | None = Field(None, ge=0, le=1, description="Of the time of all kernels in the profile")
    threads_per_block: int | None = Field(None, ge=1)
    blocks: int | None = Field(None, ge=1, description="Blocks of one launch")
    waves: float | None = Field(None, ge=0, description="Blocks of one launch over those that run at once")
    registers_per_thread: int | None = Field(None, ge=0)
    spilled_bytes: int | None = Field(None, ge=0, description="Of one thread, in memory for want of registers")
    shared_bytes: int | None = Field(None, ge=0, description="Shared local memory of one block")
    pipeline_stages: int | None = Field(None, ge=0, description="Stages of the software pipeline, as compiled")
    occupancy_achieved: Share | None = Field(None, ge=0, le=1, description="Resident warps over what a core can hold")
    occupancy_theoretical: Share | None = Field(None, ge=0, le=1, description="What the kernel's resources allow")
    block_limits: dict[str, int] = Field(
        default_factory=dict,
        description="Blocks that one core can hold by each resource: registers, shared_memory, warps, blocks",
    )
    busy_share: Share | None = Field(None, ge=0, le=1, description="Of core time with at least one warp resident")
    bytes_read: float | None = Field(None, ge=0, description="From device memory, all launches")
    bytes_written: float | None = Field(None, ge=0, description="To device memory, all launches")
    l2_hit_rate: Share | None = Field(
        None, ge=0, le=1, description="Of the last-level cache on the device; L3 at Intel"
    )
    matrix_utilisation: Share | None = Field(
        None, ge=0, le=1, description="Time in which tensor cores or XMX engines are busy"
    )
    stalls: tuple[Stall, ...] = Field((), description="Largest first")
    bandwidth_bytes_per_s: float | None = Field(None, ge=0, description="Achieved, of device memory")
    flops_per_s: float | None = Field(None, ge=0, description="Achieved, as the tool counts instructions")

    @property
    def bytes_moved(self) -> float | None:
        """Bytes read plus written; None unless both are known."""
        return None if self.bytes_read is None or self.bytes_written is None else self.bytes_read + self.bytes_written


class HostGaps(Record):
    """Time between the first kernel and the last in which the device had nothing to do."""

    span_us: float = Field(ge=0, description="From the first kernel's start to the last one's end")
    idle_us: float = Field(ge=0, description="Of it, without any kernel or copy on the device")
    longest_us: float = Field(ge=0)
    count: int = Field(ge=0)

    @property
    def idle_share(self) -> Share:
        """The idle part of the span."""
        return min(1.0, self.idle_us / self.span_us) if self.span_us > 0 else 0.0


class Profile(Record):
    """One profiling run of a candidate."""

    schema_version: int = PROFILE_SCHEMA_VERSION
    tool: ProfileTool
    device: DeviceKind
    device_name: str | None = None
    kernels: tuple[KernelProfile, ...] = Field((), description="Largest share of time first")
    host_gaps: HostGaps | None = Field(None, description="None where the tool has no timeline")
    sources: dict[str, str] = Field(
        default_factory=dict, description="Field of a kernel to the tool's metric or column it was read from"
    )
    notes: tuple[str, ...] = Field((), description="What is missing and why, and what a reader must know")

    @property
    def hottest(self) -> KernelProfile | None:
        """The kernel with the largest share of time; the first where no times are known, None without kernels."""
        return max(self.kernels, key=lambda kernel: kernel.share or 0.0, default=None)


def ranked(kernels: Iterable[KernelProfile]) -> tuple[KernelProfile, ...]:
    """Kernels with the largest time first, and each one's share of the time of all; None where a time is missing."""
    listed = list(kernels)
    times_us = [kernel.time_us for kernel in listed if kernel.time_us is not None]
    total_us = sum(times_us)
    if len(times_us) < len(listed) or total_us <= 0:
        return tuple(kernel.model_copy(update={"share": None}) for kernel in listed)
    shared = [kernel.model_copy(update={"share": min(1.0, (kernel.time_us or 0.0) / total_us)}) for kernel in listed]
    return tuple(sorted(shared, key=lambda kernel: (-(kernel.time_us or 0.0), kernel.name)))


def completed(profile: Profile, other: Profile) -> Profile:
    """`profile`, its absent figures taken from the other's kernels of the same names; where both have one, it stays.

    Triton's compiler knows registers and spills but no times, the torch profiler the opposite.
    """
    known = {kernel.name: kernel for kernel in other.kernels}
    kernels = tuple(_filled(kernel, known.get(kernel.name)) for kernel in profile.kernels)
    told_by = "" if other.tool is profile.tool else f"{other.tool}: "
    sources = {field: f"{told_by}{source}" for field, source in other.sources.items()}
    return profile.model_copy(
        update={
            "kernels": kernels,
            "host_gaps": profile.host_gaps or other.host_gaps,
            "device_name": profile.device_name or other.device_name,
            "sources": sources | profile.sources,
            "notes": tuple(dict.fromkeys((*profile.notes, *(f"{told_by}{note}" for note in other.notes)))),
        }
    )


def _filled(kernel: KernelProfile, other: KernelProfile | None) -> KernelProfile:
    if other is None:
        return kernel
    absent = [name for name in KernelProfile.model_fields if getattr(kernel, name) in (None, (), {})]
    return kernel.model_copy(update={name: getattr(other, name) for name in absent if name != "share"})
