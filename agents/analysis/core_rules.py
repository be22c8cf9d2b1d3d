"""Time in the cores: arithmetic at its ceiling, registers that spill, cores that stand empty or wait for each other.

`analyse.py` runs these rules.
"""

import math
from collections.abc import Iterator

from everforge.agents.analysis.case import UTILISED, Case, Finding, advice, share_figure
from everforge.agents.analysis.memory_rules import MEMORY_STALLS
from everforge.agents.analysis.roofline import best_rate
from everforge.model.analysis import Ceiling, Confidence, Figure, Limiter, Recommendation
from everforge.model.kernel_profile import KernelProfile
from everforge.model.precision import Precision

# A kernel of products that has its matrix engines busy for less does them elsewhere.
_UNUSED = 0.05
# Engines busier than this many times what the stated products take do more than is stated.
_EXCESS = 1.2
# Faster than the measured rate of fp32 by more than this, products are not done in it.
_OVER_FP32 = 1.1
# Below half of what a core can hold, latencies show; above, more warps rarely help (Volkov 2010).
_LOW_OCCUPANCY = 0.5
# Achieved over theoretical: below, warps end at different times or there are too few blocks.
_UNEVEN = 0.7
_SHARED_STALLS = ("short_scoreboard", "mio_throttle")
_BARRIERS = ("barrier", "membar")
_WAITING = 0.25
_BUSY = 0.8
# Spills cost what their traffic costs; where no stall tells, as much weight as a limit half used up.
_SPILLS_EXPLAIN = 0.5
# Few warps are a cause only where latencies show: half the weight of a wait that was measured.
_OCCUPANCY_WEIGHT = 0.5


def compute(case: Case) -> Iterator[Finding]:
    """Arithmetic is at its ceiling, or the products miss the engines made for them."""
    matrix, useful = case.matrix_share, case.useful_compute_share
    if _matrix_engines_idle(case):
        yield from _unused_engines(case)
        return
    yield from _at_the_rate_of_fp32(case)
    used = max((share for share in (matrix, useful) if share is not None), default=None)
    if used is None or used < UTILISED:
        return
    name = "of the fastest allowed products' rate" if used == useful else "matrix engines busy"
    source = "evaluation, graph, peaks" if used == useful else case.source("matrix_utilisation")
    figures = (share_figure(name, used, source),)
    yield Finding(Limiter.COMPUTE, used, figures, _less_work(case, matrix, useful))


def _matrix_engines_idle(case: Case) -> bool:
    """Products are the ceiling, a faster precision than fp32 is allowed, and the counters see none of them."""
    roofline, matrix = case.roofline, case.matrix_share
    is_ours = roofline is not None and roofline.ceiling is Ceiling.COMPUTE
    return is_ours and matrix is not None and matrix < _UNUSED and _precision_gain(case) > 1 and bool(case.stated_flops)


def _unused_engines(case: Case) -> Iterator[Finding]:
    matrix = case.matrix_share or 0.0
    what = "Do the products on the matrix engines: tl.dot or library tiles in the fastest precision the policy allows."
    why = f"products are the ceiling of this task, and the matrix engines are busy for {matrix:.1%} of the time"
    figures = (share_figure("matrix engines busy", matrix, case.source("matrix_utilisation")),)
    found = advice(case, Limiter.COMPUTE, what, why, None, Confidence.HIGH)
    yield Finding(Limiter.COMPUTE, 1 - (case.useful_compute_share or 0.0), figures, found)


def _less_work(case: Case, matrix: float | None, useful: float | None) -> tuple[Recommendation, ...]:
    """Engines that are busier than the stated products explain do more than is stated."""
    if matrix is None or not useful or matrix < UTILISED or matrix / useful < _EXCESS:
        return ()
    what = (
        "Do fewer products: tiles that fit the shapes, no padding, nothing computed twice, blocks below a mask skipped."
    )
    why = f"the matrix engines are busy for {matrix:.0%} of the time, the stated products take {useful:.0%} of it"
    return advice(case, Limiter.COMPUTE, what, why, matrix / useful, Confidence.MEDIUM)


def _at_the_rate_of_fp32(case: Case) -> Iterator[Finding]:
    """The time is that of the stated products in fp32, though the policy allows a faster precision."""
    gain, useful = _precision_gain(case), case.useful_compute_share
    uses_engines = case.matrix_share is not None and case.matrix_share >= _UNUSED
    if gain < _EXCESS or useful is None or uses_engines or not UTILISED <= useful * gain <= _OVER_FP32:
        return
    what = "Use the fastest precision the policy allows for the products, and accumulate in fp32."
    why = f"in fp32 the stated products take {useful * gain:.0%} of the time; allowed ones are {gain:.1f} times as fast"
    figures = (share_figure("of the rate of fp32 products", min(1.0, useful * gain), "evaluation, graph, peaks"),)
    found = advice(case, Limiter.COMPUTE, what, why, gain, Confidence.MEDIUM)
    yield Finding(Limiter.COMPUTE, min(1.0, useful * gain), figures, found)


