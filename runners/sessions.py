"""A session: one task on one device, loaded, checked and measured once; then trials, one after another.

The trusted side of a runner. Called by `server.py`.
"""

import random
import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from everforge.errors import DeviceFault, HarnessFault
from everforge.model.base import digest_of
from everforge.model.candidate import Candidate, GeneratorKind, Language
from everforge.model.device import Environment, Peaks
from everforge.model.evaluation import Evaluation
from everforge.model.session import OpenSession, RunTrial, TaskFacts, VariantFacts
from everforge.model.task import Variant
from everforge.model.verdict import Fault, Verdict
from everforge.runners.clock.baselines import BaselineRunner
from everforge.runners.clock.contender import KEPT_BYTES
from everforge.runners.clock.timed_trial import TimedTrial
from everforge.runners.devices.base import Device
from everforge.runners.facts.degenerate import refuse_degenerate
from everforge.runners.facts.held_out import derived_variants
from everforge.runners.facts.variant_work import VariantWork, work_of
from everforge.runners.gate.checks import compile_in_jail, fault_line, fault_text
from everforge.runners.gate.forms import Form
from everforge.runners.integrity.coverage import judge_coverage
from everforge.runners.isolation.jail import Limits
from everforge.runners.isolation.nursery import Nursery
from everforge.runners.rules.static_rules import StaticFinding, judge_source
from everforge.runners.trial import CandidateTrial, Checked, IncorrectOutput, Judged
from everforge.runners.trial_record import TrialRecord
from everforge.runners.truth.cases import VariantReference, build_reference
from everforge.runners.truth.reference import ReferenceBuilder

News = Callable[[str, str], None]

# A candidate holds draws for timing, a mask, mixes of three calls and the outputs of a turn: room on top of its own
# allowance.
_INPUT_COPIES = 9


