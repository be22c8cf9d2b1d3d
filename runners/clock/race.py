"""Timing contenders against each other: interleaved rounds, cold cache, fresh inputs, until the interval is tight.

Candidate and baseline live in different processes and take turns, so that clock drift meets both alike; a candidate
is stopped while others have their turn. Called by `baselines.py` and `timed_trial.py`.
"""

import os
import random
import secrets
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from everforge.model.interval import Interval, bootstrap_strata, geometric_mean
from everforge.model.session import EvaluationSettings
from everforge.runners.isolation.worker_handle import Worker
from everforge.runners.tensors.mixing import Mix
from everforge.runners.tensors.trees import Block, Description
from everforge.runners.told_failure import Misreported, ToldFailure, told_failure
from everforge.runners.truth.cases import VariantReference

# A turn of 4 ms is far above timer resolution and short against clock drift; of a slow contender, 50 ms at most.
_TURN_US = 4e3
_LONGEST_TURN_US = 5e4
_MOST_ITERATIONS = 20
_PILOT_ITERATIONS = 3
# Turns without a flush, for the parent's clock: longer, since a turn's own cost is all that blurs them.
_AUDIT_ROUNDS = 8
_AUDIT_TURN_US = 1e4
_MOST_AUDITED = 64
# Outputs of one turn are kept until the next: so many bytes of them, and two calls in any case.
KEPT_BYTES = 512 << 20


