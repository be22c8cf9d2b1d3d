"""The books of one sitting of a campaign: its trials, its spend, its notes, each written as it happens.

`agents/campaign.py` reads the search's state from here and enters what it did.
"""

from everforge.clock import Clock
from everforge.model.budget import Spend
from everforge.model.campaign import CampaignRecord, CampaignSpec, CampaignState, Champion
from everforge.model.candidate import Candidate, GeneratorKind
from everforge.model.evaluation import Evaluation
from everforge.model.session import TaskFacts
from everforge.model.trial import Conversation, Purpose, Trial, trial_id_of
from everforge.search.decision import Dry, SearchState, Stop
from everforge.search.disclosure import told_to_generators
from everforge.search.events import CampaignStarted, Listener, Noted, TaskAccepted, TrialFinished
from everforge.search.generator import SearchContext
from everforge.search.lifecycle import forgiven_before
from everforge.search.summary import campaign_record, total_spend
from everforge.search.tallies import wasted_by_model
from everforge.store.base import Store


class Ledger:
    """Keeps a campaign's trials and spend over all sittings; `since_s` is when this one began (monotonic)."""

    def __init__(
        self,
        spec: CampaignSpec,
        store: Store,
        facts: TaskFacts,
        clock: Clock,
        since_s: float,
        listener: Listener,
    ) -> None:
        self._spec, self._store, self._clock, self._listener = spec, store, clock, listener
        self._last_mark_s = since_s
        self._notes: tuple[str, ...] = ()
        previous = store.campaign(spec.campaign_id)
        self._tracking = store.open_campaign(spec)
        trials = store.trials(spec.campaign_id)
        self._overhead = previous.overhead if previous is not None else Spend()
        self._wasted_by_model = wasted_by_model(previous)
        self._state = SearchState(spec=spec, trials=trials, forgiven_before=forgiven_before(previous, len(trials)))
        listener(self._start(len(trials)))
        self.accept(facts)

    @property
    def state(self) -> SearchState:
        """What the next decision is made from."""
        return self._state.model_copy(update={"spent": self.spent})

    @property
    def spent(self) -> Spend:
        """What all sittings spent so far."""
        return total_spend(self._state.trials, self._overhead)

    @property
    def context(self) -> SearchContext:
        """What a generator may know."""
        told = told_to_generators(self._state.history)
        return SearchContext(spec=self._spec, facts=self.facts, trials=told, spent=self.spent)

    def next_trial_id(self, candidate: Candidate, purpose: Purpose) -> str:
        """The id under which the next trial will be kept."""
        return trial_id_of(self._spec.campaign_id, self._next_number, purpose, candidate.digest)

    def accept(self, facts: TaskFacts) -> None:
        """Keep the facts of a session that was opened, and charge what opening it cost."""
        self.facts = facts
        self.charge(Spend(device_seconds=facts.device_seconds))
        self._store.record_facts(self._spec.campaign_id, facts)
        self.save(CampaignState.RUNNING)
        self._listener(TaskAccepted(facts=facts))

    def keep(
        self,
        candidate: Candidate,
        purpose: Purpose,
        evaluation: Evaluation,
        conversation: Conversation | None,
        spend: Spend,
        reused: bool = False,
    ) -> None:
        """Keep a finished trial; its seconds are those since the last mark."""
        trial = Trial(
            trial_id=self.next_trial_id(candidate, purpose),
            campaign_id=self._spec.campaign_id,
            number=self._next_number,
            purpose=purpose,
            candidate=candidate,
            evaluation=evaluation,
            conversation=conversation,
            spend=spend.model_copy(update={"seconds": self._lap_s()}),
            finished_at_s=self._clock.now_s(),
        )
        self._store.record_trial(trial)
        self._state = self._state.model_copy(update={"trials": (*self._state.trials, trial)})
        verdicts = self._state.history.by_verdict()
        self._listener(TrialFinished(trial=trial, spent=self.spent, reused=reused, verdicts=verdicts))

    def charge(self, spend: Spend) -> None:
        """Count spend that no trial carries, with the seconds since the last mark; tokens are the model's."""
        self._overhead = self._overhead.plus(spend.model_copy(update={"seconds": self._lap_s()}))
        if spend.tokens and self._spec.model is not None:
            model = self._spec.model.model
            self._wasted_by_model[model] = self._wasted_by_model.get(model, Spend()).plus(spend)

    def waste(self, kind: GeneratorKind, spend: Spend) -> None:
        """Count a proposal that held nothing to evaluate, and save what it cost."""
        self._set_wasted(kind, self._state.wasted.get(kind, 0) + 1)
        self.charge(spend)
        self.save(CampaignState.RUNNING)

    def productive(self, kind: GeneratorKind) -> None:
        """Start the count of wasted proposals of a generator anew."""
        self._set_wasted(kind, 0)

    def run_dry(self, kind: GeneratorKind, why: Dry) -> None:
        """Note that a generator gives nothing more in this sitting."""
        self._state = self._state.model_copy(update={"dry": {**self._state.dry, kind: why}})

    def note(self, text: str) -> None:
        """Keep something a person should know; said twice is said once."""
        if text not in self._notes:
            self._notes = (*self._notes, text)
            self._listener(Noted(text=text))

    def save(self, state: CampaignState, champion: Champion | None = None, stop: Stop | None = None) -> CampaignRecord:
        """Write where the campaign stands."""
        record = campaign_record(
            self._spec,
            self._state.history,
            facts=self.facts,
            state=state,
            overhead=self._overhead,
            tracking=self._tracking,
            wasted=self._wasted_by_model,
            notes=self._notes,
            champion=champion,
            stop=stop,
        )
        self._store.record_campaign(record)
        return record

    def _start(self, resumed_trials: int) -> CampaignStarted:
        return CampaignStarted(
            spec=self._spec,
            resumed_trials=resumed_trials,
            verdicts=self._state.history.by_verdict(),
            spent=self.spent,
            run_id=self._tracking.run_id,
            experiment_id=self._tracking.experiment_id,
        )

    @property
    def _next_number(self) -> int:
        return self._state.trials[-1].number + 1 if self._state.trials else 0

    def _set_wasted(self, kind: GeneratorKind, count: int) -> None:
        self._state = self._state.model_copy(update={"wasted": {**self._state.wasted, kind: count}})

    def _lap_s(self) -> float:
        """Seconds since it was last asked: every second of a sitting is counted once."""
        now_s = self._clock.monotonic_s()
        lap_s, self._last_mark_s = now_s - self._last_mark_s, now_s
        return lap_s
