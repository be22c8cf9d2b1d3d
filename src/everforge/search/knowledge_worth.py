"""What became of trials whose request quoted an entry of knowledge; `everforge knowledge stats` prints it.

It tells what goes together, not what caused it: a task chooses its entries, so trials are compared only with trials of
the same task, device and model that were not shown the entry. An entry that every request of a task quotes has nothing
to be compared with there, and too few on either side give no figure.
"""

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from pydantic import Field

from everforge.model.base import Record
from everforge.model.interval import Interval, bootstrap_strata
from everforge.model.trial import Purpose, Trial
from everforge.model.verdict import Verdict

# The median of fewer timed trials has an interval that says nothing: its ends are the smallest and the largest.
FEWEST = 8
_SEED = 0

Peers = tuple[str, str, str]


class EntryWorth(Record):
    """What is recorded of one entry."""

    id: str
    shown: int = Field(description="Trials of the search whose request quoted it")
    verdicts: dict[Verdict, int] = Field(description="How they ended")
    median_speedup: float | None = Field(None, description="Of those that were timed; None where none was")
    compared: int = Field(0, description="Timed trials that saw it, of tasks where others did not")
    compared_with: int = Field(0, description="Timed trials of the same tasks, devices and models that did not see it")
    ratio: Interval | None = Field(
        None,
        description="Median speedup of those that saw it over those that did not, each over the median of its task, "
        f"device and model; None where either are fewer than {FEWEST}",
    )


def worth(trials: Iterable[Trial], ids: Iterable[str]) -> tuple[EntryWorth, ...]:
    """Each of the entries `ids`, and any other that a trial was shown: most shown first, equals by id."""
    asked = [trial for trial in trials if _counts(trial)]
    shown = {name for trial in asked for name in _seen(trial)}
    found = [_worth_of(name, asked) for name in {*ids, *shown}]
    return tuple(sorted(found, key=lambda each: (-each.shown, each.id)))


def _worth_of(name: str, asked: Sequence[Trial]) -> EntryWorth:
    saw = [trial for trial in asked if name in _seen(trial)]
    speedups = [speedup for trial in saw if (speedup := _speedup(trial)) is not None]
    seen, unseen = _compared(name, asked)
    return EntryWorth(
        id=name,
        shown=len(saw),
        verdicts=dict(sorted(Counter(trial.evaluation.verdict for trial in saw).items())),
        median_speedup=statistics.median(speedups) if speedups else None,
        compared=len(seen),
        compared_with=len(unseen),
        ratio=_ratio(seen, unseen),
    )


def _compared(name: str, asked: Iterable[Trial]) -> tuple[list[float], list[float]]:
    """Speedups over the median of their peers, of trials that saw the entry and that did not, where there are both."""
    seen: list[float] = []
    unseen: list[float] = []
    for peers in _timed_peers(asked).values():
        having = [speedup for trial, speedup in peers if name in _seen(trial)]
        lacking = [speedup for trial, speedup in peers if name not in _seen(trial)]
        if having and lacking:
            middle = statistics.median([*having, *lacking])
            seen += [speedup / middle for speedup in having]
            unseen += [speedup / middle for speedup in lacking]
    return seen, unseen


def _timed_peers(asked: Iterable[Trial]) -> Mapping[Peers, list[tuple[Trial, float]]]:
    """Timed trials by what must be equal for their speedups to be comparable."""
    groups: dict[Peers, list[tuple[Trial, float]]] = defaultdict(list)
    for trial in asked:
        speedup = _speedup(trial)
        if speedup is not None:
            evaluation = trial.evaluation
            peers = (evaluation.task_digest, evaluation.environment.device_name, trial.written_by or "")
            groups[peers].append((trial, speedup))
    return groups


def _ratio(seen: Sequence[float], unseen: Sequence[float]) -> Interval | None:
    if min(len(seen), len(unseen)) < FEWEST:
        return None
    return bootstrap_strata(
        [seen, unseen], lambda groups: statistics.median(groups[0]) / statistics.median(groups[1]), _SEED
    )


def _counts(trial: Trial) -> bool:
    """A trial of the search that a model wrote and that was judged."""
    return trial.purpose is Purpose.SEARCH and trial.conversation is not None and trial.evaluation.verdict.is_final


def _seen(trial: Trial) -> tuple[str, ...]:
    return () if trial.conversation is None else trial.conversation.knowledge


def _speedup(trial: Trial) -> float | None:
    """None where it was not timed; a ratio of times that is not above 0 was never measured."""
    speedup = trial.evaluation.speedup
    return speedup.value if speedup is not None and speedup.value > 0 else None
