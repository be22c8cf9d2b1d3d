"""The performance analysis of one candidate: the rules asked one after the other, their findings compared.

A policy or the generation agent calls `analyse` after a trial, for each variant it may speak of. The same arguments
give the same analysis. Rules name a limiter only with the figures that show it; where none does, the roofline alone
is left.
"""

import math
from collections.abc import Iterator

from everforge.agents.analysis.case import Case, Finding, Rule, case_of
from everforge.agents.analysis.core_rules import compute, imbalance, occupancy, shared_memory, spills
from everforge.agents.analysis.launch_rules import gaps_in_a_call, idle_device, launches
from everforge.agents.analysis.memory_rules import bandwidth, distance_to_floor, latency
from everforge.model.analysis import Analysis, Confidence, Limiter, Recommendation
from everforge.model.device import DeviceKind, Peaks
from everforge.model.evaluation import Evaluation
from everforge.model.graph import TraceFailure
from everforge.model.kernel_profile import Profile
from everforge.model.precision import Precision
from everforge.model.session import VariantFacts

# More than a reply can answer one by one.
MAX_RECOMMENDATIONS = 6
_RULES: tuple[Rule, ...] = (
    launches,
    gaps_in_a_call,
    idle_device,
    bandwidth,
    latency,
    compute,
    spills,
    occupancy,
    shared_memory,
    imbalance,
)
# A bound that rests on inference is reached less often than a measured one; these only put recommendations in order.
_WEIGHTS = {Confidence.HIGH: 1.0, Confidence.MEDIUM: 0.6, Confidence.LOW: 0.3}
# What an analysis is worse without, and what it decides.
_WANTED = {
    "bandwidth_bytes_per_s": "bandwidth: whether memory is the limit is inferred from the task's own bytes",
    "matrix_utilisation": "matrix engines: whether they are used is not known",
    "stalls": "stall reasons: what warps wait for is not known",
    "occupancy_achieved": "achieved occupancy",
    "spilled_bytes": "spilled bytes of a thread",
}


def analyse(
    profile: Profile | None, evaluation: Evaluation, peaks: Peaks, facts: VariantFacts, policy: Precision
) -> Analysis:
    """What limits a candidate on the variant of `facts`, and what would help.

    `profile` is None where no profiler ran; `policy` is the task's lowest allowed precision. Raises ValueError for a
    held-out variant, of which nobody may be told, and for a profile of another device.
    """
    if facts.held_out:
        raise ValueError(f"variant {facts.name} is held out: nothing of it may be told to a generator")
    if profile is not None and profile.device is not evaluation.environment.device:
        raise ValueError(f"a profile of {profile.device} says nothing of a trial on {evaluation.environment.device}")
    case = case_of(profile, evaluation, peaks, facts, policy)
    findings = [finding for rule in _RULES for finding in rule(case)] or list(distance_to_floor(case))
    limiter = max(findings, key=lambda finding: finding.explains).limiter if findings else Limiter.UNKNOWN
    return Analysis(
        variant=facts.name,
        kernel=None if case.kernel is None else case.kernel.name,
        limiter=limiter,
        because=tuple(figure for finding in findings if finding.limiter is limiter for figure in finding.figures),
        roofline=case.roofline,
        recommendations=_ranked(findings, limiter),
        missing=tuple(_missing(case, evaluation)),
    )


def _ranked(findings: list[Finding], limiter: Limiter) -> tuple[Recommendation, ...]:
    """Those against the limiter first, then by what they may bring, weighted by how sure it is."""
    given = list(dict.fromkeys(each for finding in findings for each in finding.recommendations))
    return tuple(sorted(given, key=lambda each: (each.limiter is not limiter, -_promise(each)))[:MAX_RECOMMENDATIONS])


def _promise(recommendation: Recommendation) -> float:
    """A gain without a bound promises nothing that could be compared."""
    return math.log(recommendation.gain_bound or 1.0) * _WEIGHTS[recommendation.confidence]


def _missing(case: Case, evaluation: Evaluation) -> Iterator[str]:
    """What the analysis had to do without."""
    if case.time_us is None:
        yield f"no time on variant {case.facts.name}: the trial ended as {evaluation.verdict}"
    if isinstance(case.facts.graph, TraceFailure):
        yield f"no bytes and FLOPs of the task, which could not be traced: {case.facts.graph.reason}"
    if case.profile is None:
        yield "no profile: what lies between the time and its floor is not known; only launches are"
        return
    yield from (f"{case.profile.tool}: {note}" for note in case.profile.notes)
    kernel = case.kernel
    if kernel is None or case.profile.device is DeviceKind.CPU:
        return
    yield from (text for field, text in _WANTED.items() if getattr(kernel, field) in (None, ()))
