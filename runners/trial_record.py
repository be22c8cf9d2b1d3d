"""What becomes the evaluation of a trial, whatever its verdict. Filled in by `sessions.py`."""

import time
from collections.abc import Sequence

from everforge.model.device import Environment
from everforge.model.evaluation import DeviceReading, Evaluation, VariantResult
from everforge.model.interval import Interval
from everforge.model.verdict import Fault, Verdict
from everforge.runners.clock.clock_check import Rounds, hardly_flushed, seen_rounds
from everforge.runners.clock.race import Pairing, ratio_of, speedup_of
from everforge.runners.clock.timed_trial import TimedVariant
from everforge.runners.devices.throttling import throttling_note
from everforge.runners.facts.roofline import FloorFinding, sol_fraction
from everforge.runners.trial import Checked, IncorrectOutput, Stopwatch

# Resampling has a fixed seed, so that one set of samples always gives one interval.
_SEED = 0
# A candidate that leaves work behind on a GPU slows what runs after it; a processor's is stopped.
_SLOWED = 1.25


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


def by_wall_of(timed: TimedVariant, rounds: Rounds) -> Pairing:
    """Rounds of candidate and fastest baseline, the candidate's times by the parent's own clock."""
    return Pairing(timed.checked.reference.variant.weight, *seen_rounds(rounds))


def timed_row(timed: TimedVariant) -> VariantResult:
    """Errors and times; the raced baselines with the times of this race."""
    raced = {name: contender.median_us for name, contender in timed.others.items()}
    return row_of(timed.checked).model_copy(
        update={
            "candidate_us": timed.own.median_us,
            "baselines_us": timed.facts.baselines_us() | raced,
            "speedup": speedup_of([pairing(timed, timed.facts.fastest)], _SEED),
            "samples": len(timed.own.turns),
            "speedup_by_wall": speedup_of([by_wall_of(timed, timed.raced)], _SEED),
            **timed.launches(),
            "speedup_replayed": replayed_speedup([timed]),
            "rechecked": timed.rechecked,
        }
    )


class TrialRecord:
    """Collects what becomes the evaluation, whatever the verdict."""

    def __init__(
        self, environment: Environment, task_digest: str, candidate_digest: str, notes: tuple[str, ...] = ()
    ) -> None:
        self.watch = Stopwatch(time.monotonic())
        self._environment = environment
        self._task_digest = task_digest
        self._candidate_digest = candidate_digest
        self._notes = notes

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
        own_share: float | None = None,
        readings: tuple[DeviceReading, ...] = (),
        held_down: str | None = None,
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
            own_share=own_share,
            readings=readings,
            notes=self._notes if held_down is None else (*self._notes, held_down),
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

    def timed(
        self,
        timed: Sequence[TimedVariant],
        hidden: Sequence[Checked],
        *,
        algebraic: bool,
        own_share: float | None,
        readings: tuple[DeviceReading, DeviceReading],
    ) -> Evaluation:
        """Correct and timed: the interval decides, if the parent's own clock confirms it."""
        told = speedup_of([pairing(variant, variant.facts.fastest) for variant in timed], _SEED)
        by_wall = speedup_of([by_wall_of(variant, variant.raced) for variant in timed], _SEED)
        warm = speedup_of([by_wall_of(variant, variant.audited) for variant in timed], _SEED)
        replayed = replayed_speedup(timed)
        speedup, doubt = believed(told, by_wall)
        verdict, reason = _judge_speed(speedup)
        if verdict is Verdict.FASTER and (doubt := _unconfirmed(timed, by_wall, warm, replayed) or doubt):
            verdict = Verdict.INCONCLUSIVE
        beaten = [item for item in timed if item.floor in (FloorFinding.SHORTCUT, FloorFinding.IMPOSSIBLE)]
        fp32 = ratio_of([pairing(variant, variant.facts.fastest_fp32) for variant in timed])
        sol = sol_fraction([v.facts.floor_us for v in timed], [v.own.median_us for v in timed])
        return self.evaluation(
            verdict,
            reason if doubt is None else f"{reason}; {doubt}",
            rows=(*(timed_row(variant) for variant in timed), *(row_of(item) for item in hidden)),
            speedup=speedup,
            speedup_fp32=fp32,
            # Less work than the task states is no record on the task's own scale.
            sol=None if beaten else sol,
            algebraic=algebraic or bool(beaten),
            own_share=own_share,
            readings=readings,
            held_down=throttling_note(*readings),
        )


def replayed_speedup(timed: Sequence[TimedVariant]) -> Interval | None:
    """The speedup of calls replayed as device graphs, by the parent's clock; None unless all variants have it."""
    pairings = [pairing for variant in timed if (pairing := by_replays_of(variant)) is not None]
    return speedup_of(pairings, _SEED) if len(pairings) == len(timed) else None


def by_replays_of(timed: TimedVariant) -> Pairing | None:
    """Rounds of candidate and fastest baseline replayed as device graphs."""
    if timed.replays is None:
        return None
    own_us, rival_us = zip(*timed.replays, strict=True)
    return Pairing(timed.checked.reference.variant.weight, own_us, rival_us)


def _unconfirmed(
    timed: Sequence[TimedVariant], by_wall: Interval, warm: Interval, replayed: Interval | None
) -> str | None:
    """Why a speedup is not established by what the parent saw itself; None if it is."""
    slowed = [item for item in timed if item.slowdown > _SLOWED and not item.own.host_memory]
    if slowed:
        times = max(item.slowdown for item in slowed)
        return f"but the baseline ran {times:.2f} times slower beside this candidate than alone"
    hardly = [doubt for item in timed if item.own.host_memory and (doubt := hardly_flushed(item.raced))]
    if hardly:
        return f"but {hardly[0]}"
    if by_wall.low > 1 or warm.low > 1 or (replayed is not None and replayed.low > 1):
        return None
    return (
        f"but the harness's own clock saw {by_wall.low:.3g} to {by_wall.high:.3g}, with a warm cache "
        f"{warm.low:.3g} to {warm.high:.3g}"
        + ("" if replayed is None else f", replayed as a graph {replayed.low:.3g} to {replayed.high:.3g}")
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