@dataclass(frozen=True)
class Course:
    """What the calls of a race run on: input sets in the worker, and the form of what they return."""

    sets: tuple[str, ...]
    mask: str
    places: tuple[int, ...]
    changed: tuple[int, ...]
    expected: Description
    output_bytes: int
    draw: Callable[[int, random.Random], list[Mix]]

    @classmethod
    def of(cls, reference: VariantReference) -> "Course":
        """The course of a variant."""
        timed, plain, name = reference.timed, reference.plain, reference.variant.name
        sets = tuple(f"{name}/timed-{index}" for index in range(len(timed.sets)))
        return cls(
            sets=sets,
            mask=f"{name}/mask",
            places=timed.places,
            changed=reference.changed,
            expected=plain.expected,
            output_bytes=plain.output_bytes,
            draw=timed.draw,
        )

    def puts(self, reference: VariantReference) -> Iterator[tuple[dict[str, Any], tuple[int, ...]]]:
        """Messages that bring the inputs to a worker."""
        timed = reference.timed
        for name, shared in zip((*self.sets, self.mask), (*timed.sets, timed.mask), strict=True):
            yield {"op": "put", "set": name, "inputs": shared.description}, (shared.block.descriptor,)

    @property
    def most_calls(self) -> int:
        """Calls of one turn whose outputs can be kept."""
        return max(2, KEPT_BYTES // max(self.output_bytes, 1))


@dataclass(frozen=True)
class Turn:
    """What one turn of a contender told, and how long it took by the parent's clock."""

    times_us: tuple[float, ...]
    wall_us: float
    mixes: tuple[Mix, ...]
    checksums: tuple[int, ...]
    salt: int

    @property
    def counted_us(self) -> tuple[float, ...]:
        """Times without the first call's: it wakes threads and warms what the flush does not cool."""
        return self.times_us[1:]


@dataclass
class Contender:
    """A built slot of a worker, and its turns so far."""

    worker: Worker
    slot: str
    course: Course
    host_memory: bool
    turns: list[Turn] = field(default_factory=list)
    # Sees each turn of a candidate.
    witness: Callable[[Turn], None] | None = None
    # The form of what a baseline returns is its own affair.
    strict: bool = True
    kept: Block | None = None

    def prepare(self, deadline_s: float) -> None:
        """Give the worker the memory that the outputs of timed calls go to, where the parent can read it."""
        if self.host_memory and self.kept is None:
            calls = min(self.course.most_calls, max(_MOST_ITERATIONS, _MOST_AUDITED) + 1)
            self.kept = Block(calls * self.course.output_bytes)
        descriptors = () if self.kept is None else (self.kept.descriptor,)
        self._asked({"op": "keep"}, descriptors, deadline_s)

    def turn(self, iterations: int, deadline_s: float, *, flush: bool = True) -> Turn:
        """So many calls after one that is not counted. Raises TurnFailed, WorkerEnded or WorkerTimeout."""
        rng = random.Random(secrets.randbits(64))
        mixes = tuple(self.course.draw(iterations + 1, rng))
        salt = rng.getrandbits(32)
        message = {
            "op": "time",
            "slot": self.slot,
            "sets": self.course.sets,
            "mask": self.course.mask,
            "places": self.course.places,
            "changed": self.course.changed,
            "expected": self.course.expected,
            "strict": self.strict,
            "output_bytes": self.course.output_bytes,
            "mixes": [(mix.first, mix.second, mix.offset) for mix in mixes],
            "salt": salt,
            "flush": flush,
            "watched": rng.randrange(len(mixes)),
        }
        with self.worker.precedence(), own_precedence():
            # A process that stood still wakes its threads outside of what is measured.
            self._asked({"op": "ready"}, (), deadline_s)
            began_s = time.perf_counter()
            answer = self._asked(message, (), deadline_s)
            wall_us = (time.perf_counter() - began_s) * 1e6
        turn = _checked_turn(answer, mixes, wall_us, salt, self.strict)
        if self.witness is not None:
            self.witness(turn)
        return turn

    def replay_us(self, iterations: int, deadline_s: float) -> float | None:
        """Median time of one call replayed as a device graph; None where it cannot be captured."""
        message = {"op": "replay", "slot": self.slot, "set": self.course.sets[0], "iterations": iterations}
        times_us = _listed(self._asked(message, (), deadline_s), "times_us", float)
        return statistics.median(times_us) if times_us and min(times_us) > 0 else None

    def _asked(self, message: dict[str, Any], descriptors: tuple[int, ...], deadline_s: float) -> dict[str, Any]:
        answer = self.worker.ask(message, descriptors, deadline_s=deadline_s)
        try:
            failure = told_failure(answer)
        except Misreported as error:
            raise Nonsense(str(error)) from error
        if failure is not None:
            raise TurnFailed(failure)
        return answer

    @property
    def rounds_us(self) -> list[float]:
        """Median of each turn."""
        return [statistics.median(turn.counted_us) for turn in self.turns]

    @property
    def median_us(self) -> float:
        """Median over turns."""
        return statistics.median(self.rounds_us)


def _checked_turn(answer: dict[str, Any], mixes: tuple[Mix, ...], wall_us: float, salt: int, strict: bool) -> Turn:
    times_us, checksums = _listed(answer, "times_us", float), _listed(answer, "checksums", int)
    if len(times_us) != len(mixes) or min(times_us) <= 0 or len(checksums) not in (0, len(mixes)):
        raise Nonsense("its process told times that cannot be")
    if strict and answer.get("odd_form") is not False:
        raise Nonsense("a timed call returned something of another form than an untimed one")
    if strict and answer.get("changed_inputs") is not False:
        raise Nonsense("a timed call changed its inputs, which the untimed ones left alone")
    return Turn(tuple(times_us), wall_us, mixes, tuple(checksums), salt)


def _listed(answer: dict[str, Any], name: str, kind: type) -> list[Any]:
    """A list of numbers of one kind from an answer; empty for anything else."""
    values = answer.get(name)
    return values if isinstance(values, list) and all(type(value) is kind for value in values) else []


@contextmanager
def own_precedence() -> Iterator[None]:
    """Have this thread woken ahead of others, where that is allowed: the end of a turn must be seen when it comes."""
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(2))
    try:
        yield
    finally:
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


class TurnFailed(Exception):
    """A contender raised while it was timed."""

    def __init__(self, failure: ToldFailure) -> None:
        super().__init__(failure.line)
        self.failure = failure


class Nonsense(Exception):
    """A contender told what no honest process tells; the message is the evidence."""


