"""The trials of a campaign as a tree: each below the one it was derived from, with strategy, verdict and reason.

Pure; `trials.py` prints it. Parents come from the candidates, strategies and reasons from their lineage.
"""

from collections.abc import Iterable

from rich.text import Text
from rich.tree import Tree

from everforge.agents.llm.quote import inline
from everforge.cli.wording import FAILED_STYLE, VERDICT_STYLES, interval_text
from everforge.model.base import Record
from everforge.model.campaign import CampaignRecord
from everforge.model.lineage import Lineage
from everforge.model.trial import Purpose, Trial
from everforge.model.verdict import Verdict
from everforge.search.history import History
from everforge.store.kept_campaigns import KeptCampaign

# A strategy is what a model wrote, a reason may quote what a candidate printed.
_STRATEGY_CHARS = 60
_REASON_CHARS = 100


class TrialRow(Record):
    """One trial as `everforge trials --json` prints it."""

    number: int
    trial_id: str
    parent: str | None
    purpose: Purpose
    verdict: Verdict
    reason: str
    speedup: float | None
    sol_fraction: float | None
    generator: str
    strategy: str
    asked_because: str | None
    lineage: Lineage | None
    device_seconds: float
    tokens: int
    dollars: float


class CampaignTrials(Record):
    """One campaign as `everforge trials --json` prints it."""

    record: CampaignRecord
    trials: tuple[TrialRow, ...]


def campaign_trials(kept: KeptCampaign) -> CampaignTrials:
    """The campaign for other programs; parents of re-measurements are the trials they repeat."""
    parents = parents_of(kept.trials)
    rows = (_row(trial, parents[trial.trial_id]) for trial in kept.trials)
    return CampaignTrials(record=kept.record, trials=tuple(rows))


def trial_tree(kept: KeptCampaign) -> Tree:
    """The campaign for people."""
    record = kept.record
    ended = f", {record.stop_reason}" if record.stop_reason else ""
    head = Text.assemble(
        (f"{record.name} on {record.device}", "bold"), f": {record.trials} trials, {record.state}{ended}"
    )
    root = Tree(head, guide_style="dim")
    parents = parents_of(kept.trials)
    branches: dict[str, Tree] = {}
    best = record.champion.trial_id if record.champion is not None else None
    for trial in kept.trials:
        above = branches.get(parents[trial.trial_id] or "", root)
        branches[trial.trial_id] = above.add(_label(trial, trial.trial_id == best))
    return root


def parents_of(trials: Iterable[Trial]) -> dict[str, str | None]:
    """Each trial to the one it hangs below: what it was derived from, or for a re-measurement what it repeats."""
    recorded = tuple(trials)
    first = History(recorded).judged
    known: set[str] = set()
    parents: dict[str, str | None] = {}
    for trial in recorded:
        repeated = first.get(trial.candidate.digest) if trial.purpose is Purpose.CHAMPION else None
        above = repeated.trial_id if repeated is not None else trial.candidate.parent
        parents[trial.trial_id] = above if above in known else None
        known.add(trial.trial_id)
    return parents


def _label(trial: Trial, is_champion: bool) -> Text:
    evaluation = trial.evaluation
    style = VERDICT_STYLES.get(evaluation.verdict, FAILED_STYLE)
    figure = interval_text(evaluation.speedup) if evaluation.speedup else inline(evaluation.reason, _REASON_CHARS)
    label = Text.assemble((f"{trial.number} ", "bold"), (evaluation.verdict.value, style), f"  {figure}  ")
    label.append("re-measured" if trial.purpose is Purpose.CHAMPION else _origin(trial))
    if is_champion:
        label.append("  champion", "bold green")
    if (why := _why(trial.candidate.lineage)) and trial.purpose is Purpose.SEARCH:
        label.append(f"\n{why}", "dim")
    return label


def _origin(trial: Trial) -> str:
    candidate = trial.candidate
    strategy = inline(candidate.strategy, _STRATEGY_CHARS)
    return f"{candidate.generator}: {strategy}" if strategy else candidate.generator.value


def _why(lineage: Lineage | None) -> str:
    """What was asked and why: `optimise [4.0/9.1] "split the reduction", because idea 4.0/9.1 has no working code`."""
    if lineage is None:
        return ""
    place = f" [{lineage.strategy}]" if lineage.strategy else ""
    idea = f' "{inline(lineage.idea, _STRATEGY_CHARS)}"' if lineage.idea else ""
    return f"{lineage.aim}{place}{idea}, because {inline(lineage.reason, _REASON_CHARS)}"


def _row(trial: Trial, parent: str | None) -> TrialRow:
    judged, candidate = trial.evaluation, trial.candidate
    return TrialRow(
        number=trial.number,
        trial_id=trial.trial_id,
        parent=parent,
        purpose=trial.purpose,
        verdict=judged.verdict,
        reason=judged.reason,
        speedup=judged.speedup.value if judged.speedup is not None else None,
        sol_fraction=judged.sol_fraction,
        generator=candidate.generator,
        strategy=candidate.strategy,
        asked_because=candidate.lineage.reason if candidate.lineage is not None else None,
        lineage=candidate.lineage,
        device_seconds=trial.spend.device_seconds,
        tokens=trial.spend.tokens,
        dollars=trial.spend.dollars,
    )
