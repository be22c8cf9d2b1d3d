"""MAP-Elites on islands: the best candidate of each way to go about the work is kept, and each may be built on.

An archive has a cell for each behaviour (`search/behaviour.py`) and in it the fastest candidate that behaves so
(Mouret and Clune 2015). Islands search apart from each other, and now and then the champion of each becomes known to
its neighbour. So a way that is slow at first is not lost to one that was fast at first. What is kept follows from the
trials: their sources give the cells, their lineage the islands.
"""

import random
from collections.abc import Iterator, Sequence

from everforge.model.lineage import Aim
from everforge.model.search_settings import PolicyKind
from everforge.model.trial import Trial
from everforge.search.behaviour import Behaviour, behaviour_of
from everforge.search.policies.base import Plan, draws, next_number
from everforge.search.policies.standing import best_of, due_for_repair, fit, speed_of, written

# A campaign has some 40 trials, not thousands: more islands than this would each be starved.
ISLANDS = 2
# The first candidates are of no island, and every island starts from them: with a population each from the beginning
# both would find the same first gains.
FOUNDERS = 12
# Each island gets half of these before it hears of its neighbour's champion.
MIGRATION_EVERY = 12
# How often the island's best is built on, instead of any cell's.
EXPLOIT = 0.7
# How often a candidate for a cell nobody has taken is asked for.
EXPLORE = 0.3
INSPIRATIONS = 2

Archive = dict[Behaviour, Trial]


class MapElitesPolicy:
    """Implements `base.Policy`."""

    def __init__(
        self, islands: int = ISLANDS, founders: int = FOUNDERS, migration_every: int = MIGRATION_EVERY
    ) -> None:
        self.islands = islands
        self.founders = founders
        self.migration_every = migration_every

    @property
    def kind(self) -> PolicyKind:
        """Its name in the manifest."""
        return PolicyKind.MAP_ELITES

    def ask(self, seen: Sequence[Trial], in_flight: Sequence[Plan], seed: int, /) -> Plan:
        """Mend the island's last candidate, or build on one of its elites."""
        number = next_number(seen, in_flight)
        island = number % self.islands if number >= self.founders else None
        own = [trial for trial in written(seen) if _island_of(trial) == island]
        failed = due_for_repair(own)
        if failed is not None and failed.trial_id not in {plan.parent for plan in in_flight}:
            reason = f"trial {failed.number} failed and can be mended{_place(island)}"
            return Plan(
                policy=self.kind, aim=Aim.REPAIR, number=number, reason=reason, parent=failed.trial_id, island=island
            )
        archive = archive_of(self._known(seen, island))
        if not archive:
            return Plan(policy=self.kind, aim=Aim.WRITE, number=number, reason="nothing works yet", island=island)
        return self._build_on(archive, archive_of(fit(seen)), number, island, draws(seed, number))

    def _build_on(
        self, archive: Archive, everywhere: Archive, number: int, island: int | None, rng: random.Random
    ) -> Plan:
        parent, why = _parent(archive, rng)
        cell = behaviour_of(parent.candidate.source)
        direction = _empty_cell(cell, everywhere, rng) if rng.random() < EXPLORE else None
        others = [trial for behaviour, trial in archive.items() if behaviour != cell and trial is not parent]
        others.sort(key=speed_of, reverse=True)
        return Plan(
            policy=self.kind,
            aim=Aim.OPTIMISE,
            number=number,
            reason=f"trial {parent.number} is {why}{_place(island)}",
            parent=parent.trial_id,
            inspirations=tuple(trial.trial_id for trial in others[:INSPIRATIONS]),
            idea=None if direction is None else f"go about it in a way not tried yet: {direction}",
            island=island,
        )

    def _known(self, seen: Sequence[Trial], island: int | None) -> Iterator[Trial]:
        """What an island may build on: its own, what belongs to none, and the champions that came over."""
        usable = fit(seen)
        yield from (trial for trial in usable if _island_of(trial) in (None, island))
        if island is not None and self.islands > 1:
            neighbour = [trial for trial in usable if _island_of(trial) == (island - 1) % self.islands]
            yield from self._migrants(neighbour, seen)

    def _migrants(self, neighbour: Sequence[Trial], seen: Sequence[Trial]) -> Iterator[Trial]:
        """The neighbour's champion at each migration so far."""
        answered = [trial for trial in seen if _island_of(trial) is not None]
        for count in range(self.migration_every, len(answered) + 1, self.migration_every):
            last = answered[count - 1].number
            champion = best_of(trial for trial in neighbour if trial.number <= last)
            if champion is not None:
                yield champion


def archive_of(trials: Iterator[Trial] | Sequence[Trial]) -> Archive:
    """The fastest trial of each behaviour; of equals the first."""
    archive: Archive = {}
    for trial in trials:
        cell = behaviour_of(trial.candidate.source)
        if cell not in archive or speed_of(trial) > speed_of(archive[cell]):
            archive[cell] = trial
    return archive


def _island_of(trial: Trial) -> int | None:
    lineage = trial.candidate.lineage
    return None if lineage is None else lineage.island


def _place(island: int | None) -> str:
    return "" if island is None else f" of island {island}"


def _parent(archive: Archive, rng: random.Random) -> tuple[Trial, str]:
    elites = sorted(archive.values(), key=lambda trial: trial.number)
    best = best_of(elites)
    if best is not None and (len(elites) == 1 or rng.random() < EXPLOIT):
        return best, "the best"
    return rng.choice(elites), "an elite"


def _empty_cell(cell: Behaviour, taken: Archive, rng: random.Random) -> Behaviour | None:
    """A behaviour one step from a cell that no candidate has yet."""
    free = [step for step in _steps_from(cell) if step not in taken]
    return rng.choice(free) if free else None


def _steps_from(cell: Behaviour) -> Iterator[Behaviour]:
    """Every behaviour that differs in one dimension; precision is the task's policy to lower, not the search's."""
    for name in ("memory", "decomposition", "fusion"):
        now = getattr(cell, name)
        for value in type(now):
            if value is not now and value.name != "NONE":
                yield cell.model_copy(update={name: value})
