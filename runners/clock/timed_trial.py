"""The timing of a trial: a race against the baselines, then everything that would contradict it.

Rechecked outputs, the parent's own clock, the harness's functions still in place. Called by `sessions.py` for
variants on which the candidate was correct.
"""

import random
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from everforge.errors import DeviceFault
from everforge.model.session import VariantFacts
from everforge.model.verdict import Verdict
from everforge.runners.clock.baselines import BaselineRunner
from everforge.runners.clock.clock_check import (
    FLOOR_MARGIN,
    Rounds,
    contradiction,
    replay_contradiction,
    unflushed,
    unflushed_on_device,
)
from everforge.runners.clock.contender import NOT_TOLD, Contender, Course, Launches, Nonsense, TurnFailed
from everforge.runners.clock.race import audit, race
from everforge.runners.clock.replays import Replays, are_short, replays
from everforge.runners.clock.stillness import Restless, at_rest
from everforge.runners.clock.witness import Broken, Witness
from everforge.runners.facts.roofline import FloorFinding, judge_floor
from everforge.runners.isolation.worker_handle import WorkerEnded, WorkerTampered, WorkerTimeout
from everforge.runners.tensors.mixing import Mix
from everforge.runners.tensors.trees import Block
from everforge.runners.trial import CandidateTrial, Checked, IncorrectOutput, Judged
from everforge.runners.truth.cases import VariantReference
from everforge.runners.truth.compare import Finding
from everforge.runners.truth.reference import Case

# A wrong output of a timed call is repeated untimed so often: a kernel with a race is wrong there now and then, too.
_REPEATS = 5
# What may go wrong in replays without being held against a candidate.
_INFORMS_ONLY = (TurnFailed, Nonsense, WorkerEnded, WorkerTimeout, WorkerTampered, DeviceFault)
# Replays of a captured graph, each from a cold cache.
_REPLAYS = 20


@dataclass(frozen=True)
class TimedVariant:
    """A variant that was checked and raced against the fastest baselines."""

    checked: Checked
    facts: VariantFacts
    own: Contender
    others: dict[str, Contender]
    audited: Rounds
    rechecked: int
    own_launches: Launches = NOT_TOLD
    rival_launches: Launches = NOT_TOLD
    replays: Replays | None = None

    def replayed(self, trial: CandidateTrial) -> "TimedVariant":
        """With times of candidate and baseline replayed as device graphs, where they can be. Raises Judged if these
        deny what the candidate's process told.

        Asked for after all variants were raced: a call that cannot be captured may leave its process unusable.
        """
        deadline_s = trial.deadline_s
        rival = self.others[self.facts.fastest]
        own, other = (_launches(contender, deadline_s) for contender in (self.own, rival))
        witness, taken = witness_of(trial, self.checked.reference, self.own), None
        with suppress(*_INFORMS_ONLY, Judged, Broken):
            taken = replays(self.own, rival, (own, other), witness, deadline_s)
        evidence = None if taken is None else replay_contradiction(self.raced, [own_us for own_us, _ in taken])
        if evidence is not None:
            raise Judged.tampered([f"variant {self.facts.name}: {evidence}"])
        return replace(self, own_launches=own, rival_launches=other, replays=taken)

    def launches(self) -> dict[str, float | None]:
        """Fields of a variant's row."""
        return {
            "replay_us": self.own_launches.replay_us,
            "baseline_replay_us": self.rival_launches.replay_us,
            "launch_us": self.own_launches.launch_us,
            "baseline_launch_us": self.rival_launches.launch_us,
        }

    @property
    def floor(self) -> FloorFinding:
        """Where the candidate's time lies against what the task's work takes."""
        facts = self.facts
        return judge_floor(self.own.median_us, facts.suspicion_floor_us, facts.shortcut_floor_us, FLOOR_MARGIN)

    @property
    def slowdown(self) -> float:
        """Time of the fastest baseline beside this candidate over its time alone."""
        alone_us = self.facts.baselines_us()[self.facts.fastest]
        return self.others[self.facts.fastest].median_us / alone_us

    def coverage(self, trial: CandidateTrial) -> Any:
        """The worker's report on the candidate's own kernels; the last thing asked of a variant."""
        course = self.own.course
        return trial.coverage(self.checked.reference, course.sets[0], course.sets[1])

    @property
    def raced(self) -> Rounds:
        """Rounds of the candidate beside those of the fastest allowed baseline."""
        return list(zip(self.own.turns, self.others[self.facts.fastest].turns, strict=True))


