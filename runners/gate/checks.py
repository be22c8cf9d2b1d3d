"""Checks of a candidate that need no device: static rules, compilation ahead, interpreted values.

Cheapest first, and the first that finds something ends the check. Candidate code runs in jailed workers alone,
and what they answer is data to be validated. `server.py` runs a Check; `sessions.py` compiles ahead before each trial
of a Triton candidate that a model or a person wrote.
"""

import time
from collections.abc import Callable, Sequence

from pydantic import ValidationError

from everforge.model.candidate import Candidate, Language
from everforge.model.check import (
    CheckCandidate,
    CheckFinding,
    CheckReport,
    CheckStage,
    CompileFault,
    GateReport,
)
from everforge.model.device import DeviceKind
from everforge.model.evaluation import VariantResult
from everforge.model.session import EvaluationSettings
from everforge.model.task import TaskSpec, Variant
from everforge.model.verdict import Verdict
from everforge.runners.devices import adapter_of
from everforge.runners.gate.forms import Form
from everforge.runners.isolation.jail import Limits
from everforge.runners.isolation.nursery import Nursery
from everforge.runners.isolation.worker_handle import WorkerEnded, WorkerTampered, WorkerTimeout
from everforge.runners.rules.static_rules import judge_source
from everforge.runners.told_failure import Misreported, told_failure
from everforge.runners.trial import CandidateTrial, IncorrectOutput, Judged, Stopwatch
from everforge.runners.trial_record import row_of
from everforge.runners.truth.cases import build_reference
from everforge.runners.truth.reference import ReferenceBuilder

News = Callable[[str, str], None]

# A kernel takes 0.1 to 1 s to compile; a candidate with a dozen of them is done by then on a busy machine.
COMPILE_TIMEOUT_S = 120.0
# One seed may be kind to a wrong kernel; more than two would only take the interpreter's time.
VALUE_SEEDS = 2
# Above this, float64 truth and the interpreter would take minutes and gigabytes.
VALUE_LIMIT_BYTES = 256 << 20
_TOO_LONG = "the interpreter takes too long for these shapes; give small ones with --set"
# Languages that a CPU cannot build.
_BUILT_ON = {Language.CUDA: DeviceKind.CUDA, Language.SYCL: DeviceKind.XPU}


class Check:
    """One check of one candidate."""

    def __init__(self, request: CheckCandidate, nursery: Nursery, news: News) -> None:
        self._task = request.task
        self._candidate = request.candidate
        self._arch = request.arch
        self._values_left_s = request.values_timeout_s
        self._nursery = nursery
        self._news = news
        self._host = adapter_of(DeviceKind.CPU)
        self._not_checked: list[str] = []

    def run(self) -> CheckReport:
        """Run the checks. Raises TaskError for a task that cannot be one, HarnessFault for a broken machine."""
        refused = judge_source(self._candidate.source)
        if refused is not None:
            return self._report(CheckFinding(stage=CheckStage.STATIC, verdict=refused.verdict, reason=refused.reason))
        if self._candidate.language is not Language.TRITON:
            self._not_checked.append(_only_on_a_device(self._candidate.language))
            return self._report(None)
        return self._run_triton()

    def _run_triton(self) -> CheckReport:
        self._news("shapes", "")
        shown = [variant for variant in self._task.variants if not variant.held_out]
        forms = {variant.name: Form.of_task(self._task, variant, self._host) for variant in shown}
        self._news("compile", f"ahead, for {self._arch}")
        compiled = self._compiled(list(forms.values()))
        if compiled.fault is not None:
            reason = fault_line(compiled.fault, self._arch)
            finding = CheckFinding(stage=CheckStage.COMPILE, verdict=Verdict.COMPILE_ERROR, reason=reason)
            return self._report(finding, compiled)
        if compiled.not_checked is not None:
            self._not_checked.append(f"compilation for {self._arch}: {compiled.not_checked}")
        values = self._values(shown, forms)
        wrong = next((row for row in values if not row.correct), None)
        return self._report(None if wrong is None else _wrong_values(wrong), compiled, values)

    def _compiled(self, forms: list[Form]) -> GateReport:
        deadline_s = time.monotonic() + COMPILE_TIMEOUT_S
        settings = EvaluationSettings()
        return compile_in_jail(self._nursery, settings, self._task, self._candidate, forms, self._arch, deadline_s)

    def _values(self, variants: Sequence[Variant], forms: dict[str, Form]) -> tuple[VariantResult, ...]:
        """Rows of the variants that could be interpreted; why the others could not goes to `not_checked`."""
        rows = []
        for variant in variants:
            self._news("interpret", variant.name)
            try:
                rows.append(self._interpreted(variant, forms[variant.name].size_bytes))
            except Judged as judged:
                too_long = judged.verdict is Verdict.TIMEOUT
                why = _TOO_LONG if too_long else f"the interpreter stopped: {judged.reason}"
                self._not_checked.append(f"values of variant {variant.name}: {why}")
        return tuple(rows)

    def _interpreted(self, variant: Variant, size_bytes: int) -> VariantResult:
        """The row of a variant, right or wrong. Raises Judged where the interpreter cannot tell."""
        if size_bytes > VALUE_LIMIT_BYTES or self._values_left_s <= 0:
            raise Judged(Verdict.TIMEOUT, _TOO_LONG)
        settings = EvaluationSettings(seeds=VALUE_SEEDS, timeout_s=self._values_left_s)
        reference = build_reference(ReferenceBuilder(self._task, variant, self._host), settings)
        watch = Stopwatch(time.monotonic())  # begun here: float64 truth is not the interpreter's time
        try:
            with self._nursery.worker(_limits(self._nursery, settings)) as worker:
                trial = CandidateTrial(worker, self._candidate, self._task, self._host, settings, watch)
                trial.load(interpreted=True)
                return row_of(trial.check(reference))
        except IncorrectOutput as error:
            return error.result()
        finally:
            self._values_left_s -= watch.stages().total

    def _report(
        self,
        finding: CheckFinding | None,
        compiled: GateReport | None = None,
        values: tuple[VariantResult, ...] = (),
    ) -> CheckReport:
        return CheckReport(
            finding=finding,
            compiled=compiled,
            values=values,
            not_checked=tuple(self._not_checked),
            task_digest=self._task.digest,
            candidate_digest=self._candidate.digest,
        )


