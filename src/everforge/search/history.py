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


def is_elsewhere(trial: Trial) -> bool:
    """Whether a trial was measured on another device of its kind than the search's."""
    return trial.evaluation.environment.device_index > 0


@dataclass(frozen=True)
class History:
    """The trials of one campaign in order of their numbers, and what follows from them.

    `forgiven_before` is the number of the first trial whose machine failures still count: when a campaign
    that ended on a failing machine is run again, the old failures are not held against the mended one.
    `two_devices` asks of a champion that it was confirmed on two devices of its kind.
    """

    trials: tuple[Trial, ...]
    forgiven_before: int = 0
    two_devices: bool = False

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
        """Candidate digest to its finished re-measurement on the device of the search."""
        return self._remeasured(elsewhere=False)

    @cached_property
    def confirmations_elsewhere(self) -> dict[str, Trial]:
        """Candidate digest to its finished re-measurement on another device of the kind."""
        return self._remeasured(elsewhere=True)

    def is_repeat(self, trial: Trial) -> bool:
        """Whether a search trial reuses the verdict that an earlier trial gave to the same candidate."""
        first = self.judged.get(trial.candidate.digest)
        return trial.purpose is Purpose.SEARCH and first is not None and trial.number > first.number

    def attempts(self, digest: str, purpose: Purpose, elsewhere: bool = False) -> int:
        """How often the machine has failed this candidate so far."""
        return sum(
            1
            for trial in self.trials
            if trial.purpose is purpose
            and trial.candidate.digest == digest
            and is_elsewhere(trial) is elsewhere
            and self._is_held_against(trial)
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
        """The re-measurement of the best candidate that a re-measurement confirmed as faster.

        Where two devices are asked for, both confirmed it, and the lower of the two speedups is what it claims.
        """
        confirmed = [claim for digest in self.confirmations if (claim := self._claim(digest)) is not None]
        return max(confirmed, key=lambda trial: (speedup_of(trial), -trial.number), default=None)

    def half_confirmed(self) -> Trial | None:
        """The best re-measurement that only lacks one on another device to make its candidate champion."""
        bar = self._bar()
        waiting = (
            trial
            for trial in self._lacking_elsewhere()
            if speedup_of(trial) > bar and not self._was_given_up_elsewhere(trial)
        )
        return max(waiting, key=lambda trial: (speedup_of(trial), -trial.number), default=None)

    def given_up_elsewhere(self) -> Trial | None:
        """A re-measurement that confirmed a candidate which the machine then failed to measure on another device."""
        return next(filter(self._was_given_up_elsewhere, self._lacking_elsewhere()), None)

    def challenger(self) -> Trial | None:
        """The best `faster` trial not re-measured yet that beats what the champion was confirmed at."""
        bar = self._bar()
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

    def _remeasured(self, elsewhere: bool) -> dict[str, Trial]:
        return {
            trial.candidate.digest: trial
            for trial in self.trials
            if trial.purpose is Purpose.CHAMPION
            and trial.evaluation.verdict.is_final
            and is_elsewhere(trial) is elsewhere
        }

    def _claim(self, digest: str) -> Trial | None:
        """The re-measurement whose speedup a confirmed candidate may claim; None for one that is not confirmed."""
        needed = [self.confirmations.get(digest)]
        if self.two_devices:
            needed.append(self.confirmations_elsewhere.get(digest))
        done = [trial for trial in needed if trial is not None and trial.evaluation.verdict is Verdict.FASTER]
        return min(done, key=speedup_of) if len(done) == len(needed) else None

    def _lacking_elsewhere(self) -> list[Trial]:
        """Re-measurements that confirmed their candidate, and that another device has yet to repeat."""
        if not self.two_devices:
            return []
        return [
            trial
            for digest, trial in self.confirmations.items()
            if trial.evaluation.verdict is Verdict.FASTER and digest not in self.confirmations_elsewhere
        ]

    def _was_given_up_elsewhere(self, trial: Trial) -> bool:
        return self.attempts(trial.candidate.digest, Purpose.CHAMPION, elsewhere=True) >= MAX_ATTEMPTS

    def _bar(self) -> float:
        """The speedup a new champion must beat."""
        champion = self.champion()
        return speedup_of(champion) if champion is not None else 1.0

    def _unconfirmed(self) -> Iterator[Trial]:
        for digest, trial in self.judged.items():
            tried = self.attempts(digest, Purpose.CHAMPION) >= MAX_ATTEMPTS or digest in self.confirmations
            if trial.evaluation.verdict is Verdict.FASTER and not tried:
                yield trial

    def _is_held_against(self, trial: Trial) -> bool:
        return not trial.evaluation.verdict.is_final and trial.number >= self.forgiven_before
