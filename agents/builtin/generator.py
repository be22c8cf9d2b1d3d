"""The generator that needs no LLM; the campaign loop asks it for the next candidate.

It keeps nothing: the plan follows from the traced graph, and what to try next from the trials on record.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from everforge.agents.builtin.abilities import abilities_of
from everforge.agents.builtin.algebra import Rewritten, rewritten
from everforge.agents.builtin.plan import Plan
from everforge.agents.builtin.planner import Unplannable, plan_graph
from everforge.agents.builtin.shape_bound import bound_of
from everforge.agents.builtin.strategies import Strategy, strategies_for
from everforge.agents.builtin.tuning import Parameters, Tried, next_parameters
from everforge.agents.builtin.variants import mismatch
from everforge.model.candidate import Candidate, GeneratorKind
from everforge.model.graph import TaskGraph
from everforge.model.trial import Purpose, Trial
from everforge.search.disclosure import refutations
from everforge.search.generator import Proposal, SearchContext

TUNING_TRIALS = 24
_HOPELESS_AFTER = 2  # a strategy none of whose first candidates was correct is given up


class BuiltinGenerator:
    """Implements `search/generator.py`'s Generator with fused kernels from templates, tuned by Optuna."""

    def __init__(self, seed: int = 0, tuning_trials: int = TUNING_TRIALS) -> None:
        self.seed = seed
        self.tuning_trials = tuning_trials

    @property
    def kind(self) -> GeneratorKind:
        """Who this is, for the record."""
        return GeneratorKind.BUILTIN

    def propose(self, context: SearchContext) -> Proposal | None:
        """The next kernel to try; None when the plan has none, or its share of trials or its space is used up."""
        own = _own_trials(context.trials)
        if len(own) >= self.tuning_trials:
            return None
        tried_digests = {trial.candidate.digest for trial in context.trials}
        for strategy in _ordered(_strategies(context), own):
            candidate = self._next_of(strategy, own, tried_digests)
            if candidate is not None:
                return Proposal(candidate=candidate, note="; ".join(strategy.steps))
        return None

    def _next_of(self, strategy: Strategy, own: list[Trial], tried_digests: set[str]) -> Candidate | None:
        """The strategy's next candidate whose source is new; parameters that change nothing are passed over."""
        tried = _tried(strategy, own)
        while (parameters := next_parameters(strategy.space, tried, self.seed, strategy.starts)) is not None:
            candidate = _candidate(strategy, parameters)
            if candidate.digest not in tried_digests:
                return candidate
            tried.append(Tried(parameters, None))
        return None


def _own_trials(trials: tuple[Trial, ...]) -> list[Trial]:
    """Its trials of the search; a candidate that a re-measurement refuted counts as what that found."""
    later = {trial.candidate.digest: trial.evaluation for trial in refutations(trials)}
    return [
        trial.model_copy(update={"evaluation": later.get(trial.candidate.digest, trial.evaluation)})
        for trial in trials
        if trial.candidate.generator is GeneratorKind.BUILTIN and trial.purpose is Purpose.SEARCH
    ]


def _strategies(context: SearchContext) -> list[Strategy]:
    """Every strategy: those of the task as it is written, then those after algebra."""
    graphs = [v.graph for v in context.shown_variants() if isinstance(v.graph, TaskGraph)]
    changed = [rewritten(graph) for graph in graphs]
    found = list[Strategy]()
    for shown, rewrites in ((graphs, ()), *_families(changed)):
        planned = _planned(context, shown, rewrites)
        if planned is not None:
            plan, graph = planned
            found += strategies_for(plan, graph, context.spec.device, context.spec.task.precision)
    return found


def _families(changed: Sequence[Rewritten | None]) -> list[tuple[list[TaskGraph], tuple[str, ...]]]:
    """The rewritten graphs of all shown variants, where algebra does the same to each of them."""
    alike = {each.rewrites if each is not None else () for each in changed}
    graphs = [each.graph for each in changed if each is not None]
    return [(graphs, names) for names in alike if names and len(alike) == 1]


def _planned(
    context: SearchContext, graphs: Sequence[TaskGraph], rewrites: tuple[str, ...]
) -> tuple[Plan, TaskGraph] | None:
    """The plan that most of these graphs share, and the graph it was made from."""
    best: tuple[int, Plan, TaskGraph] | None = None
    for graph in graphs:
        try:
            plan = plan_graph(graph, abilities_of(context.spec.device), rewrites)
        except Unplannable:
            continue
        misfits = sum(mismatch(plan, other) is not None for other in graphs)
        if best is None or misfits < best[0]:
            best = (misfits, plan, graph)
    if best is None:
        return None
    _, plan, graph = best
    return replace(plan, bound=bound_of(plan, graph, graphs, context.spec.task.source)), graph


def _candidate(strategy: Strategy, parameters: Parameters) -> Candidate:
    return Candidate(
        source=strategy.emit(parameters),
        language=strategy.language,
        generator=GeneratorKind.BUILTIN,
        strategy=strategy.name,
        parameters=parameters,
        rewrites=strategy.rewrites,
    )


def _tried(strategy: Strategy, own: Iterable[Trial]) -> list[Tried]:
    """What this strategy's recorded trials say; a broken machine says nothing about a kernel."""
    return [
        Tried(dict(trial.candidate.parameters), _value(trial))
        for trial in own
        if trial.candidate.strategy == strategy.name
    ]


def _value(trial: Trial) -> float | None:
    """Logarithm of the speedup of a correct kernel."""
    speedup = trial.evaluation.speedup
    return math.log(speedup.value) if speedup is not None and speedup.value > 0 else None


def _ordered(strategies: Iterable[Strategy], own: list[Trial]) -> list[Strategy]:
    """Untried strategies first, then by the best speedup so far; those that never gave a correct kernel drop out.

    Fallbacks come after all others: their turn is when those have dropped out or used up their spaces. Half of the
    trials are of the task as it is written: a table without algebraic shortcuts needs its best, too.
    """
    as_written = sum(not trial.candidate.rewrites for trial in own)
    ranked: list[tuple[bool, bool, float, Strategy]] = []
    for strategy in strategies:
        tried = _tried(strategy, own)
        values = [attempt.value for attempt in tried if attempt.value is not None]
        if len(tried) >= _HOPELESS_AFTER and not values:
            continue
        waits = bool(strategy.rewrites) and 2 * as_written <= len(own)
        ranked.append((strategy.is_fallback, waits, -(max(values) if values else math.inf), strategy))
    return [strategy for *_, strategy in sorted(ranked, key=lambda entry: entry[:3])]
