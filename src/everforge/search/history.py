"""What the recorded trials of a campaign say: verdicts by candidate, contenders, champion, machine failures.

`search/decision.py` decides from it and `search/summary.py` reports it. Everything here follows from the
trials alone, which is why a campaign that was killed resumes where it stood.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile

from everforge.model.candidate import GeneratorKind
from everforge.model.trial import Purpose, Trial
from everforge.model.verdict import Verdict

# One retry tells a passing hiccup of the machine from a candidate that wedges the device each time.
MAX_ATTEMPTS = 2


def speedup_of(trial: Trial) -> float:
    """The measured speedup of a `faster` trial, which always carries one."""
    speedup = trial.evaluation.speedup
    if speedup is None:
        raise ValueError(f"trial {trial.trial_id} was not timed")
    return speedup.value


@dataclass(frozen=True)
class History:
    """The trials of one campaign in order of their numbers, and what follows from them.

    `forgiven_before` is the number of the first trial whose machine failures still count: when a campaign
    that ended on a failing machine is run again, the old failures are not held against the mended one.
    """

    trials: tuple[Trial, ...]
    forgiven_before: int = 0

    @cached_property
    def search_trials(self) -> tuple[Trial, ...]:
        """Trials of proposed candidates, without re-measurements."""
        return tuple(trial for trial in self.trials if trial.purpose is Purpose.SEARCH)

    @cached_property
    def judged(self) -> dict[str, Trial]:
        """Candidate digest to the trial that judged it first."""
        judged: dict[str, Trial] = {}
        for trial in self.search_trials:
            if trial.evaluation.verdict.is_final:
                judged.setdefault(trial.candidate.digest, trial)
        return judged

    @cached_property
    def confirmations(self) -> dict[str, Trial]:
        """Candidate digest to its finished re-measurement."""
        return {
            trial.candidate.digest: trial
            for trial in self.trials
            if trial.purpose is Purpose.CHAMPION and trial.evaluation.verdict.is_final
        }

    def is_repeat(self, trial: Trial) -> bool:
        """Whether a search trial reuses the verdict that an earlier trial gave to the same candidate."""
        first = self.judged.get(trial.candidate.digest)
        return trial.purpose is Purpose.SEARCH and first is not None and trial.number > first.number

    def attempts(self, digest: str, purpose: Purpose) -> int:
        """How often the machine has failed this candidate so far."""
        return sum(
            1
            for trial in self.trials
            if trial.purpose is purpose and trial.candidate.digest == digest and self._is_held_against(trial)
        )

    def was_given_up(self, digest: str) -> bool:
        """Whether the machine failed this candidate too often for it to be tried again."""
        return self.attempts(digest, Purpose.SEARCH) >= MAX_ATTEMPTS

    def pending_retry(self) -> Trial | None:
        """The first candidate that the machine, not a verdict, stopped, and that deserves another attempt."""
        for trial in self.search_trials:
            digest = trial.candidate.digest
            if digest not in self.judged and not self.was_given_up(digest):
                return trial
        return None

    def failures_in_a_row(self) -> int:
        """How many of the latest trials, without a verdict in between, the machine failed."""
        return sum(1 for _ in takewhile(self._is_held_against, reversed(self.trials)))

    def repeats_in_a_row(self, generator: GeneratorKind) -> int:
        """How many of a generator's latest proposals had been judged before."""
        own = [trial for trial in self.search_trials if trial.candidate.generator is generator]
        return sum(1 for _ in takewhile(self.is_repeat, reversed(own)))

    def proposed_by(self, generator: GeneratorKind) -> int:
        """How many different candidates a generator has had judged."""
        return sum(1 for trial in self.judged.values() if trial.candidate.generator is generator)

    def champion(self) -> Trial | None:
        """The re-measurement of the best candidate that a re-measurement confirmed as faster."""
        confirmed = [trial for trial in self.confirmations.values() if trial.evaluation.verdict is Verdict.FASTER]
        return max(confirmed, key=lambda trial: (speedup_of(trial), -trial.number), default=None)

    def challenger(self) -> Trial | None:
        """The best `faster` trial not re-measured yet that beats what the champion was confirmed at."""
        champion = self.champion()
        bar = speedup_of(champion) if champion is not None else 1.0
        best = max(self._unconfirmed(), key=lambda trial: (speedup_of(trial), -trial.number), default=None)
        return best if best is not None and speedup_of(best) > bar else None

    def refuted_in_a_row(self) -> int:
        """How many re-measurements since the last search trial did not confirm their candidate."""
        recent = takewhile(lambda trial: trial.purpose is Purpose.CHAMPION, reversed(self.trials))
        return sum(1 for trial in recent if trial.evaluation.verdict is not Verdict.FASTER)

    def shown_to_generators(self) -> tuple[Trial, ...]:
        """Search trials a generator may learn from: all verdicts, and one trial of each candidate given up.

        Re-measurements are not among them: they hold what was measured on held-out variants.
        """
        latest = {trial.candidate.digest: trial for trial in self.search_trials}
        return tuple(
            trial
            for trial in self.search_trials
            if trial.evaluation.verdict.is_final or trial is latest[trial.candidate.digest]
        )

    def by_verdict(self) -> dict[Verdict, int]:
        """How many different search trials ended with each verdict; reused verdicts count once."""
        counts = Counter(t.evaluation.verdict for t in self.search_trials if not self.is_repeat(t))
        return {verdict: counts[verdict] for verdict in Verdict if counts[verdict]}

    def _unconfirmed(self) -> Iterator[Trial]:
        for digest, trial in self.judged.items():
            tried = self.attempts(digest, Purpose.CHAMPION) >= MAX_ATTEMPTS or digest in self.confirmations
            if trial.evaluation.verdict is Verdict.FASTER and not tried:
                yield trial

    def _is_held_against(self, trial: Trial) -> bool:
        return not trial.evaluation.verdict.is_final and trial.number >= self.forgiven_before
