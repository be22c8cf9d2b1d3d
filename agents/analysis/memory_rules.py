"""Time in device memory: its bandwidth used up, more moved than the task needs, or waits that nothing hides.

`analyse.py` runs these rules.
"""

from collections.abc import Iterator

from everforge.agents.analysis.case import LEAST_GAIN, UTILISED, Case, Finding, advice, share_figure
from everforge.agents.analysis.roofline import quotient
from everforge.model.analysis import Ceiling, Confidence, Figure, Limiter, Recommendation
from everforge.model.kernel_profile import Profile

# Moved bytes over stated ones: below, sectors and write-backs explain it.
_EXCESS = 1.2
# Of the ceiling: a large copy itself varies by some per cent.
_FULL = 0.95
# Reasons for which warps wait for device memory: the names of Nsight Compute, and of Intel's engines.
MEMORY_STALLS = ("long_scoreboard", "lg_throttle", "sbid", "send")
# A third of a warp's time, and no other single cause is likely to be larger.
_WAITING = 0.3


def bandwidth(case: Case) -> Iterator[Finding]:
    """Device memory is busy: as its counters say, or because the task's own bytes already take that long."""
    measured, useful = case.bandwidth_share, case.useful_bandwidth_share
    used = measured if measured is not None else useful
    if used is None or used < UTILISED:
        return
    source = "evaluation, graph, peaks" if measured is None else case.source("bandwidth_bytes_per_s")
    figures = [share_figure("of the device's bandwidth", used, source)]
    excess = moved_over_stated(case)
    if excess is not None:
        moved = _traffic_source(case)
        figures.append(Figure(name="bytes moved over bytes stated", value=excess, unit="", source=moved))
    found = (*_less_traffic(case, excess), *_fuller_bandwidth(case, measured))
    yield Finding(Limiter.MEMORY_BANDWIDTH, used, tuple(figures), found)


def moved_over_stated(case: Case) -> float | None:
    """Bytes of one call over those of the stated work: bytes per second of all kernels, times the call's time.

    A profile may hold several calls; a rate needs no count of them. None unless every kernel's bytes are known.
    """
    if case.profile is None or case.stated_bytes is None or case.time_us is None:
        return None
    rate = _bytes_per_us(case.profile)
    return None if rate is None else quotient(rate * case.time_us, case.stated_bytes)


def _bytes_per_us(profile: Profile) -> float | None:
    total_us, total_bytes = 0.0, 0.0
    for kernel in profile.kernels:
        if kernel.bytes_moved is None or kernel.time_us is None:
            return None
        total_us, total_bytes = total_us + kernel.time_us, total_bytes + kernel.bytes_moved
    return quotient(total_bytes, total_us)


def _traffic_source(case: Case) -> str:
    return f"{case.source('bytes_read')}, {case.source('bytes_written')}; graph"


def _less_traffic(case: Case, excess: float | None) -> tuple[Recommendation, ...]:
    if excess is None or excess < _EXCESS:
        return ()
    what = (
        "Move less: fuse so that no intermediate goes to memory, read each input once, order blocks so that those "
        "which share data run together and find it in the cache."
    )
    why = f"{excess:.2f} times the bytes of inputs and outputs go through device memory, whose bandwidth is the limit"
    return advice(case, Limiter.MEMORY_BANDWIDTH, what, why, excess, Confidence.HIGH)


def _fuller_bandwidth(case: Case, measured: float | None) -> tuple[Recommendation, ...]:
    """What is left to the peak, where counters say how near it is."""
    if measured is None or measured >= _FULL:
        return ()
    what = "Come nearer to the peak: wider, aligned, coalesced accesses, and more bytes in flight for each warp."
    why = f"the hottest kernel moves {measured:.0%} of what the device can"
    return advice(case, Limiter.MEMORY_BANDWIDTH, what, why, case.of_kernel(1 / measured), Confidence.MEDIUM)


def latency(case: Case) -> Iterator[Finding]:
    """Warps wait for device memory that is not busy."""
    waiting = case.stall_share(MEMORY_STALLS)
    used = case.bandwidth_share
    if waiting is None or waiting < _WAITING or case.is_at_a_ceiling:
        return
    figures = [share_figure("waiting for memory", waiting, case.source("stalls"))]
    if used is not None:
        figures.append(share_figure("of the device's bandwidth", used, case.source("bandwidth_bytes_per_s")))
    limit = None if used is None or used <= 0 else 1 / used
    hidden = 1 / (1 - waiting) if waiting < 1 else None
    gains = [gain for gain in (limit, hidden) if gain is not None]
    what = (
        "Have more loads in flight: several independent elements for each thread, loads issued ahead of their use "
        "(pipeline stages, cp.async or TMA), less dependent indexing."
    )
    why = f"warps wait for device memory for {waiting:.0%} of the time between instructions"
    gain = case.of_kernel(min(gains)) if gains else None
    found = advice(case, Limiter.MEMORY_LATENCY, what, why, gain, Confidence.MEDIUM)
    yield Finding(Limiter.MEMORY_LATENCY, waiting, tuple(figures), found)


def _shares_of_kernels(case: Case) -> Iterator[Figure]:
    """Where to look first, if nothing says what is wrong there."""
    if case.profile is None or case.kernel is None or case.kernel.share is None:
        return
    yield share_figure(f"time in {case.kernel.name}", case.kernel.share, case.source("time_us"))
    yield Figure(name="different kernels", value=len(case.profile.kernels), unit="", source=str(case.profile.tool))


def distance_to_floor(case: Case) -> Iterator[Finding]:
    """Nothing but the roofline: how far the time is from what the stated work takes."""
    roofline = case.roofline
    if roofline is None or roofline.headroom < LEAST_GAIN:
        return
    figures = (
        share_figure("of the roofline", min(1.0, roofline.fraction), "evaluation, graph, peaks"),
        Figure(name="floor", value=roofline.floor_us, unit="µs", source="graph, peaks"),
        *_shares_of_kernels(case),
    )
    what = (
        "Compute it in one pass: no intermediate in device memory, each input read once."
        if roofline.ceiling is not Ceiling.COMPUTE
        else "Feed the products: larger tiles, operands in shared memory or registers, the fastest allowed precision."
    )
    times = f"a call takes {roofline.time_us:.1f} µs, the stated work {roofline.floor_us:.1f} µs"
    why = f"{times}; nothing says what lies between"
    found = advice(case, Limiter.UNKNOWN, what, why, roofline.headroom, Confidence.LOW)
    yield Finding(Limiter.UNKNOWN, 0.0, figures, found)