def _precision_gain(case: Case) -> float:
    best, slow = best_rate(case.peaks, case.policy), case.peaks.flops_per_s.get(Precision.FP32)
    return best / slow if best and slow and slow > 0 else 1.0


def spills(case: Case) -> Iterator[Finding]:
    """Threads keep values in memory for want of registers."""
    spilling = [] if case.profile is None else [kernel for kernel in case.profile.kernels if kernel.spilled_bytes]
    if not spilling:
        return
    kernel = max(spilling, key=lambda each: (each.share or 0.0, each.spilled_bytes or 0))
    waiting, share = _waiting(kernel), 1.0 if kernel.share is None else kernel.share
    gain = case.of_kernel(1 / (1 - waiting), share) if waiting is not None and waiting < 1 else None
    what = "Keep fewer values alive: smaller tiles, more warps for a tile, recompute what is cheap, shorter pipelines."
    registers = f" with {kernel.registers_per_thread} registers" if kernel.registers_per_thread else ""
    why = f"each thread of {kernel.name} spills {kernel.spilled_bytes} bytes{registers}"
    confidence = Confidence.LOW if waiting is None else Confidence.MEDIUM
    found = advice(case, Limiter.REGISTERS, what, why, gain, confidence)
    explains = (_SPILLS_EXPLAIN if waiting is None else waiting) * share
    yield Finding(Limiter.REGISTERS, explains, tuple(_spill_figures(case, kernel, waiting)), found)


def _spill_figures(case: Case, kernel: KernelProfile, waiting: float | None) -> Iterator[Figure]:
    spilled = float(kernel.spilled_bytes or 0)
    yield Figure(name="spilled by a thread", value=spilled, unit="B", source=case.source("spilled_bytes"))
    if waiting is not None:
        yield share_figure("waiting for memory", waiting, case.source("stalls"))


def _waiting(kernel: KernelProfile) -> float | None:
    """Share of a kernel's stalls for memory, where spilled values lie; None where no reasons are known."""
    if not kernel.stalls:
        return None
    return min(1.0, sum(stall.share for stall in kernel.stalls if stall.reason in MEMORY_STALLS))


def occupancy(case: Case) -> Iterator[Finding]:
    """Too few warps are resident to hide latencies, and neither ceiling is near."""
    kernel = case.kernel
    achieved = None if kernel is None else kernel.occupancy_achieved
    if kernel is None or achieved is None or not 0 < achieved < _LOW_OCCUPANCY or case.is_at_a_ceiling:
        return
    theoretical = kernel.occupancy_theoretical
    if theoretical is not None and achieved < _UNEVEN * theoretical:
        return  # `imbalance` speaks of it
    limiter, what = _what_holds_blocks_back(kernel)
    figures = (
        share_figure("achieved occupancy", achieved, case.source("occupancy_achieved")),
        *_limit_figures(kernel, case),
    )
    why = (
        f"{achieved:.0%} of the warps a core can hold are resident, and neither memory nor arithmetic is near its peak"
    )
    gain = case.of_kernel(1 / achieved)
    found = advice(case, limiter, what, why, gain, _confidence_of_waiting(case))
    yield Finding(limiter, _OCCUPANCY_WEIGHT * min(UTILISED, 1 - achieved), figures, found)


def _what_holds_blocks_back(kernel: KernelProfile) -> tuple[Limiter, str]:
    """The resource of which blocks run out first."""
    first = min(kernel.block_limits, key=lambda name: (kernel.block_limits[name], name), default=None)
    if first == "registers":
        return Limiter.REGISTERS, "Use fewer registers for each thread: smaller tiles, or more warps for a tile."
    if first == "shared_memory" and kernel.shared_bytes != 0:
        return Limiter.SHARED_MEMORY, "Use less shared memory for each block: smaller tiles, or fewer pipeline stages."
    return Limiter.OCCUPANCY, "Have more warps on each core: more or larger blocks, several rows or tiles at once."


def _limit_figures(kernel: KernelProfile, case: Case) -> Iterator[Figure]:
    for resource, blocks in sorted(kernel.block_limits.items()):
        name = f"blocks a core can hold, by {resource}"
        yield Figure(name=name, value=blocks, unit="", source=case.source("block_limits"))


