"""A built slot of a worker that has turns at being timed, and what it tells of them.

What a candidate's process tells is checked for form here and believed nowhere: `clock_check.py` holds it against the
parent's clock. Made by `baselines.py` and `timed_trial.py`; its turns are called for by `race.py` and `pilot.py`.
"""

import os
import random
import secrets
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from everforge.runners.isolation.worker_handle import Worker
from everforge.runners.tensors.mixing import Mix
from everforge.runners.tensors.trees import Block, Description, aligned
from everforge.runners.told_failure import Misreported, ToldFailure, told_failure
from everforge.runners.truth.cases import VariantReference

# Calls of one turn, at most: 20 whose median is taken, 64 where the parent's clock alone is read.
MOST_RACED = 20
MOST_AUDITED = 64
# Outputs of one turn are kept until the next: so many bytes of them, and two calls in any case.
KEPT_BYTES = 512 << 20
# A device's head start is no longer than this, whatever launching takes.
_LONGEST_LEAD_US = 5e4


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
            output_bytes=aligned(plain.output_bytes),
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
    head_start_us: float = 0.0

    @property
    def counted_us(self) -> tuple[float, ...]:
        """Times without the first call's: it wakes threads and warms what the flush does not cool."""
        return self.times_us[1:]


@dataclass(frozen=True)
class Launches:
    """One call without its launches, and what they take the host; None where there is nothing to tell."""

    replay_us: float | None = None
    launch_us: float | None = None


NOT_TOLD = Launches()


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
    # For each call of a turn, how long the device is kept busy ahead of it (`Device.head_start`).
    lead_us: float = 0.0
    # The same for a turn as a whole.
    spare_us: float = 0.0
    # Calls of a turn that a device's queue of launches holds.
    queued: int = MOST_AUDITED

    @property
    def most_calls(self) -> int:
        """Counted calls of one turn: their outputs are kept, and all can be launched ahead."""
        return min(self.course.most_calls - 1, self.queued)

    def prepare(self, deadline_s: float) -> None:
        """Give the worker the memory that the outputs of timed calls go to, where the parent can read it."""
        size = min(self.course.most_calls, MOST_AUDITED + 1) * self.course.output_bytes
        if self.host_memory and self.kept is None:
            self.kept = Block(size)
        descriptors = () if self.kept is None else (self.kept.descriptor,)
        self._asked({"op": "keep", "bytes": size}, descriptors, deadline_s)

    def turn(self, iterations: int, deadline_s: float, *, flush: bool = True) -> Turn:
        """So many calls after one that is not counted. Raises TurnFailed, WorkerEnded or WorkerTimeout."""
        rng = random.Random(secrets.randbits(64))
        mixes = tuple(self.course.draw(iterations + 1, rng))
        salt = rng.getrandbits(32)
        head_start_us = min(self.lead_us * len(mixes) + self.spare_us, _LONGEST_LEAD_US)
        message = {
            "op": "time",
            "slot": self.slot,
            "mixes": [(mix.first, mix.second, mix.offset) for mix in mixes],
            "salt": salt,
            "flush": flush,
            "head_start_us": head_start_us,
            "watched": rng.randrange(len(mixes)),
        }
        with self.worker.precedence(), own_precedence():
            # A process that stood still wakes its threads, and makes room, outside of what is measured.
            self._asked(self._course_message(), (), deadline_s)
            began_s = time.perf_counter()
            answer = self._asked(message, (), deadline_s)
            wall_us = (time.perf_counter() - began_s) * 1e6
        answer |= self._asked({"op": "left", "slot": self.slot}, (), deadline_s)
        times_us, checksums = _checked(answer, len(mixes), self.strict)
        turn = Turn(times_us, wall_us, mixes, checksums, salt, head_start_us)
        if self.witness is not None:
            self.witness(turn)
        return turn

    def _course_message(self) -> dict[str, Any]:
        return {
            "op": "ready",
            "slot": self.slot,
            "sets": self.course.sets,
            "mask": self.course.mask,
            "places": self.course.places,
            "changed": self.course.changed,
            "expected": self.course.expected if self.strict else None,
            "output_bytes": self.course.output_bytes,
        }

    def capture(self, calls: int, deadline_s: float) -> bool:
        """Have so many calls captured in one device graph; False where they cannot be."""
        message = self._course_message() | {"op": "capture", "calls": calls}
        return self._asked(message, (), deadline_s).get("captured") is True

    def replays(self, calls: int, times: int, deadline_s: float) -> Turn:
        """The captured calls so many times over, on inputs never seen before; times are means by the parent's clock."""
        rng = random.Random(secrets.randbits(64))
        (mix,) = self.course.draw(1, rng)
        salt = rng.getrandbits(32)
        numbers = (mix.first, mix.second, mix.offset)
        message = {"op": "replays", "slot": self.slot, "times": times, "mix": numbers, "salt": salt}
        with self.worker.precedence(), own_precedence():
            self._asked({"op": "rouse"}, (), deadline_s)
            began_s = time.perf_counter()
            answer = self._asked(message, (), deadline_s)
            wall_us = (time.perf_counter() - began_s) * 1e6
        checksums = _listed(answer, "checksums", int)
        if len(checksums) != calls:
            raise Nonsense("its process told of other calls than were captured")
        return Turn((wall_us / (calls * times),) * calls, wall_us, (mix,) * calls, tuple(checksums), salt)

    def launches(self, iterations: int, deadline_s: float) -> "Launches":
        """What the host has to do with a call. Informs only: a candidate's process tells it, unseen by any clock."""
        message = {"op": "replay", "slot": self.slot, "set": self.course.sets[0], "iterations": iterations}
        answer = self._asked(message, (), deadline_s)
        return Launches(_median_told(answer, "times_us"), _median_told(answer, "launches_us"))

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


def _checked(answer: dict[str, Any], calls: int, strict: bool) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Times and checksums of a turn. Raises Nonsense for what no honest process tells."""
    times_us, checksums = _listed(answer, "times_us", float), _listed(answer, "checksums", int)
    if len(times_us) != calls or min(times_us) <= 0 or len(checksums) not in (0, calls):
        raise Nonsense("its process told times that cannot be")
    if strict and answer.get("odd_form") is not False:
        raise Nonsense("a timed call returned something of another form than an untimed one")
    if strict and answer.get("changed_inputs") is not False:
        raise Nonsense("a timed call changed its inputs, which the untimed ones left alone")
    return tuple(times_us), tuple(checksums)


def _median_told(answer: dict[str, Any], name: str) -> float | None:
    times_us = _listed(answer, name, float)
    return statistics.median(times_us) if times_us and min(times_us) > 0 else None


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
