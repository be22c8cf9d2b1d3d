"""The campaign loop: asks `search.decision` what to do, does it, records it; all effects at its ports.

`everforge run` and `everforge suite` call `Campaign(...).run()`. Everything that matters is in the store
after every step, so a campaign that is killed anywhere resumes by being run again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from everforge.agents.champion_file import write_champion
from everforge.agents.runner_supply import RunnerSupply, TaskSession
from everforge.agents.stop_signal import StopSignal
from everforge.clock import Clock
from everforge.errors import BudgetExceeded, DeviceFault, MachineFault, ModelUnavailable, StoreUnavailable
from everforge.model.budget import Spend
from everforge.model.campaign import CampaignRecord, CampaignSpec, CampaignState, Champion, StopReason
from everforge.model.candidate import Candidate, GeneratorKind
from everforge.model.evaluation import Evaluation
from everforge.model.session import EvaluationSettings, OpenSession, Progress, RunTrial, TaskFacts
from everforge.model.trial import Conversation, Purpose, Trial, trial_id_of
from everforge.model.verdict import Fault, Verdict
from everforge.search.decision import Confirm, Dry, Propose, Retry, SearchState, Stop, next_step
from everforge.search.events import (
    CampaignEnded,
    CampaignStarted,
    Listener,
    Noted,
    StageChanged,
    TaskAccepted,
    TrialFinished,
    ignore,
)
from everforge.search.generator import Generator, Proposal, SearchContext
from everforge.search.lifecycle import conclude, forgiven_before, is_settled
from everforge.search.summary import campaign_record, champion_of, total_spend
from everforge.store.base import Store, Tracking


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
        self._state = SearchState(spec=spec)
        self._overhead = Spend()
        self._notes: tuple[str, ...] = ()
        self._last_mark_s = ports.clock.monotonic_s()

    def run(self) -> CampaignRecord:
        """Search until there is a reason to stop, and return the campaign's record.

        Raises TaskError for a task that cannot be one, DeviceFault or HarnessFault if the first session
        cannot be opened, and KeyboardInterrupt if a stop is asked for before that.
        """
        if self._ports.may_resume and (settled := self._settled(self._ports.open_store())) is not None:
            return settled
        try:
            facts = self._open_session()
            self._store = self._ports.open_store()
            if (settled := self._settled(self._store)) is not None:
                return settled
            self._resume(facts)
            return self._loop()
        finally:
            self._session.close()

    def _settled(self, store: Store) -> CampaignRecord | None:
        """The record of a campaign that ended under exactly this spec, None if there is something to run."""
        previous = store.campaign(self._spec.campaign_id)
        if previous is None or not is_settled(previous, self._spec):
            return None
        trials = store.trials(self._spec.campaign_id)
        self._ports.listener(CampaignStarted(spec=self._spec, resumed_trials=len(trials)))
        self._tell_end(previous, trials)
        return previous

    def _resume(self, facts: TaskFacts) -> None:
        previous = self._store.campaign(self._spec.campaign_id)
        self._tracking: Tracking = self._store.open_campaign(self._spec)
        trials = self._store.trials(self._spec.campaign_id)
        if previous is not None:
            self._overhead = self._overhead.plus(previous.overhead)
        self._state = SearchState(
            spec=self._spec, trials=trials, forgiven_before=forgiven_before(previous, len(trials))
        )
        self._ports.listener(CampaignStarted(spec=self._spec, resumed_trials=len(trials)))
        self._accept(facts)

    def _loop(self) -> CampaignRecord:
        while True:
            step = next_step(self._refreshed())
            if isinstance(step, Stop):
                return self._finish(step)
            try:
                self._carry_out(step)
            except KeyboardInterrupt:
                kept = len(self._state.trials)
                detail = f"{kept} trials are kept; the same command again resumes from them"
                return self._finish(Stop(reason=StopReason.INTERRUPTED, detail=detail))
            except MachineFault as fault:
                blamed = _blamed(fault)
                return self._finish(Stop(reason=StopReason.MACHINE, detail=str(fault), fault=blamed))

    def _carry_out(self, step: Propose | Retry | Confirm) -> None:
        if not self._session.is_open:
            self._accept(self._open_session())
        if isinstance(step, Propose):
            self._propose(step.generator)
        elif isinstance(step, Retry):
            self._evaluate(step.trial.candidate, Purpose.SEARCH, step.trial.conversation)
        else:
            self._evaluate(step.trial.candidate, Purpose.CHAMPION)

    def _propose(self, kind: GeneratorKind) -> None:
        self._ports.listener(StageChanged(stage="propose", detail=kind))
        try:
            with self._ports.stop.interruptible():
                proposal = self._ports.generators[kind].propose(self._context())
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
        if proposal.note:
            self._note(f"{kind}: {proposal.note}")
        history = self._state.history
        candidate = proposal.candidate
        judged = history.judged.get(candidate.digest) if candidate is not None else None
        if candidate is None or (judged is None and history.was_given_up(candidate.digest)):
            self._waste(kind, proposal)
        elif judged is not None:
            self._reuse(candidate, proposal, judged)
        else:
            self._state = self._state.model_copy(update={"wasted": {**self._state.wasted, kind: 0}})
            self._evaluate(candidate, Purpose.SEARCH, proposal.conversation, proposal.spend)

    def _evaluate(
        self,
        candidate: Candidate,
        purpose: Purpose,
        conversation: Conversation | None = None,
        proposal_spend: Spend | None = None,
    ) -> None:
        proposal_spend = proposal_spend or Spend()
        try:
            evaluation = self._measure(candidate, purpose)
        except KeyboardInterrupt:
            self._charge(proposal_spend)
            raise
        counted = purpose is Purpose.SEARCH and evaluation.verdict.is_final
        spend = proposal_spend.model_copy(
            update={
                "trials": int(counted),
                "seconds": self._lap_s(),
                "device_seconds": proposal_spend.device_seconds + evaluation.device_seconds,
            }
        )
        self._keep(self._trial(candidate, purpose, evaluation, conversation, spend))

    def _measure(self, candidate: Candidate, purpose: Purpose) -> Evaluation:
        trial_id = trial_id_of(self._spec.campaign_id, self._next_number, purpose, candidate.digest)
        fresh = purpose is Purpose.CHAMPION
        try:
            with self._ports.stop.interruptible():
                return self._session.run_trial(RunTrial(trial_id=trial_id, candidate=candidate, fresh=fresh))
        except MachineFault as fault:
            self._session.abandon()
            return self._machine_failure(candidate, fault)

    def _machine_failure(self, candidate: Candidate, fault: MachineFault) -> Evaluation:
        return Evaluation(
            verdict=Verdict.INFRA_ERROR,
            reason=str(fault),
            fault=_blamed(fault),
            environment=self._facts.environment,
            task_digest=self._spec.task.digest,
            candidate_digest=candidate.digest,
        )

    def _reuse(self, candidate: Candidate, proposal: Proposal, judged: Trial) -> None:
        spend = proposal.spend.model_copy(update={"trials": 0, "seconds": self._lap_s()})
        trial = self._trial(candidate, Purpose.SEARCH, judged.evaluation, proposal.conversation, spend)
        self._keep(trial, reused=True)

    def _waste(self, kind: GeneratorKind, proposal: Proposal) -> None:
        count = self._state.wasted.get(kind, 0) + 1
        self._state = self._state.model_copy(update={"wasted": {**self._state.wasted, kind: count}})
        self._charge(proposal.spend)
        self._store.record_campaign(self._record(CampaignState.RUNNING))

    def _run_dry(self, kind: GeneratorKind, reason: StopReason, detail: str) -> None:
        dry = {**self._state.dry, kind: Dry(reason=reason, detail=detail)}
        self._state = self._state.model_copy(update={"dry": dry})
        if reason is not StopReason.EXHAUSTED:
            self._note(f"{kind}: {detail}")

    def _trial(
        self,
        candidate: Candidate,
        purpose: Purpose,
        evaluation: Evaluation,
        conversation: Conversation | None,
        spend: Spend,
    ) -> Trial:
        number = self._next_number
        return Trial(
            trial_id=trial_id_of(self._spec.campaign_id, number, purpose, candidate.digest),
            campaign_id=self._spec.campaign_id,
            number=number,
            purpose=purpose,
            candidate=candidate,
            evaluation=evaluation,
            conversation=conversation,
            spend=spend,
            finished_at_s=self._ports.clock.now_s(),
        )

    def _keep(self, trial: Trial, reused: bool = False) -> None:
        self._store.record_trial(trial)
        self._state = self._state.model_copy(update={"trials": (*self._state.trials, trial)})
        self._ports.listener(TrialFinished(trial=trial, spent=self._spent, reused=reused))

    def _open_session(self) -> TaskFacts:
        with self._ports.stop.interruptible():
            return self._session.open()

    def _accept(self, facts: TaskFacts) -> None:
        self._facts = facts
        self._charge(Spend(device_seconds=facts.device_seconds))
        self._store.record_facts(self._spec.campaign_id, facts)
        self._store.record_campaign(self._record(CampaignState.RUNNING))
        self._ports.listener(TaskAccepted(facts=facts))

    def _finish(self, stop: Stop) -> CampaignRecord:
        self._charge(Spend())
        state = conclude(CampaignState.RUNNING, stop.reason)
        champion = champion_of(self._state.history)
        if champion is not None and state.is_finished:
            champion = self._publish(champion)
        waiting = self._store.flush()
        if waiting:
            self._note(f"{waiting} writes wait for the tracking server; the next run sends them")
        record = self._record(state, champion, stop)
        self._store.record_campaign(record)
        self._tell_end(record, self._state.trials)
        return record

    def _tell_end(self, record: CampaignRecord, trials: tuple[Trial, ...]) -> None:
        champion_id = record.champion.trial_id if record.champion is not None else None
        champion_trial = next((trial for trial in trials if trial.trial_id == champion_id), None)
        self._ports.listener(CampaignEnded(record=record, champion_trial=champion_trial))

    def _publish(self, champion: Champion) -> Champion:
        trial = next(trial for trial in self._state.trials if trial.trial_id == champion.trial_id)
        path = write_champion(self._ports.champions_dir, self._spec, trial.candidate)
        champion = champion.model_copy(update={"source_path": str(path)})
        try:
            return self._store.register_champion(self._spec.campaign_id, champion, trial)
        except StoreUnavailable as error:
            self._note(f"the champion is not registered yet: {error}")
            return champion

    def _record(
        self, state: CampaignState, champion: Champion | None = None, stop: Stop | None = None
    ) -> CampaignRecord:
        return campaign_record(
            self._spec,
            self._state.history,
            facts=self._facts,
            state=state,
            overhead=self._overhead,
            tracking=self._tracking,
            notes=self._notes,
            champion=champion,
            stop=stop,
        )

    def _context(self) -> SearchContext:
        return SearchContext(
            spec=self._spec,
            facts=self._facts,
            trials=self._state.history.shown_to_generators(),
            spent=self._spent,
        )

    def _refreshed(self) -> SearchState:
        self._state = self._state.model_copy(update={"spent": self._spent})
        return self._state

    @property
    def _spent(self) -> Spend:
        return total_spend(self._state.trials, self._overhead)

    @property
    def _next_number(self) -> int:
        return self._state.trials[-1].number + 1 if self._state.trials else 0

    def _charge(self, spend: Spend) -> None:
        """Count spend that no trial carries, with the time since the last mark."""
        self._overhead = self._overhead.plus(spend.model_copy(update={"seconds": self._lap_s()}))

    def _lap_s(self) -> float:
        """Seconds since it was last asked: every second of a sitting is counted once."""
        now_s = self._ports.clock.monotonic_s()
        lap_s, self._last_mark_s = now_s - self._last_mark_s, now_s
        return lap_s

    def _note(self, text: str) -> None:
        if text not in self._notes:
            self._notes = (*self._notes, text)
            self._ports.listener(Noted(text=text))

    def _on_progress(self, progress: Progress) -> None:
        self._ports.listener(StageChanged(stage=progress.stage, detail=progress.detail))


def _blamed(fault: MachineFault) -> Fault:
    return Fault.DEVICE if isinstance(fault, DeviceFault) else Fault.HARNESS