def _wrong_values(row: VariantResult) -> CheckFinding:
    reason = f"variant {row.name}: {row.detail}"
    return CheckFinding(stage=CheckStage.VALUES, verdict=Verdict.INCORRECT, reason=reason)


def _only_on_a_device(language: Language) -> str:
    device = _BUILT_ON.get(language, DeviceKind.CPU)
    return f"build and values: a {language} candidate needs its device; use everforge evaluate --device {device}"


def compile_in_jail(
    nursery: Nursery,
    settings: EvaluationSettings,
    task: TaskSpec,
    candidate: Candidate,
    forms: Sequence[Form],
    arch: str,
    deadline_s: float,
) -> GateReport:
    """Compile a candidate's Triton kernels for `arch`, as launched on each form, in a worker that sees no device.

    `deadline_s` is by the monotonic clock. Whatever becomes of the worker is `not_checked`. Raises HarnessFault
    if none can be started.
    """
    message = {
        "op": "compile_ahead",
        "source": candidate.source,
        "arch": arch,
        "forms": [form.message() for form in forms],
        "mode": task.mode,
        "trainable": task.trainable,
    }
    with nursery.worker(_limits(nursery, settings)) as worker:
        try:
            answer = worker.ask(message, deadline_s=deadline_s)
        except WorkerTimeout:
            return GateReport(arch=arch, not_checked="compiling takes too long")
        except WorkerEnded as error:
            return GateReport(arch=arch, not_checked=f"its process ended while compiling: {error.how}")
        except WorkerTampered as error:
            return GateReport(arch=arch, not_checked=error.evidence)
    try:
        if (failure := told_failure(answer)) is not None:
            return GateReport(arch=arch, not_checked=failure.line)
        return GateReport.model_validate(answer.get("report"))
    except (
        Misreported,
        ValidationError,
    ):  # the candidate shares the worker's process and may have answered in its place
        return GateReport(arch=arch, not_checked="its process answered with something else than a report")


def _limits(nursery: Nursery, settings: EvaluationSettings) -> Limits:
    return Limits(
        cpu_seconds=settings.cpu_seconds,
        address_bytes=nursery.address_bytes + settings.memory_bytes,
        file_bytes=settings.file_bytes,
        processes=settings.processes,
    )


def fault_line(fault: CompileFault, arch: str) -> str:
    """A compile fault in one sentence."""
    return f"kernel {fault.kernel} does not compile for {arch}: {(fault.message.splitlines() or [''])[0]}"


def fault_text(fault: CompileFault) -> str:
    """A compile fault as diagnostics: kernel, line and the compiler's message."""
    place = "" if fault.line is None else f", line {fault.line}"
    return f"kernel {fault.kernel}{place}\n{fault.message}"