class Session:
    """An open session."""

    def __init__(
        self,
        request: OpenSession,
        device: Device,
        environment: Environment,
        peaks: Peaks,
        nursery: Nursery,
        rules: Callable[[str], StaticFinding | None] = judge_source,
    ) -> None:
        # Only the red-team suite passes other rules, to see what the layers behind them catch.
        self._rules = rules
        self._task = request.task
        self._settings = request.settings
        self._device = device
        self._nursery = nursery
        self._environment = environment
        self._peaks = peaks
        self._stack = ExitStack()
        self._references: dict[str, VariantReference] = {}
        self._were_shown = False
        self._facts: dict[str, VariantFacts] = {}
        self._derived: tuple[Variant, ...] = ()
        self._notes: tuple[str, ...] = ()
        self._baselines: BaselineRunner | None = None
        self._evaluations: dict[str, Evaluation] = {}

    def open(self, news: News) -> TaskFacts:
        """Load and check the task, then measure its baselines.

        Raises TaskError for a task that cannot be one, DeviceFault or HarnessFault for a broken machine.
        """
        started_s = time.monotonic()
        notes: list[str] = []
        works: dict[str, VariantWork] = {}
        for variant in self._shown():
            news("reference", variant.name)
            builder = ReferenceBuilder(self._task, variant, self._device)
            reference = build_reference(builder, self._settings)
            notes += refuse_degenerate(builder, reference.cases)
            self._references[variant.name] = reference
            works[variant.name] = work_of(builder, self._peaks, self._device.cache_bytes())
            notes += works[variant.name].notes
        self._check_held_out(news)
        derived = derived_variants(self._task, self._device, random.Random(secrets.randbits(64)))
        self._derived = derived.variants
        notes += [] if derived.note is None else [derived.note]
        worker = self._stack.enter_context(self._nursery.worker(None))
        self._baselines = BaselineRunner(worker, self._task, self._device, self._settings)
        for name, reference in self._references.items():
            measured, fastest, fastest_fp32 = self._baselines.measure(reference, lambda it: news("baseline", it))
            self._facts[name] = VariantFacts(
                name=name,
                held_out=False,
                baselines=measured,
                fastest=fastest,
                fastest_fp32=fastest_fp32,
                floor_us=works[name].floor_us,
                suspicion_floor_us=works[name].suspicion_floor_us,
                shortcut_floor_us=works[name].shortcut_floor_us,
                graph=works[name].graph,
            )
        self._notes = tuple(dict.fromkeys(notes))
        return TaskFacts(
            task_digest=self._task.digest,
            environment=self._environment,
            peaks=self._peaks,
            variants=tuple(self._facts.values()),
            notes=self._notes,
            device_seconds=time.monotonic() - started_s,
        )

    def _shown(self) -> list[Variant]:
        return [variant for variant in self._task.variants if not variant.held_out]

    def _check_held_out(self, news: News) -> None:
        """A held-out variant that cannot run is the user's mistake: say so now, not at the champion."""
        for variant in self._task.variants:
            if variant.held_out:
                news("reference", "a held-out variant")
                builder = ReferenceBuilder(self._task, variant, self._device)
                builder.run(builder.model, builder.inputs())

    def close(self) -> None:
        """End the baselines' worker and free the device."""
        self._stack.close()
        self._references.clear()
        self._device.release_memory()

    def run(self, request: RunTrial, news: News) -> Evaluation:
        """Evaluate one candidate; the same trial id again is answered from memory."""
        if request.trial_id not in self._evaluations:
            evaluation = self._run(request, news)
            if not evaluation.verdict.is_final:
                return evaluation
            self._evaluations[request.trial_id] = evaluation
        return self._evaluations[request.trial_id]

    def _run(self, request: RunTrial, news: News) -> Evaluation:
        record = TrialRecord(self._environment, self._task.digest, request.candidate.digest, self._notes)
        finding = self._rules(request.candidate.source)
        if finding is not None:
            lines = tuple(f"line {broken.line}: {broken.reason}" for broken in finding.violations)
            return record.evaluation(finding.verdict, finding.reason, evidence=lines)
        try:
            self._compile_ahead(request.candidate, record, news)
            with self._nursery.worker(self._limits()) as worker:
                if self._device.shares_host_memory:
                    worker.memory_limit_bytes = self._memory_bytes()
                trial = CandidateTrial(
                    worker, request.candidate, self._task, self._device, self._settings, record.watch
                )
                return self._examine(trial, request, record, news)
        except Judged as judged:
            return record.evaluation(judged.verdict, judged.reason, judged.diagnostics, evidence=judged.evidence)
        except (DeviceFault, HarnessFault) as error:
            fault = Fault.DEVICE if isinstance(error, DeviceFault) else Fault.HARNESS
            return record.evaluation(Verdict.INFRA_ERROR, str(error), fault=fault)

    def _compile_ahead(self, candidate: Candidate, record: TrialRecord, news: News) -> None:
        """Compile a Triton candidate for the device without using it. Raises Judged for one that does not compile.

        Those of the builtin generator go to the device at once: what it emits is compiled ahead by its tests.
        """
        arch = self._device.compiles_ahead
        if arch is None or candidate.language is not Language.TRITON or candidate.generator is GeneratorKind.BUILTIN:
            return
        news("compile", f"ahead, for {arch}")
        forms = [Form.of_reference(self._references[variant.name]) for variant in self._shown()]
        # Half of the trial's time at most: what takes longer is left to the device.
        deadline_s = record.watch.started_s + self._settings.timeout_s / 2
        with record.watch.stage("compile"):
            report = compile_in_jail(self._nursery, self._settings, self._task, candidate, forms, arch, deadline_s)
        if report.fault is not None:
            raise Judged(Verdict.COMPILE_ERROR, fault_line(report.fault, arch), fault_text(report.fault))

    def _examine(self, trial: CandidateTrial, request: RunTrial, record: TrialRecord, news: News) -> Evaluation:
        news("compile", "")
        trial.load()
        trial.check_integrity()
        checked = []
        for reference in self._wanted(request, news):
            hidden = reference.variant.held_out
            news("verify", "a held-out variant" if hidden else reference.variant.name)
            try:
                checked.append(trial.check(reference))
            except IncorrectOutput as error:
                return record.incorrect(error)
            except Judged as judged:
                if hidden:  # what it printed could give the shape away
                    raise Judged(judged.verdict, "failed on a shape it was not shown") from judged
                raise
        trial.check_integrity()
        if not request.timed:
            return record.untimed(checked)
        return self._timed(trial, checked, record, request, news)

    def _wanted(self, request: RunTrial, news: News) -> list[VariantReference]:
        """References to check: the session's own, or for a fresh trial new ones, held-out variants included.

        The session's own are new until the first trial: `everforge evaluate`, whose only one is fresh, takes them.
        """
        variants = (*self._task.variants, *self._derived) if request.fresh else self._shown()
        known = {} if request.fresh and self._were_shown else self._references
        self._were_shown = True
        if request.fresh:
            news("reference", "fresh seeds")
        return [
            known.get(variant.name) or self._new_reference(variant)
            for variant in variants
            if _is_wanted(variant, request)
        ]

    def _new_reference(self, variant: Variant) -> VariantReference:
        return build_reference(ReferenceBuilder(self._task, variant, self._device), self._settings)

    def _timed(
        self, trial: CandidateTrial, checked: list[Checked], record: TrialRecord, request: RunTrial, news: News
    ) -> Evaluation:
        if self._baselines is None:
            raise HarnessFault("the session was closed")
        before = self._device.reading()
        timed = []
        for item in (item for item in checked if not item.reference.variant.held_out):
            facts = self._facts[item.reference.variant.name]
            news("time", facts.name)
            # The baselines have the session's parameters and draws for timing: a fresh trial takes them up, too.
            raced = replace(item, reference=self._references[facts.name])
            if request.fresh:
                trial.build(raced.reference)
            try:
                timed.append(TimedTrial(trial, raced, facts, self._baselines).run())
            except IncorrectOutput as error:
                return record.incorrect(error)
        news("time", "replayed")
        timed = [item.replayed(trial) for item in timed]
        hidden = [item for item in checked if item.reference.variant.held_out]
        readings = (before, self._device.reading())
        reports = [] if request.candidate.language is Language.PYTORCH else [item.coverage(trial) for item in timed]
        trial.end()
        evidence, share = judge_coverage(request.candidate.language, reports)
        if evidence is not None:
            raise Judged.tampered([evidence])
        algebraic = bool(request.candidate.rewrites)
        return record.timed(timed, hidden, algebraic=algebraic, own_share=share, readings=readings)

    def _memory_bytes(self) -> int:
        largest = max((case.inputs.size for ref in self._references.values() for case in ref.cases), default=0)
        state = max((ref.state.size + ref.plain.output_bytes for ref in self._references.values()), default=0)
        return self._settings.memory_bytes + _INPUT_COPIES * (largest + state) + KEPT_BYTES

    def _limits(self) -> Limits:
        # A GPU's driver reserves address space far beyond memory; there the address limit must stay off.
        limited = self._device.shares_host_memory
        return Limits(
            cpu_seconds=self._settings.cpu_seconds,
            address_bytes=self._nursery.address_bytes + self._memory_bytes() if limited else None,
            file_bytes=self._settings.file_bytes,
            processes=self._settings.processes,
        )


def _is_wanted(variant: Variant, request: RunTrial) -> bool:
    return request.variants is None or variant.name in request.variants


def session_id_of(request: OpenSession) -> str:
    """A name nobody can guess for a new session."""
    return digest_of([request.task.digest, secrets.token_hex(16)]).removeprefix("sha256:")[:16]
