"""One candidate on one variant, with everything the rules ask of it: times, ceilings, the hottest kernel.

`analyse.py` makes it; the rules beside it (`launch_rules.py`, `memory_rules.py`, `core_rules.py`) only read it.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from everforge.agents.analysis.roofline import bandwidth_us, compute_us, placed
from everforge.model.analysis import Confidence, Figure, Limiter, Measure, Recommendation, Roofline
from everforge.model.device import Peaks
from everforge.model.evaluation import Evaluation, VariantResult
from everforge.model.graph import TraceFailure
from everforge.model.kernel_profile import KernelProfile, Profile
from everforge.model.precision import Precision
from everforge.model.session import VariantFacts

# Less is within what two measurements of one kernel differ by.
LEAST_GAIN = 1.02
# From here on a ceiling counts as what limits. Below 60 % of both, Nsight Compute's rule SOLBottleneck says latency.
UTILISED = 0.6


class Finding(NamedTuple):
    """What one rule found. `explains`: the share of the time it accounts for, by which findings are compared."""

    limiter: Limiter
    explains: float
    figures: tuple[Figure, ...]
    recommendations: tuple[Recommendation, ...]


Rule = Callable[["Case"], Iterable[Finding]]


@dataclass(frozen=True)
class Case:
    """Figures of one candidate on one variant; None is what nobody measured."""

    result: VariantResult | None
    facts: VariantFacts
    peaks: Peaks
    policy: Precision
    profile: Profile | None

    @property
    def time_us(self) -> float | None:
        """Device time of one call."""
        time_us = None if self.result is None else self.result.candidate_us
        return time_us if time_us and time_us > 0 else None

    @property
    def launch_us(self) -> float | None:
        """Host time to launch one call."""
        return None if self.result is None else self.result.launch_us

    @property
    def call_us(self) -> float | None:
        """What a caller waits for who makes one call after the other: launches, or the device with its idle time."""
        if self.time_us is None:
            return None
        gaps = None if self.profile is None else self.profile.host_gaps
        idle = 0.0 if gaps is None or gaps.idle_share >= 1 else gaps.idle_share
        return max(self.time_us / (1 - idle), self.launch_us or 0.0)

    @property
    def roofline(self) -> Roofline | None:
        """Where the candidate lies under the ceilings."""
        return placed(self.facts.graph, self.peaks, self.policy, self.time_us, self.facts.floor_us)

    @property
    def kernel(self) -> KernelProfile | None:
        """The kernel with the largest share of time."""
        return None if self.profile is None else self.profile.hottest

    @property
    def kernel_share(self) -> float:
        """The hottest kernel's share of device time; all of it where shares are not known."""
        return 1.0 if self.kernel is None or self.kernel.share is None else self.kernel.share

    @property
    def bandwidth_share(self) -> float | None:
        """Bandwidth of the hottest kernel over the device's."""
        rate = None if self.kernel is None else self.kernel.bandwidth_bytes_per_s
        peak = self.peaks.bandwidth_bytes_per_s
        return None if rate is None or peak <= 0 else min(1.0, rate / peak)

    @property
    def useful_bandwidth_share(self) -> float | None:
        """Of the ceiling, what the task's own bytes take: never more than what is really moved, caches apart."""
        return self._over_time(bandwidth_us(self.facts.graph, self.peaks))

    @property
    def useful_compute_share(self) -> float | None:
        """Of the ceiling, what the task's own products take."""
        return self._over_time(compute_us(self.facts.graph, self.peaks, self.policy))

    @property
    def matrix_share(self) -> float | None:
        """Time in which the hottest kernel keeps tensor cores or XMX engines busy."""
        return None if self.kernel is None else self.kernel.matrix_utilisation

    @property
    def is_at_a_ceiling(self) -> bool:
        """Whether the hottest kernel, or the whole candidate, already uses most of what the device has."""
        shares = (self.bandwidth_share, self.matrix_share, self.useful_bandwidth_share, self.useful_compute_share)
        return any(share is not None and share >= UTILISED for share in shares)

    @property
    def stated_bytes(self) -> float | None:
        """Inputs, parameters and outputs of one call."""
        graph = self.facts.graph
        return None if isinstance(graph, TraceFailure) or graph.bytes <= 0 else graph.bytes

    @property
    def stated_flops(self) -> float | None:
        """Products of one call."""
        return None if isinstance(self.facts.graph, TraceFailure) else self.facts.graph.flops

    def stall_share(self, reasons: Sequence[str]) -> float | None:
        """Share of the hottest kernel's stalls for these reasons; None where no reasons are known."""
        if self.kernel is None or not self.kernel.stalls:
            return None
        return min(1.0, sum(stall.share for stall in self.kernel.stalls if stall.reason in reasons))

    def source(self, field: str) -> str:
        """Where a figure of the profile was read."""
        if self.profile is None:
            return "evaluation"
        return f"{self.profile.tool}: {self.profile.sources.get(field, field)}"

    def of_kernel(self, gain: float, share: float | None = None) -> float:
        """What a gain of the hottest kernel, or of one with that share of time, is of all (Amdahl 1967)."""
        kept = 1 - (self.kernel_share if share is None else share) * (1 - 1 / gain)
        return 1 / kept if kept > 0 else math.inf

    def bounded(self, gain: float | None, measure: Measure = Measure.DEVICE) -> float | None:
        """A gain, never more than the roofline leaves; None where neither bounds it."""
        room = self._room(measure)
        bounds = [bound for bound in (gain, room) if bound is not None and math.isfinite(bound)]
        return max(1.0, min(bounds)) if bounds else None

    def _room(self, measure: Measure) -> float | None:
        roofline = self.roofline
        if roofline is None or self.time_us is None or self.call_us is None:
            return None
        return roofline.headroom * (self.call_us / self.time_us if measure is Measure.CALL else 1.0)

    def _over_time(self, least_us: float | None) -> float | None:
        return None if least_us is None or self.time_us is None else min(1.0, least_us / self.time_us)


def case_of(
    profile: Profile | None, evaluation: Evaluation, peaks: Peaks, facts: VariantFacts, policy: Precision
) -> Case:
    """The case of the variant that `facts` speak of."""
    result = next((each for each in evaluation.variants if each.name == facts.name), None)
    return Case(result=result, facts=facts, peaks=peaks, policy=policy, profile=profile)


def advice(
    case: Case,
    limiter: Limiter,
    what: str,
    why: str,
    gain: float | None,
    confidence: Confidence,
    measure: Measure = Measure.DEVICE,
) -> tuple[Recommendation, ...]:
    """A recommendation; none where the figures leave no gain worth measuring."""
    bound = case.bounded(gain, measure)
    if bound is not None and bound < LEAST_GAIN:
        return ()
    made = Recommendation(limiter=limiter, what=what, why=why, gain_bound=bound, measure=measure, confidence=confidence)
    return (made,)


def share_figure(name: str, value: float, source: str) -> Figure:
    """A share from 0 to 1."""
    return Figure(name=name, value=value, unit="share", source=source)


def time_figure(name: str, value: float, source: str = "evaluation") -> Figure:
    """A time in microseconds."""
    return Figure(name=name, value=value, unit="µs", source=source)
