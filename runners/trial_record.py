"""What becomes the evaluation of a trial, whatever its verdict. Filled in by `sessions.py`."""

import time
from collections.abc import Sequence

from everforge.model.device import Environment
from everforge.model.evaluation import Evaluation, VariantResult
from everforge.model.interval import Interval
from everforge.model.verdict import Fault, Verdict
from everforge.runners.clock_check import seen_rounds
from everforge.runners.roofline import sol_fraction
from everforge.runners.timing import Pairing, ratio_of, speedup_of
from everforge.runners.trial import Checked, IncorrectOutput, Stopwatch
from everforge.runners.trial_timing import TimedVariant

# Resampling has a fixed seed, so that one set of samples always gives one interval.
_SEED = 0
# Below the floor by more than its own error of measurement, a kernel has not done the task's work as stated.
_FLOOR_MARGIN = 0.9


def row_of(item: Checked) -> VariantResult:
    """The row of a variant that was checked and not timed."""
    variant = item.reference.variant
    return VariantResult(
        name=variant.name,
        held_out=variant.held_out,
        correct=True,
        max_error=item.max_error,
        error_ratio=item.error_ratio,
    )


def pairing(timed: TimedVariant, baseline: str) -> Pairing:
    """Rounds of the candidate beside those of one baseline, by the clocks of their processes."""
    weight = timed.checked.reference.variant.weight
    return Pairing(weight, tuple(timed.own.rounds_us), tuple(timed.others[baseline].rounds_us))


def pairing_by_wall(timed: TimedVariant) -> Pairing:
    """As `pairing` with the fastest baseline, the candidate's times by the parent's own clock."""
    return Pairing(timed.checked.reference.variant.weight, *seen_rounds(timed.raced))


def timed_row(timed: TimedVariant) -> VariantResult:
    """Errors and times; the raced baselines with the times of this race."""
    raced = {name: contender.median_us for name, contender in timed.others.items()}
    return row_of(timed.checked).model_copy(
        update={
            "candidate_us": timed.own.median_us,
            "baselines_us": timed.facts.baselines_us() | raced,
            "speedup": speedup_of([pairing(timed, timed.facts.fastest)], _SEED),
            "samples": len(timed.own.turns),
            "speedup_by_wall": speedup_of([pairing_by_wall(timed)], _SEED),
            "replay_us": timed.replay_us,
            "baseline_replay_us": timed.baseline_replay_us,
            "rechecked": timed.rechecked,
        }
    )


class TrialRecord:
    """Collects what becomes the evaluation, whatever the verdict."""

    def __init__(self, environment: Environment, task_digest: str, candidate_digest: str) -> None:
        self.watch = Stopwatch(time.monotonic())
        self._environment = environment
        self._task_digest = task_digest
        self._candidate_digest = candidate_digest

    def evaluation(
        self,
        verdict: Verdict,
        reason: str,
        diagnostics: str | None = None,
        *,
        fault: Fault | None = None,
        rows: tuple[VariantResult, ...] = (),
        speedup: Interval | None = None,
        speedup_fp32: float | None = None,
        sol: float | None = None,
        algebraic: bool = False,
        evidence: tuple[str, ...] = (),
    ) -> Evaluation:
        """The evaluation, with the time spent until now."""
        stages = self.watch.stages()
        return Evaluation(
            verdict=verdict,
            reason=reason,
            fault=fault,
            speedup=speedup,
            speedup_fp32=speedup_fp32,
            sol_fraction=sol,
            algebraic=algebraic,
            evidence=evidence,
            variants=rows,
            environment=self._environment,
            task_digest=self._task_digest,
            candidate_digest=self._candidate_digest,
            diagnostics=diagnostics,
            stages=stages,
            device_seconds=stages.verify + stages.time,
        )

    def incorrect(self, error: IncorrectOutput) -> Evaluation:
        """Wrong on one variant. Of a held-out one, nothing is told that would give its shape away."""
        row = error.result()
        if not row.held_out:
            return self.evaluation(Verdict.INCORRECT, f"variant {row.name}: {row.detail}", rows=(row,))
        detail = "correct on the shapes it was shown, wrong on one it was not"
        hidden = row.model_copy(update={"name": "held-out", "detail": detail})
        return self.evaluation(Verdict.INCORRECT, detail, rows=(hidden,))

    def untimed(self, checked: list[Checked]) -> Evaluation:
        """Correct, and nobody asked how fast."""
        rows = tuple(row_of(item) for item in checked)
        return self.evaluation(Verdict.INCONCLUSIVE, "correct; not timed", rows=rows)

    def timed(self, timed: Sequence[TimedVariant], hidden: Sequence[Checked], algebraic: bool) -> Evaluation:
        """Correct and timed: the interval decides."""
        told = speedup_of([pairing(variant, variant.facts.fastest) for variant in timed], _SEED)
        speedup, doubt = believed(told, speedup_of([pairing_by_wall(variant) for variant in timed], _SEED))
        fp32 = ratio_of([pairing(variant, variant.facts.fastest_fp32) for variant in timed])
        sol = sol_fraction([v.facts.floor_us for v in timed], [v.own.median_us for v in timed])
        verdict, reason = _judge_speed(speedup)
        reason = reason if doubt is None else f"{reason}; {doubt}"
        return self.evaluation(
            verdict,
            reason,
            rows=(*(timed_row(variant) for variant in timed), *(row_of(item) for item in hidden)),
            speedup=speedup,
            speedup_fp32=fp32,
            sol=sol,
            algebraic=algebraic or (sol is not None and sol * _FLOOR_MARGIN > 1),
        )


def believed(told: Interval, by_wall: Interval) -> tuple[Interval, str | None]:
    """The speedup by the candidate's own process, unless the parent's clock denies it; why, if it does."""
    if by_wall.high >= told.low:
        return told, None
    return by_wall, f"by the harness's own clock; the candidate's process told {told.value:.3g}×"


def _judge_speed(speedup: Interval) -> tuple[Verdict, str]:
    told = f"{speedup.value:.3g}× the fastest allowed baseline, 95 % interval {speedup.low:.3g} to {speedup.high:.3g}"
    if speedup.low > 1:
        return Verdict.FASTER, told
    if speedup.high < 1:
        return Verdict.SLOWER, told
    return Verdict.INCONCLUSIVE, f"{told}: it straddles 1"
