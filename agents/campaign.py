"""The campaign loop: asks `search.decision` what to do, does it, records it; all effects at its ports.

`everforge run` and `everforge suite` call `Campaign(...).run()`. Everything that matters is in the store
after every step, so a campaign that is killed anywhere resumes by being run again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from everforge.agents.champion_file import write_champion
from everforge.agents.ledger import Ledger
from everforge.agents.runner_supply import RunnerSupply, TaskSession
from everforge.agents.stop_signal import StopSignal
from everforge.clock import Clock
from everforge.errors import (
    BudgetExceeded,
    DeviceFault,
    HarnessFault,
    MachineFault,
    ModelUnavailable,
    StoreUnavailable,
    TaskError,
)
from everforge.model.budget import Spend
from everforge.model.campaign import CampaignRecord, CampaignSpec, CampaignState, Champion, StopReason
from everforge.model.candidate import Candidate, GeneratorKind
from everforge.model.evaluation import Evaluation
from everforge.model.session import EvaluationSettings, OpenSession, Progress, RunTrial, TaskFacts
from everforge.model.trial import Conversation, Purpose, Trial
from everforge.model.verdict import Fault, Verdict
from everforge.search.decision import Confirm, Dry, Propose, Retry, SearchState, Stop, next_step
from everforge.search.events import (
    CampaignEnded,
    CampaignStarted,
    Listener,
    ModelReplied,
    StageChanged,
    ignore,
)
from everforge.search.generator import Generator, Proposal
from everforge.search.lifecycle import conclude, is_settled
from everforge.search.summary import champion_of
from everforge.store.base import Store


@dataclass(frozen=True)
class Ports:
    """What a campaign reaches the world through.

    `open_store` (the same store each time) is called once the runner has accepted the task, so that a refused
    task leaves nothing behind; earlier only if `may_resume` says that a store is there already.
    """

    supply: RunnerSupply
    open_store: Callable[[], Store]
    generators: Mapping[GeneratorKind, Generator]
    clock: Clock
    champions_dir: Path
    may_resume: bool = True
    listener: Listener = ignore
    stop: StopSignal = field(default_factory=StopSignal)


class Campaign:
    """One sitting of the search for one task on one device."""

    def __init__(self, spec: CampaignSpec, ports: Ports, settings: EvaluationSettings | None = None) -> None:
        self._spec = spec
        self._ports = ports
        request = OpenSession(task=spec.task, device=spec.device, settings=settings or EvaluationSettings())
        self._session = TaskSession(ports.supply, request, self._on_progress)
        elsewhere = ports.supply.elsewhere
        self._elsewhere = TaskSession(elsewhere, request, self._on_progress, True) if elsewhere else None

    def run(self) -> CampaignRecord:
        """Search until there is a reason to stop, and return the campaign's record.

        Raises TaskError for a task that cannot be one, DeviceFault or HarnessFault if the first session
        cannot be opened, and KeyboardInterrupt if a stop is asked for before that.
        """
        if self._ports.may_resume and (settled := self._settled(self._ports.open_store())) is not None:
            return settled
        with self._ports.stop.interruptible():
            self._ports.supply.runner()
        # Only now: on a cluster a runner may be waited for for hours, which is not the campaign's time.
        since_s = self._ports.clock.monotonic_s()
        try:
            facts = self._open_session()
            self._store = self._ports.open_store()
            if (settled := self._settled(self._store)) is not None:
                return settled
            self._ledger = Ledger(self._spec, self._store, facts, self._ports.clock, since_s, self._ports.listener)
            return self._loop()
        finally:
            self._session.close()
            if self._elsewhere is not None:
                self._elsewhere.close()

    @property
    def _state(self) -> SearchState:
        """What the next decision is made from, with what this sitting can do: measure on two devices, or on one."""
        several = self._ledger.facts.environment.device_count > 1 and self._elsewhere is not None
        return self._ledger.state.model_copy(update={"two_devices": several})

    def _settled(self, store: Store) -> CampaignRecord | None:
        """The record of a campaign that ended under exactly this spec, None if there is something to run."""
        previous = store.campaign(self._spec.campaign_id)
        if previous is None or not is_settled(previous, self._spec):
            return None
        trials = store.trials(self._spec.campaign_id)
        self._ports.listener(CampaignStarted(spec=self._spec, resumed_trials=len(trials)))
        self._tell_end(previous, trials)
        return previous

    def _loop(self) -> CampaignRecord:
        while True:
            state = self._state
            step = next_step(state)
            if isinstance(step, Stop):
                return self._finish(step)
            try:
                self._carry_out(step)
            except KeyboardInterrupt:
                detail = f"trials kept: {len(state.trials)}; the same command again resumes from them"
                return self._finish(Stop(reason=StopReason.INTERRUPTED, detail=detail))
            except MachineFault as fault:
                blamed = _blamed(fault)
                return self._finish(Stop(reason=StopReason.MACHINE, detail=str(fault), fault=blamed))

    def _carry_out(self, step: Propose | Retry | Confirm) -> None:
        if not self._session.is_open:
            self._ledger.accept(self._open_session())
        if isinstance(step, Propose):
            self._propose(step.generator)
        elif isinstance(step, Retry):
            self._evaluate(step.trial.candidate, Purpose.SEARCH, step.trial.conversation)
        else:
            self._confirm(step)

    def _propose(self, kind: GeneratorKind) -> None:
        self._ports.listener(StageChanged(stage="propose", detail=kind))
        try:
            with self._ports.stop.interruptible():
                proposal = self._ports.generators[kind].propose(self._ledger.context)
        except BudgetExceeded as refusal:
            self._run_dry(kind, StopReason.BUDGET, str(refusal))
        except ModelUnavailable as error:
            self._run_dry(kind, StopReason.MACHINE, f"the model gave no answer: {error}")
        else:
            self._take_up(kind, proposal)

    def _take_up(self, kind: GeneratorKind, proposal: Proposal | None) -> None:
        if proposal is None:
            self._run_dry(kind, StopReason.EXHAUSTED, "nothing more to propose")
            return
        if proposal.conversation is not None:
            self._ports.listener(ModelReplied(conversation=proposal.conversation))
        if proposal.note:
            self._ledger.note(f"{kind}: {proposal.note}")
        history = self._ledger.state.history
        candidate, said = proposal.candidate, proposal.conversation
        judged = history.judged.get(candidate.digest) if candidate is not None else None
        if candidate is None or (judged is None and history.was_given_up(candidate.digest)):
            self._ledger.waste(kind, proposal.spend)
        elif judged is not None:
            free = proposal.spend.model_copy(update={"trials": 0})
            self._ledger.keep(candidate, Purpose.SEARCH, judged.evaluation, said, free, reused=True)
        else:
            self._ledger.productive(kind)
            self._evaluate(candidate, Purpose.SEARCH, said, proposal.spend)

    def _run_dry(self, kind: GeneratorKind, reason: StopReason, detail: str) -> None:
        self._ledger.run_dry(kind, Dry(reason=reason, detail=detail))
        if reason is not StopReason.EXHAUSTED:
            self._ledger.note(f"{kind}: {detail}")

    def _confirm(self, step: Confirm) -> None:
        if step.elsewhere and self._elsewhere is not None:
            self._evaluate(step.trial.candidate, Purpose.CHAMPION, session=self._elsewhere)
        else:
            self._evaluate(step.trial.candidate, Purpose.CHAMPION)

    def _evaluate(
        self,
        candidate: Candidate,
        purpose: Purpose,
        conversation: Conversation | None = None,
        proposal_spend: Spend | None = None,
        session: TaskSession | None = None,
    ) -> None:
        proposal_spend = proposal_spend or Spend()
        try:
            evaluation = self._measure(candidate, purpose, session or self._session)
        except KeyboardInterrupt:
            self._ledger.charge(proposal_spend)
            raise
        counted = purpose is Purpose.SEARCH and evaluation.verdict.is_final
        device_seconds = proposal_spend.device_seconds + evaluation.device_seconds
        spend = proposal_spend.model_copy(update={"trials": int(counted), "device_seconds": device_seconds})
        self._ledger.keep(candidate, purpose, evaluation, conversation, spend)

    def _measure(self, candidate: Candidate, purpose: Purpose, session: TaskSession) -> Evaluation:
        trial_id = self._ledger.next_trial_id(candidate, purpose)
        fresh = purpose is Purpose.CHAMPION
        try:
            with session.in_use():
                if session.elsewhere and not session.is_open:
                    self._open_elsewhere(session)
                elif session.was_taken:
                    self._reopen()
                with self._ports.stop.interruptible():
                    return session.run_trial(RunTrial(trial_id=trial_id, candidate=candidate, fresh=fresh))
        except MachineFault as fault:
            session.abandon()
            return self._machine_failure(candidate, fault, session.elsewhere)

    def _open_elsewhere(self, session: TaskSession) -> None:
        """Open the task on the other device's runner, and make sure that it is another device."""
        try:
            with self._ports.stop.interruptible():
                facts = session.open()
        except TaskError as error:
            raise HarnessFault(f"another device's runner refuses the task this one accepted: {error}") from error
        self._ledger.charge(Spend(device_seconds=facts.device_seconds))
        self._ledger.save(CampaignState.RUNNING)
        uuid = facts.environment.device_uuid
        if uuid is not None and uuid == self._ledger.facts.environment.device_uuid:
            raise HarnessFault(f"the runner that was to use another device uses the same one, {uuid}")

    def _reopen(self) -> None:
        """Open the task on another runner than the one that was taken away while a generator thought."""
        try:
            facts = self._open_session()
        except TaskError as error:
            raise HarnessFault(f"another runner refuses the task that one accepted: {error}") from error
        self._ledger.accept(facts)

    def _machine_failure(self, candidate: Candidate, fault: MachineFault, elsewhere: bool) -> Evaluation:
        environment = self._ledger.facts.environment
        if elsewhere:
            environment = environment.model_copy(update={"device_index": 1, "device_uuid": None})
        return Evaluation(
            verdict=Verdict.INFRA_ERROR,
            reason=str(fault),
            fault=_blamed(fault),
            environment=environment,
            task_digest=self._spec.task.digest,
            candidate_digest=candidate.digest,
        )

    def _open_session(self) -> TaskFacts:
        with self._ports.stop.interruptible():
            return self._session.open()

    def _finish(self, stop: Stop) -> CampaignRecord:
        self._ledger.charge(Spend())
        state = conclude(CampaignState.RUNNING, stop.reason)
        trials = self._state.trials
        champion = champion_of(self._state.history)
        if champion is not None and state.is_finished:
            champion = self._publish(champion, trials)
        if waiting := self._store.flush():
            self._ledger.note(f"{waiting} writes wait for the tracking server; the next run sends them")
        record = self._ledger.save(state, champion, stop)
        self._tell_end(record, trials)
        return record

    def _publish(self, champion: Champion, trials: Sequence[Trial]) -> Champion:
        trial = next(trial for trial in trials if trial.trial_id == champion.trial_id)
        path = write_champion(self._ports.champions_dir, self._spec, trial.candidate)
        champion = champion.model_copy(update={"source_path": str(path)})
        try:
            return self._store.register_champion(self._spec.campaign_id, champion, trial)
        except StoreUnavailable as error:
            self._ledger.note(f"the champion is not registered yet: {error}")
            return champion

    def _tell_end(self, record: CampaignRecord, trials: Sequence[Trial]) -> None:
        champion_id = record.champion.trial_id if record.champion is not None else None
        champion_trial = next((trial for trial in trials if trial.trial_id == champion_id), None)
        self._ports.listener(CampaignEnded(record=record, champion_trial=champion_trial))

    def _on_progress(self, progress: Progress) -> None:
        self._ports.listener(StageChanged(stage=progress.stage, detail=progress.detail))


def _blamed(fault: MachineFault) -> Fault:
    return Fault.DEVICE if isinstance(fault, DeviceFault) else Fault.HARNESS
