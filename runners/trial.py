"""One trial: a candidate built in a jail, checked against truth, and raced against the baselines.

The verdict is decided here, in the trusted parent, from what it compared and clocked itself. Called by `sessions.py`.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from everforge.model.candidate import Candidate
from everforge.model.evaluation import StageSeconds, VariantResult
from everforge.model.precision import Precision
from everforge.model.session import EvaluationSettings, VariantFacts
from everforge.model.task import TaskSpec
from everforge.model.verdict import Verdict
from everforge.runners.baselines import BaselineRunner, timed_cases
from everforge.runners.compare import Finding, Tolerance, compare, form_difference
from everforge.runners.devices.base import Device
from everforge.runners.reference import Case, VariantReference
from everforge.runners.tensors import Block, leaves, map_block, read
from everforge.runners.timing import Contender, TurnFailed, race
from everforge.runners.worker_handle import Worker, WorkerEnded, WorkerOutOfMemory, WorkerTimeout

# Requests that run a candidate's source but not its forward.
_BUILDING = ("load", "interpret", "build")
# Outputs start as NaN bytes, so that an element nobody wrote cannot pass.
_POISON = 0xFF


class Judged(Exception):
    """The candidate is judged: nothing further can change the verdict."""

    def __init__(self, verdict: Verdict, reason: str, diagnostics: str | None = None) -> None:
        super().__init__(reason)
        self.verdict = verdict
        self.reason = reason
        self.diagnostics = diagnostics


@dataclass
class Stopwatch:
    """Seconds by stage; what is not compiling, verifying or timing is overhead."""

    started_s: float
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("compile", "verify", "time"), 0.0))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what is done inside to a stage, also when it fails."""
        began_s = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] += time.monotonic() - began_s

    def stages(self) -> StageSeconds:
        """The split so far."""
        total = time.monotonic() - self.started_s
        return StageSeconds(**self.seconds, overhead=max(total - sum(self.seconds.values()), 0.0))


@dataclass(frozen=True)
class Checked:
    """A variant that was run on all its cases."""

    reference: VariantReference
    max_error: float
    error_ratio: float


