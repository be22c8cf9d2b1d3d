"""One trial: a candidate built in a jail and checked against truth; `clock/timed_trial.py` goes on from there.

What is wrong is decided here, in the trusted parent, from what it compared itself. Called by `sessions.py`.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from everforge.model.candidate import Candidate
from everforge.model.evaluation import StageSeconds, VariantResult
from everforge.model.precision import Precision
from everforge.model.session import EvaluationSettings
from everforge.model.task import TaskSpec
from everforge.model.verdict import Verdict
from everforge.runners.devices.base import Device
from everforge.runners.isolation.worker_handle import (
    Worker,
    WorkerEnded,
    WorkerOutOfMemory,
    WorkerTampered,
    WorkerTimeout,
)
from everforge.runners.tensors.bits import changed_leaves
from everforge.runners.tensors.trees import Block, Description, blank, describe, leaves, map_block, map_tree, read
from everforge.runners.told_failure import Misreported, ToldFailure, told_failure
from everforge.runners.truth.cases import VariantReference, contiguous
from everforge.runners.truth.compare import Finding, compare, form_difference
from everforge.runners.truth.reference import Case

# Requests that run a candidate's source but not its forward.
_BUILDING = ("load", "interpret", "build")
# Outputs start as NaN bytes, so that an element nobody wrote cannot pass.
_POISON = 0xFF
# More than anybody reads; a hostile process could fill megabytes.
_MOST_EVIDENCE = 20
_EVIDENCE_CHARACTERS = 300
# Tensors start on cache lines: a packed copy of up to 64 inputs may be so much longer than what was sent.
_INPUT_ROOM = 64 * 64
_META = torch.device("meta")


class Judged(Exception):
    """The candidate is judged: nothing further can change the verdict."""

    def __init__(
        self, verdict: Verdict, reason: str, diagnostics: str | None = None, evidence: tuple[str, ...] = ()
    ) -> None:
        super().__init__(reason)
        self.verdict = verdict
        self.reason = reason
        self.diagnostics = diagnostics
        self.evidence = evidence

    @classmethod
    def tampered(cls, evidence: Sequence[str]) -> "Judged":
        """Caught cheating: what was seen, the first of it as the reason."""
        return cls(Verdict.TAMPERED, f"tampered: {evidence[0]}", evidence=tuple(evidence))


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
        self.worker = worker
        self._candidate = candidate
        self._task = task
        self.device = device
        self.watch = watch
        self.deadline_s = watch.started_s + settings.timeout_s
        self.settings = settings
        self._called: set[str] = set()

    def ask(self, message: dict[str, Any], descriptors: tuple[int, ...] = ()) -> dict[str, Any]:
        """Ask the worker; whatever goes wrong there is the candidate's doing and raises Judged."""
        try:
            answer = self.worker.ask(message, descriptors, deadline_s=self.deadline_s)
        except WorkerTimeout as error:
            limit = self.settings.timeout_s
            raise Judged(Verdict.TIMEOUT, f"did not finish within {limit:g} s", self._output()) from error
        except WorkerOutOfMemory as error:
            raise Judged(Verdict.CRASH, error.how, self._output()) from error
        except WorkerEnded as error:
            doing = "building" if message["op"] in _BUILDING else "running"
            raise Judged(Verdict.CRASH, f"its process ended while {doing}: {error.how}", self._output()) from error
        except WorkerTampered as error:
            raise Judged.tampered([error.evidence]) from error
        try:
            failure = told_failure(answer)
        except Misreported as error:
            raise Judged.tampered([str(error)]) from error
        if failure is not None:
            raise self._judged(failure, message["op"] in _BUILDING)
        return answer

    def _output(self) -> str | None:
        return self.worker.output_tail() or None

    def _judged(self, failure: ToldFailure, building: bool) -> Judged:
        verdict = Verdict.COMPILE_ERROR if failure.build or building else Verdict.CRASH
        what = "does not build" if verdict is Verdict.COMPILE_ERROR else "raised while running"
        return Judged(verdict, f"{what}: {failure.line}", failure.traceback)

    def load(self, *, interpreted: bool = False) -> None:
        """Import the candidate in its process, which interprets its Triton kernels if told so."""
        operation = "interpret" if interpreted else "load"
        tf32 = Precision.TF32 in self._task.precision.allowed
        with self.watch.stage("compile"):
            self.ask({"op": operation, "device": self.device.kind, "tf32": tf32, "source": self._candidate.source})

    def check_integrity(self) -> None:
        """Raise Judged if the candidate replaced something of the harness, of PyTorch or of the interpreter.

        It could have replaced this check, too; what it gains by that is up to the checks outside its process.
        """
        replaced = self.ask({"op": "integrity"}).get("replaced")
        if not isinstance(replaced, list) or not all(isinstance(line, str) for line in replaced):
            raise Judged.tampered(["its process could not say what it replaced of the harness"])
        if replaced:
            raise Judged.tampered([line[:_EVIDENCE_CHARACTERS] for line in replaced[:_MOST_EVIDENCE]])

    def end(self) -> None:
        """One exchange more: an answer forged ahead of its time shows in the one that follows. Raises Judged."""
        self.ask({"op": "drop", "sets": [], "slots": []})

    def coverage(self, reference: VariantReference, first: str, second: str) -> Any:
        """The worker's report on the candidate's own kernels; the module is of no use afterwards."""
        message = self._built(reference) | {
            "op": "coverage",
            "set": first,
            "other": second,
            "language": self._candidate.language,
        }
        descriptors = (reference.init.block.descriptor, reference.state.block.descriptor)
        return self.ask(message, descriptors).get("report")

    def build(self, reference: VariantReference) -> None:
        """Construct the candidate's module for a variant, with the reference's parameters. Raises Judged."""
        with self.watch.stage("compile"):
            self.ask(self._built(reference), (reference.init.block.descriptor, reference.state.block.descriptor))

    def _built(self, reference: VariantReference) -> dict[str, Any]:
        return {
            "op": "build",
            "slot": reference.variant.name,
            "init": reference.init.description,
            "state": reference.state.description,
            "mode": self._task.mode,
            "trainable": self._task.trainable,
            "baseline": None,
        }

    def check(self, reference: VariantReference) -> Checked:
        """Build the candidate for a variant and compare it on every case. Raises Judged or IncorrectOutput."""
        self.build(reference)
        findings = [self._compare(reference, case) for case in reference.cases]
        self._check_reload(reference)
        return Checked(
            reference,
            max_error=max(finding.max_error or 0.0 for finding in findings),
            error_ratio=max(finding.error_ratio or 0.0 for finding in findings),
        )

    def _compare(self, reference: VariantReference, case: Case) -> Finding:
        """Put a case's inputs, call, compare, and forget the inputs."""
        self.ask({"op": "put", "set": case.name, "inputs": case.inputs.description}, (case.inputs.block.descriptor,))
        finding = self.called(reference, case.name, case)
        if finding.detail is not None:
            told = finding.detail if case.form is None else f"on inputs {case.form}: {finding.detail}"
            raise IncorrectOutput(reference, replace(finding, detail=told))
        self.ask({"op": "drop", "sets": [case.name], "slots": []})
        return finding

    def called(self, reference: VariantReference, input_set: str, case: Case) -> Finding:
        """One call on a set of inputs, compared with the truth of a case."""
        block = Block(case.output_bytes)
        memory = map_block(block.descriptor, shared=True)
        memory.fill_(_POISON)
        returned_inputs = None if case.input_sums else Block(case.inputs.size + _INPUT_ROOM)
        answer = self._call(reference, input_set, case, block, returned_inputs)
        outputs, expected = answer.get("description"), case.expected
        if outputs != expected:
            return Finding(None, None, result_difference(outputs, expected))
        if answer.get("spreads") != case.spreads:
            return Finding(None, None, "output has another memory layout than the reference's")
        if self._changed_wrongly(reference, case, returned_inputs, answer.get("input_sums")):
            return Finding(None, None, "changes its inputs, the reference does not")
        tensors = leaves(read(expected, memory))
        return compare(
            [leaf.to(truth.values.device) for leaf, truth in zip(tensors, case.truths, strict=True)],
            case.truths,
            case.tolerances,
        )

    def _changed_wrongly(self, reference: VariantReference, case: Case, returned: Block | None, sums: object) -> bool:
        """Whether an input the reference leaves alone came back with other bits; those it changes are outputs."""
        if returned is None:
            pairs = enumerate(zip(case.input_sums, sums if isinstance(sums, list) else [], strict=False))
            same = {index for index, (sent, after) in pairs if sent == after}
            return not set(range(len(case.input_sums))) - same <= set(reference.changed)
        sent = read(case.inputs.description, map_block(case.inputs.block.descriptor, shared=False))
        given = map_tree(sent, contiguous)
        after = read(describe(given)[0], map_block(returned.descriptor, shared=True))
        return not set(changed_leaves(given, after)) <= set(reference.changed)

    def _call(
        self, reference: VariantReference, input_set: str, case: Case, block: Block, returned: Block | None
    ) -> dict[str, Any]:
        """One call; the first of each variant compiles what is compiled late, such as Triton kernels."""
        slot = reference.variant.name
        message = {
            "op": "call",
            "slot": slot,
            "set": input_set,
            "expected": case.expected,
            "changed": reference.changed,
            "any_layout": case.form is not None,
            "salt": case.salt,
            "bytes": [leaf.numel() * leaf.element_size() for leaf in leaves(blank(case.expected, _META))],
        }
        descriptors = (block.descriptor,) if returned is None else (block.descriptor, returned.descriptor)
        with self.watch.stage("verify" if slot in self._called else "compile"):
            self._called.add(slot)
            return self.ask(message, descriptors)

    def _check_reload(self, reference: VariantReference) -> None:
        """Load other parameters: what was prepacked from the first ones must not be used any more."""
        if reference.other_state is None or reference.other_case is None:
            return
        state = reference.other_state
        slot = reference.variant.name
        self.ask({"op": "reload", "slot": slot, "state": state.description}, (state.block.descriptor,))
        try:
            self._compare(reference, reference.other_case)
        except IncorrectOutput as error:
            stale = f"after load_state_dict with other parameters: {error.finding.detail}"
            raise IncorrectOutput(reference, Finding(None, error.finding.max_error, stale)) from error
        self.ask(
            {"op": "reload", "slot": slot, "state": reference.state.description},
            (reference.state.block.descriptor,),
        )


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


def result_difference(described: Any, expected: Description) -> str:
    """How a result differs from the reference's, as its process describes it.

    A description is the outputs' and that of the inputs that were changed. Raises Judged for one that no honest
    process gives.
    """
    try:
        return form_difference(described["tuple"][0], expected["tuple"][0])
    except (KeyError, IndexError, TypeError) as error:
        raise Judged.tampered(["its process described its outputs in a form that no honest one gives"]) from error