def race(contenders: Sequence[Contender], settings: EvaluationSettings, deadline_s: float) -> None:
    """Fill each contender's turns, one after another and in alternating order.

    Stops after `max_rounds`, after `timing_seconds`, or once every ratio to the first contender is known to
    within `interval_width`; never before `min_rounds`.
    """
    for contender in contenders:
        contender.prepare(deadline_s)
    pilots_us = [min(contender.turn(_PILOT_ITERATIONS, deadline_s).counted_us) for contender in contenders]
    iterations = min(_iterations(pilots_us), contenders[0].course.most_calls - 1)
    end_s = time.monotonic() + settings.timing_seconds
    for number in range(settings.max_rounds):
        order = contenders if number % 2 == 0 else list(reversed(contenders))
        for contender in order:
            contender.turns.append(_turn(contender, contenders[0], iterations, deadline_s))
        if number + 1 >= settings.min_rounds and (time.monotonic() > end_s or _tight(contenders, settings)):
            return


def audit(own: Contender, rival: Contender, deadline_s: float) -> list[tuple[Turn, Turn]]:
    """Turns of both without a flush, which the parent's clock can follow closely. After a race."""
    shortest_us = min(own.median_us, rival.median_us)
    wanted = min(max(int(_AUDIT_TURN_US / shortest_us), 1), _MOST_AUDITED, own.course.most_calls - 1)
    iterations = max(1, min(wanted, int(_LONGEST_TURN_US / max(own.median_us, rival.median_us))))
    rounds = [
        (own.turn(iterations, deadline_s, flush=False), _turn(rival, own, iterations, deadline_s, flush=False))
        for _ in range(_AUDIT_ROUNDS + 1)
    ]
    return rounds[1:]  # the first meets memory for outputs that no turn has touched before


def _turn(contender: Contender, first: Contender, iterations: int, deadline_s: float, *, flush: bool = True) -> Turn:
    """A turn; while it is another's, the first contender, which may be hostile, stands still."""
    if contender is first:
        return contender.turn(iterations, deadline_s, flush=flush)
    with first.worker.frozen():
        return contender.turn(iterations, deadline_s, flush=flush)


def _iterations(pilots_us: Sequence[float]) -> int:
    """Calls in a turn, the same for all: a median of one call and a median of twenty do not compare."""
    wanted = min(round(_TURN_US / min(pilots_us)), _MOST_ITERATIONS)
    return max(1, min(wanted, int(_LONGEST_TURN_US / max(pilots_us))))


def _tight(contenders: Sequence[Contender], settings: EvaluationSettings) -> bool:
    """Whether the spread of each ratio over rounds puts its median within the wanted interval."""
    first, *others = contenders
    return all(_relative_width(first.rounds_us, other.rounds_us) < settings.interval_width for other in others)


def _relative_width(left: Sequence[float], right: Sequence[float]) -> float:
    ratios = sorted(b / a for a, b in zip(left, right, strict=True))
    low, _, high = statistics.quantiles(ratios, n=4)
    # Standard error of a median is 1.25 standard deviations over √n; an IQR is 1.35 of those; 95 % is ±1.96.
    return float(2 * 1.96 * 1.25 * (high - low) / 1.35 / len(ratios) ** 0.5 / statistics.median(ratios))


@dataclass(frozen=True)
class Pairing:
    """Rounds of candidate and baseline under one variant, with the variant's weight."""

    weight: float
    candidate_us: tuple[float, ...]
    baseline_us: tuple[float, ...]

    def rounds(self) -> list[tuple[float, float]]:
        """The two times of each round."""
        return list(zip(self.candidate_us, self.baseline_us, strict=True))


def speedup_of(pairings: Sequence[Pairing], seed: int) -> Interval:
    """The speedup and its interval.

    Rounds are resampled in pairs, so that drift common to a round cancels, and each variant for itself.
    """
    weights = [pairing.weight for pairing in pairings]
    rounds = [pairing.rounds() for pairing in pairings]
    return bootstrap_strata(rounds, lambda sample: geometric_mean([_ratio(pairs) for pairs in sample], weights), seed)


def ratio_of(pairings: Sequence[Pairing]) -> float:
    """Weighted geometric mean over variants of median baseline over median candidate."""
    return geometric_mean([_ratio(pairing.rounds()) for pairing in pairings], [pairing.weight for pairing in pairings])


def _ratio(pairs: Sequence[tuple[float, float]]) -> float:
    candidate_us, baseline_us = zip(*pairs, strict=True)
    return float(statistics.median(baseline_us) / statistics.median(candidate_us))