class CandidateTrial:
    """One candidate in one worker, taken through build, verification and timing."""

    def __init__(
        self,
        worker: Worker,
        candidate: Candidate,
        task: TaskSpec,
        device: Device,
        settings: EvaluationSettings,
        watch: Stopwatch,
    ) -> None:
        self._worker = worker
        self._candidate = candidate
        self._task = task
        self._device = device
        self._watch = watch
        self._deadline_s = watch.started_s + settings.timeout_s
        self._settings = settings
        self._called: set[str] = set()

    def ask(self, message: dict[str, Any], descriptors: tuple[int, ...] = ()) -> dict[str, Any]:
        """Ask the worker; whatever goes wrong there is the candidate's doing and raises Judged."""
        try:
            answer = self._worker.ask(message, descriptors, deadline_s=self._deadline_s)
        except WorkerTimeout as error:
            limit = self._settings.timeout_s
            raise Judged(Verdict.TIMEOUT, f"did not finish within {limit:g} s", self._output()) from error
        except WorkerOutOfMemory as error:
            raise Judged(Verdict.CRASH, error.how, self._output()) from error
        except WorkerEnded as error:
            doing = "building" if message["op"] in _BUILDING else "running"
            raise Judged(Verdict.CRASH, f"its process ended while {doing}: {error.how}", self._output()) from error
        if "failure" in answer:
            raise self._judged(answer["failure"], message["op"] in _BUILDING)
        return answer

    def _output(self) -> str | None:
        return self._worker.output_tail() or None

    def _judged(self, failure: dict[str, Any], building: bool) -> Judged:
        verdict = Verdict.COMPILE_ERROR if failure["build"] or building else Verdict.CRASH
        what = "does not build" if verdict is Verdict.COMPILE_ERROR else "raised while running"
        return Judged(verdict, f"{what}: {failure['line']}", failure["traceback"])

    def load(self, *, interpreted: bool = False) -> None:
        """Import the candidate in its process, which interprets its Triton kernels if told so."""
        operation = "interpret" if interpreted else "load"
        tf32 = Precision.TF32 in self._task.precision.allowed
        with self._watch.stage("compile"):
            self.ask({"op": operation, "device": self._device.kind, "tf32": tf32, "source": self._candidate.source})

    def check(self, reference: VariantReference) -> Checked:
        """Build the candidate for a variant and compare it on every case. Raises Judged if it is wrong."""
        build = {
            "op": "build",
            "slot": reference.variant.name,
            "init": reference.init.description,
            "state": reference.state.description,
            "mode": self._task.mode,
            "trainable": self._task.trainable,
            "baseline": None,
        }
        with self._watch.stage("compile"):
            self.ask(build, (reference.init.block.descriptor, reference.state.block.descriptor))
        kept = {case.name for case in timed_cases(reference)}
        findings = []
        for case in reference.cases:
            findings.append(self._compare(reference, case, reference.tolerances))
            if case.name not in kept:
                self.ask({"op": "drop", "sets": [case.name], "slots": []})
        self._check_reload(reference)
        return Checked(
            reference,
            max_error=max(finding.max_error or 0.0 for finding in findings),
            error_ratio=max(finding.error_ratio or 0.0 for finding in findings),
        )

    def _compare(self, reference: VariantReference, case: Case, tolerances: list[Tolerance]) -> Finding:
        self.ask({"op": "put", "set": case.name, "inputs": case.inputs.description}, (case.inputs.block.descriptor,))
        block = Block(reference.output_bytes)
        memory = map_block(block.descriptor, shared=True)
        memory.fill_(_POISON)
        answer = self._call(reference, case, block)
        if answer["description"] != reference.expected:
            detail = form_difference(answer["description"], reference.expected)
            raise IncorrectOutput(reference, Finding(None, None, detail))
        if answer["mutated"]:
            raise IncorrectOutput(reference, Finding(None, None, "changes its inputs, the reference does not"))
        outputs = read(reference.expected, memory)
        finding = compare(
            [leaf.to(self._device.torch_device) for leaf in leaves(outputs)],
            case.truths,
            tolerances,
        )
        if finding.detail is not None:
            raise IncorrectOutput(reference, finding)
        return finding

    def _call(self, reference: VariantReference, case: Case, block: Block) -> dict[str, Any]:
        """One call; the first of each variant compiles what is compiled late, such as Triton kernels."""
        slot = reference.variant.name
        message = {"op": "call", "slot": slot, "set": case.name, "expected": reference.expected}
        with self._watch.stage("verify" if slot in self._called else "compile"):
            self._called.add(slot)
            return self.ask(message, (block.descriptor,))

    def _check_reload(self, reference: VariantReference) -> None:
        """Load other parameters: what was prepacked from the first ones must not be used any more."""
        if reference.other_state is None or reference.other_case is None:
            return
        state = reference.other_state
        slot = reference.variant.name
        self.ask({"op": "reload", "slot": slot, "state": state.description}, (state.block.descriptor,))
        try:
            self._compare(reference, reference.other_case, reference.other_tolerances)
        except IncorrectOutput as error:
            stale = f"after load_state_dict with other parameters: {error.finding.detail}"
            raise IncorrectOutput(reference, Finding(None, error.finding.max_error, stale)) from error
        self.ask({"op": "drop", "sets": [reference.other_case.name], "slots": []})
        self.ask(
            {"op": "reload", "slot": slot, "state": reference.state.description},
            (reference.state.block.descriptor,),
        )

    def time(
        self, reference: VariantReference, facts: VariantFacts, baselines: BaselineRunner
    ) -> tuple[Contender, dict[str, Contender]]:
        """Race the candidate against the fastest baselines of a variant."""
        sets = tuple(case.name for case in timed_cases(reference))
        own = Contender(self._worker, reference.variant.name, sets)
        others = {name: baselines.contender(facts.name, name) for name in {facts.fastest, facts.fastest_fp32}}
        try:
            with self._watch.stage("time"):
                race([own, *others.values()], self._settings, self._deadline_s)
        except TurnFailed as error:
            raise Judged(Verdict.CRASH, f"raised while timed: {error}", error.failure["traceback"]) from error
        except WorkerTimeout as error:
            raise Judged(Verdict.TIMEOUT, "did not finish while timed", self._output()) from error
        except WorkerEnded as error:
            raise Judged(Verdict.CRASH, f"its process ended while timed: {error.how}", self._output()) from error
        return own, others


class IncorrectOutput(Exception):
    """The candidate computed something else; carries the finding for the variant's record."""

    def __init__(self, reference: VariantReference, finding: Finding) -> None:
        super().__init__(finding.detail)
        self.reference = reference
        self.finding = finding

    def result(self) -> VariantResult:
        """The variant's row in the evaluation."""
        variant = self.reference.variant
        return VariantResult(
            name=variant.name,
            held_out=variant.held_out,
            correct=False,
            detail=self.finding.detail,
            max_error=self.finding.max_error,
            error_ratio=self.finding.error_ratio,
        )
