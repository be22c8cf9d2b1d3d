"""What becomes the evaluation of a trial, whatever its verdict. Filled in by `sessions.py`."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from everforge.model.device import Environment
from everforge.model.evaluation import Evaluation, VariantResult
from everforge.model.interval import Interval
from everforge.model.session import VariantFacts
from everforge.model.verdict import Fault, Verdict
from everforge.runners.roofline import sol_fraction
from everforge.runners.timing import Contender, Pairing, ratio_of, speedup_of
from everforge.runners.trial import Checked, IncorrectOutput, Stopwatch

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


@dataclass(frozen=True)
class TimedVariant:
    """A variant that was checked and raced against the fastest baselines."""

    checked: Checked
    facts: VariantFacts
    own: Contender
    others: dict[str, Contender]

    def pairing(self, baseline: str) -> Pairing:
        """Rounds of the candidate beside those of one baseline."""
        weight = self.checked.reference.variant.weight
        return Pairing(weight, tuple(self.own.rounds_us), tuple(self.others[baseline].rounds_us))

    def row(self) -> VariantResult:
        """Errors and times; the raced baselines with the times of this race."""
        raced = {name: contender.median_us for name, contender in self.others.items()}
        return row_of(self.checked).model_copy(
            update={
                "candidate_us": self.own.median_us,
                "baselines_us": self.facts.baselines_us() | raced,
                "speedup": speedup_of([self.pairing(self.facts.fastest)], _SEED),
                "samples": len(self.own.rounds_us),
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
        speedup = speedup_of([variant.pairing(variant.facts.fastest) for variant in timed], _SEED)
        fp32 = ratio_of([variant.pairing(variant.facts.fastest_fp32) for variant in timed])
        sol = sol_fraction([v.facts.floor_us for v in timed], [v.own.median_us for v in timed])
        verdict, reason = _judge_speed(speedup)
        return self.evaluation(
            verdict,
            reason,
            rows=(*(variant.row() for variant in timed), *(row_of(item) for item in hidden)),
            speedup=speedup,
            speedup_fp32=fp32,
            sol=sol,
            algebraic=algebraic or (sol is not None and sol * _FLOOR_MARGIN > 1),
        )


def _judge_speed(speedup: Interval) -> tuple[Verdict, str]:
    told = f"{speedup.value:.3g}× the fastest allowed baseline, 95 % interval {speedup.low:.3g} to {speedup.high:.3g}"
    if speedup.low > 1:
        return Verdict.FASTER, told
    if speedup.high < 1:
        return Verdict.SLOWER, told
    return Verdict.INCONCLUSIVE, f"{told}: it straddles 1"
