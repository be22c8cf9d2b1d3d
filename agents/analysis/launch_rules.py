"""Time around the kernels: launches longer than the work, gaps between kernels, a device that waits for the host.

`analyse.py` runs these rules. A candidate's speedup is of device time, in which launches are left out; what a
caller gains without them is of the time of a call.
"""

from collections.abc import Iterator

from everforge.agents.analysis.case import Case, Finding, advice, share_figure, time_figure
from everforge.model.analysis import Confidence, Limiter, Measure

# Of a call's time, replayed as a device graph; the two differ by a few per cent on their own (ADR 6).
_GAP_SHARE = 0.1
# A device that waits for a fifth of the time is worth more than most changes of a kernel.
_IDLE_SHARE = 0.2


def launches(case: Case) -> Iterator[Finding]:
    """The host takes longer to launch a call than the device to do it."""
    launch_us, time_us = case.launch_us, case.time_us
    if launch_us is None or time_us is None or launch_us <= time_us:
        return
    what = (
        "Launch less: fuse the kernels of a call, allocate outputs once, take Python and checks out of forward; a "
        "caller can also replay the call as a device graph."
    )
    why = f"the host takes {launch_us:.1f} µs to launch a call that the device does in {time_us:.1f} µs"
    yield Finding(
        Limiter.LAUNCH_OVERHEAD,
        1 - time_us / launch_us,
        (time_figure("launch of one call on the host", launch_us), time_figure("one call on the device", time_us)),
        advice(case, Limiter.LAUNCH_OVERHEAD, what, why, launch_us / time_us, Confidence.HIGH, Measure.CALL),
    )


def gaps_in_a_call(case: Case) -> Iterator[Finding]:
    """The call replayed as a device graph is faster: the device waits between the kernels of one call."""
    replay_us = None if case.result is None else case.result.replay_us
    time_us = case.time_us
    if replay_us is None or time_us is None or replay_us <= 0 or replay_us >= time_us * (1 - _GAP_SHARE):
        return
    what = "Do the call in fewer kernels: each boundary costs the device a drain and a start."
    why = f"one call takes {time_us:.1f} µs, replayed as a device graph {replay_us:.1f} µs"
    yield Finding(
        Limiter.LAUNCH_OVERHEAD,
        1 - replay_us / time_us,
        (time_figure("one call on the device", time_us), time_figure("the call replayed as a device graph", replay_us)),
        advice(case, Limiter.LAUNCH_OVERHEAD, what, why, time_us / replay_us, Confidence.MEDIUM),
    )


def idle_device(case: Case) -> Iterator[Finding]:
    """The timeline has time in which nothing ran, and launching alone does not explain it."""
    gaps = None if case.profile is None else case.profile.host_gaps
    is_launch_bound = case.launch_us is not None and case.time_us is not None and case.launch_us > case.time_us
    if gaps is None or gaps.idle_share < _IDLE_SHARE or gaps.idle_share >= 1 or is_launch_bound:
        return
    what = (
        "Keep the device fed: no synchronisation, .item(), .cpu() or copies from the host between kernels; work that "
        "does not depend on the inputs belongs into __init__."
    )
    why = (
        f"the device is idle for {gaps.idle_share:.0%} of {gaps.span_us:.1f} µs, in {gaps.count} gaps, the longest "
        f"{gaps.longest_us:.1f} µs"
    )
    figures = (
        share_figure("idle device", gaps.idle_share, case.source("host_gaps")),
        time_figure("longest gap", gaps.longest_us, case.source("host_gaps")),
    )
    gain = 1 / (1 - gaps.idle_share)
    found = advice(case, Limiter.HOST, what, why, gain, Confidence.MEDIUM, Measure.CALL)
    yield Finding(Limiter.HOST, gaps.idle_share, figures, found)