def _confidence_of_waiting(case: Case) -> Confidence:
    """Few warps are no harm where none of them waits: kernels of products run well with one block a core."""
    waiting = case.stall_share(MEMORY_STALLS)
    return Confidence.MEDIUM if waiting is not None and waiting >= _WAITING else Confidence.LOW


def shared_memory(case: Case) -> Iterator[Finding]:
    """Warps wait for shared memory."""
    waiting = case.stall_share(_SHARED_STALLS)
    if waiting is None or not _WAITING <= waiting < 1 or case.kernel is None or case.kernel.shared_bytes == 0:
        return
    what = "Ease shared memory: no bank conflicts (swizzled or padded layouts), wider accesses, reuse in registers."
    why = f"warps wait for shared memory for {waiting:.0%} of the time between instructions"
    figures = (share_figure("waiting for shared memory", waiting, case.source("stalls")),)
    gain = case.of_kernel(1 / (1 - waiting))
    found = advice(case, Limiter.SHARED_MEMORY, what, why, gain, Confidence.MEDIUM)
    yield Finding(Limiter.SHARED_MEMORY, waiting, figures, found)


def imbalance(case: Case) -> Iterator[Finding]:
    """Cores stand empty: too few blocks, a last wave that is not full, or warps that end at different times."""
    kernel = case.kernel
    if kernel is None or case.is_at_a_ceiling:
        return
    if kernel.waves is not None and 0 < kernel.waves < 1:
        yield _too_few_blocks(case, kernel.waves)
    elif kernel.waves is not None and kernel.waves >= 1 and kernel.waves / math.ceil(kernel.waves) < _BUSY:
        yield _last_wave(case, kernel.waves)
    elif kernel.busy_share is not None and 0 < kernel.busy_share < _BUSY:
        yield _empty_cores(case, kernel.busy_share)
    yield from _uneven_warps(case, kernel)
    yield from _barriers(case)


def _too_few_blocks(case: Case, waves: float) -> Finding:
    what = "Split the work into more blocks: along the reduced dimension too, with a second pass or atomics to combine."
    why = f"the blocks of one launch fill {waves:.0%} of the device"
    return _finding(case, Figure(name="waves", value=waves, unit="", source=case.source("waves")), what, why, waves)


def _last_wave(case: Case, waves: float) -> Finding:
    full = waves / math.ceil(waves)
    what = "Even out the last wave: a persistent kernel with one block for each core, or another tile size."
    why = f"{waves:.2f} waves of blocks take the time of {math.ceil(waves)}"
    return _finding(case, Figure(name="waves", value=waves, unit="", source=case.source("waves")), what, why, full)


def _empty_cores(case: Case, busy: float) -> Finding:
    what = "Keep all cores busy to the end: smaller pieces of work, the longest first, or a persistent kernel."
    why = f"cores have a warp for {busy:.0%} of the kernel's time"
    return _finding(case, share_figure("busy cores", busy, case.source("busy_share")), what, why, busy)


def _uneven_warps(case: Case, kernel: KernelProfile) -> Iterator[Finding]:
    achieved, theoretical = kernel.occupancy_achieved, kernel.occupancy_theoretical
    if achieved is None or not theoretical or not 0 < achieved < _UNEVEN * theoretical:
        return
    what = "Give warps and blocks equal work, and enough blocks: what ends early leaves its place empty."
    why = f"{achieved:.0%} of a core's warps are resident on average, where its resources allow {theoretical:.0%}"
    figure = share_figure(
        "achieved over theoretical occupancy", achieved / theoretical, case.source("occupancy_achieved")
    )
    yield _finding(case, figure, what, why, achieved / theoretical)


def _barriers(case: Case) -> Iterator[Finding]:
    waiting = case.stall_share(_BARRIERS)
    if waiting is None or not _WAITING <= waiting < 1:
        return
    what = "Wait less at barriers: fewer of them, smaller blocks, warps with equal work."
    why = f"warps wait for others at barriers for {waiting:.0%} of the time between instructions"
    figure = share_figure("waiting at barriers", waiting, case.source("stalls"))
    yield _finding(case, figure, what, why, 1 - waiting)


def _finding(case: Case, figure: Figure, what: str, why: str, used: float) -> Finding:
    """Of the hottest kernel's time `used` is of use; the rest is the most there is to gain."""
    found = advice(case, Limiter.IMBALANCE, what, why, case.of_kernel(1 / used), Confidence.MEDIUM)
    return Finding(Limiter.IMBALANCE, 1 - used, (figure,), found)