class TimedTrial:
    """Times one variant of one candidate."""

    def __init__(self, trial: CandidateTrial, checked: Checked, facts: VariantFacts, baselines: BaselineRunner) -> None:
        self._trial = trial
        self._checked = checked
        self._reference = checked.reference
        self._facts = facts
        names = {facts.fastest, facts.fastest_fp32}
        self._others = {name: baselines.contender(facts.name, name) for name in sorted(names)}
        self._course = Course.of(self._reference)
        host_memory = trial.device.shares_host_memory
        self._own = Contender(trial.worker, facts.name, self._course, host_memory)
        self._witness = witness_of(trial, self._reference, self._own)
        self._own.witness = self._witness.see

    def run(self) -> TimedVariant:
        """Race, audit, recheck. Raises Judged or IncorrectOutput for what does not hold."""
        trial, rival = self._trial, self._others[self._facts.fastest]
        for message, descriptors in self._course.puts(self._reference):
            trial.ask(message, descriptors)
        with trial.watch.stage("time"), self._blamed():
            race([self._own, *self._others.values()], trial.settings, trial.deadline_s)
            audited = audit(self._own, rival, trial.deadline_s)
        with trial.watch.stage("verify"), self._blamed(), at_rest(trial.worker):
            rechecked = self._recheck()
        timed = TimedVariant(self._checked, self._facts, self._own, self._others, audited, rechecked)
        evidence = contradiction(timed.raced, audited, self._facts.suspicion_floor_us)
        evidence = evidence or (
            unflushed(timed.raced) if self._own.host_memory else unflushed_on_device(timed.raced, audited)
        )
        if evidence is not None:
            raise Judged.tampered([f"variant {self._facts.name}: {evidence}"])
        trial.check_integrity()
        if not are_short(self._own, rival):  # the inputs of short calls are small, and replayed with all others
            trial.ask({"op": "drop", "sets": [*self._course.sets[2:], self._course.mask], "slots": []})
        return timed

    @contextmanager
    def _blamed(self) -> Iterator[None]:
        """What goes wrong while timed is the candidate's doing; of baselines, `baselines.py` says so itself."""
        worker = self._trial.worker
        try:
            yield
        except TurnFailed as error:
            raise Judged(Verdict.CRASH, f"raised while timed: {error}", error.failure.traceback) from error
        except WorkerTimeout as error:
            raise Judged(Verdict.TIMEOUT, "did not finish while timed", worker.output_tail() or None) from error
        except WorkerEnded as error:
            told = f"its process ended while timed: {error.how}"
            raise Judged(Verdict.CRASH, told, worker.output_tail() or None) from error
        except WorkerTampered as error:
            raise Judged.tampered([error.evidence]) from error
        except (Broken, Nonsense, Restless) as error:
            raise Judged.tampered([str(error)]) from error

    def _recheck(self) -> int:
        """Compare the outputs that were taken; how many there were."""
        findings = self._witness.findings()
        for mix, finding in findings:
            if finding.detail is not None:
                raise self._wrong_when_timed(mix, finding)
        return len(findings)

    def _wrong_when_timed(self, mix: Mix, finding: Finding) -> Exception:
        """Whether a kernel is wrong on these inputs, or only when it is timed, or only since then."""
        reference, name = self._reference, self._facts.name
        mixed, plain = self._repeated(reference.mixed_case(mix), reference.plain)
        if plain is not None:
            told = f"variant {name}: after being timed it is wrong on inputs it was right on before"
            return Judged.tampered([f"{told}: {plain.detail}"])
        if mixed is None:
            told = f"variant {name}: a timed call returned something else than the same call untimed"
            return Judged.tampered([f"{told}: {finding.detail}"])
        return IncorrectOutput(reference, mixed)

    def _repeated(self, *cases: Case) -> list[Finding | None]:
        """What is wrong with any of several untimed calls on each case, in turn: a result kept from one is wrong for
        the next."""
        for case in cases:
            message = {"op": "put", "set": case.name, "inputs": case.inputs.description}
            self._trial.ask(message, (case.inputs.block.descriptor,))
        wrong: list[Finding | None] = [None] * len(cases)
        for number in range(_REPEATS * len(cases)):
            index = number % len(cases)
            finding = self._trial.called(self._reference, cases[index].name, cases[index])
            wrong[index] = finding if finding.detail is not None else wrong[index]
        return wrong


def witness_of(trial: CandidateTrial, reference: VariantReference, own: Contender) -> Witness:
    """A witness of a candidate's turns that fetches outputs from its device."""

    def fetch(call: int, block: Block) -> None:
        trial.ask({"op": "kept_output", "call": call}, (block.descriptor,))

    return Witness(reference, own, fetch, random.Random(secrets.randbits(64)))


def _launches(contender: Contender, deadline_s: float) -> Launches:
    try:
        return contender.launches(_REPLAYS, deadline_s)
    except _INFORMS_ONLY:
        return NOT_TOLD
