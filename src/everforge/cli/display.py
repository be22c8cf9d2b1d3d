"""What a person sees while `everforge run` works: a live table on a terminal, plain lines elsewhere.

Both are listeners of `search.events`; neither decides anything.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from everforge.cli.wording import (
    FAILED_STYLE,
    VERDICT_STYLES,
    interval_text,
    origin_text,
    trial_line,
)
from everforge.clock import Clock, SystemClock
from everforge.model.budget import Spend
from everforge.model.campaign import CampaignSpec
from everforge.model.session import TaskFacts
from everforge.model.tally import DISHONOURABLE
from everforge.model.trial import Purpose, Trial
from everforge.model.verdict import Verdict
from everforge.search.events import (
    CampaignEnded,
    CampaignStarted,
    Event,
    Listener,
    Noted,
    StageChanged,
    TaskAccepted,
    TrialFinished,
)

SHOWN_TRIALS = 8
_BUDGET_BARS = (("trials", "trials"), ("seconds", "seconds"), ("device_seconds", "device seconds"), ("dollars", "$"))


@contextmanager
def campaign_shown(spec: CampaignSpec, console: Console, transient: bool = False) -> Iterator[Listener]:
    """A listener that shows one campaign while the block runs: live on a terminal, else in plain lines.

    The last frame stays on the screen unless it is transient.
    """
    if not console.is_terminal:
        yield PlainDisplay(spec, console)
        return
    display = LiveDisplay(spec, console)
    with Live(display, console=console, refresh_per_second=4, transient=transient):
        yield display


class PlainDisplay:
    """One line for each event, without escape sequences: logs, pipes, CI."""

    def __init__(self, spec: CampaignSpec, console: Console) -> None:
        self._console = console
        self._stage = ""
        self._say(f"campaign {spec.name} on {spec.device}: opening the task")

    def __call__(self, event: Event) -> None:
        for line in self._lines(event):
            self._say(line)

    def _lines(self, event: Event) -> Iterator[str]:
        if isinstance(event, CampaignStarted) and event.resumed_trials:
            yield resumed_line(event)
        elif isinstance(event, TaskAccepted):
            yield from facts_lines(event.facts)
        elif isinstance(event, TrialFinished):
            yield trial_line(event.trial, event.reused)
        elif isinstance(event, Noted):
            yield f"note: {event.text}"
        elif isinstance(event, StageChanged) and event.stage != self._stage:
            self._stage = event.stage
            if event.stage == "baseline":
                yield "measuring baselines"

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def resumed_line(event: CampaignStarted) -> str:
    """What an earlier sitting left, so that nobody waits for it to be measured again."""
    return f"resumed; trials recorded earlier, which are not run again: {event.resumed_trials}"


def facts_lines(facts: TaskFacts) -> Iterator[str]:
    """What the runner found when it opened the task."""
    environment = facts.environment
    yield f"device: {environment.device_name} ({environment.architecture}), {environment.cores} cores"
    yield from (f"note: {note}" for note in facts.notes)


class LiveDisplay:
    """The state of one campaign, drawn anew by rich four times a second."""

    def __init__(self, spec: CampaignSpec, console: Console, clock: Clock | None = None) -> None:
        self._spec = spec
        self._console = console
        self._clock = clock or SystemClock()
        self._spent = Spend()
        self._spent_at_s = self._clock.monotonic_s()
        self._trials: list[tuple[Trial, bool]] = []
        self._resumed = 0
        self._notes: list[str] = []
        self._device = str(spec.device)
        self._spinner = Spinner("dots", "opening the task")
        self._ended = False

    def __call__(self, event: Event) -> None:
        if isinstance(event, CampaignStarted):
            self._resumed = event.resumed_trials
            if event.resumed_trials:
                self._console.print(resumed_line(event), markup=False)
        elif isinstance(event, TaskAccepted):
            self._device = f"{event.facts.environment.device_name} ({self._spec.device})"
            self._notes.extend(note for note in event.facts.notes if note not in self._notes)
        elif isinstance(event, StageChanged):
            self._spinner.update(text=f"{event.stage}: {event.detail}" if event.detail else event.stage)
        elif isinstance(event, TrialFinished):
            self._add(event)
        elif isinstance(event, Noted):
            self._notes.append(event.text)
        elif isinstance(event, CampaignEnded):
            self._ended = True

    def __rich__(self) -> RenderableType:
        parts: list[RenderableType] = [self._budget(), self._table(), self._best_line(), *self._caught_lines()]
        if not self._ended:  # the frame stays on the screen; the results below it repeat the notes
            parts += [Text(f"note: {note}", style="dim") for note in self._notes[-3:]]
            parts.append(self._spinner)
        title = f"{self._spec.name} on {self._device}"
        # A frame as wide as the screen would be torn by the ^C that terminals echo behind its last line.
        width = self._console.width - 2 * len("^C")
        return Panel(Group(*parts), title=title, title_align="left", width=width)

    def _add(self, event: TrialFinished) -> None:
        self._spent, self._spent_at_s = event.spent, self._clock.monotonic_s()
        self._trials.append((event.trial, event.reused))

    def _budget(self) -> RenderableType:
        grid = Table.grid(padding=(0, 2))
        for name, unit in _BUDGET_BARS:
            limit = getattr(self._spec.budget, name)
            if limit is None:
                continue
            used = getattr(self._spent, name)
            if name == "seconds" and not self._ended:  # they pass between trials, too
                used = round(used + self._clock.monotonic_s() - self._spent_at_s)
            bar = ProgressBar(total=limit, completed=min(used, limit), width=30)
            grid.add_row(unit, bar, f"{used:.4g} of {limit:g}")
        return grid

    def _table(self) -> RenderableType:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for heading in ("trial", "verdict", "speedup", "strategy"):
            table.add_column(heading, header_style="dim")
        for trial, reused in self._trials[-SHOWN_TRIALS:]:
            verdict = trial.evaluation.verdict
            style = VERDICT_STYLES.get(verdict, FAILED_STYLE)
            table.add_row(
                str(trial.number),
                Text(f"{verdict} (known)" if reused else verdict.value, style),
                interval_text(trial.evaluation.speedup),
                Text(origin_text(trial), overflow="ellipsis", no_wrap=True),
            )
        if not self._trials:
            table.add_row("", Text(f"{self._resumed} recorded earlier" if self._resumed else "none yet", "dim"))
        return table

    def _best_line(self) -> RenderableType:
        trial = best_of([trial for trial, _ in self._trials])
        if trial is None:
            return Text("best so far: none faster than the baselines", style="dim")
        kind = "confirmed" if trial.purpose is Purpose.CHAMPION else "not re-measured yet"
        speedup = interval_text(trial.evaluation.speedup)
        return Text(f"best so far: {speedup}, trial {trial.number}, {kind}", style="bold")

    def _caught_lines(self) -> list[Text]:
        """How many candidates broke a rule or cheated; no line where none did."""
        counts = Counter(trial.evaluation.verdict for trial, reused in self._trials if not reused)
        told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in DISHONOURABLE if counts[verdict])
        return [Text(f"caught: {told}", style=FAILED_STYLE)] if told else []


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The fastest trial, a re-measurement taking its candidate's place: one that it refuted is no longer the best."""
    judged_again = [t for t in trials if t.purpose is Purpose.CHAMPION and t.evaluation.verdict.is_final]
    remeasured = {trial.candidate.digest for trial in judged_again}
    refuted = {trial.candidate.digest for trial in judged_again if trial.evaluation.verdict is not Verdict.FASTER}
    standing = [
        (trial.evaluation.speedup.value, trial)
        for trial in trials
        if trial.evaluation.verdict is Verdict.FASTER
        and trial.evaluation.speedup is not None
        and trial.candidate.digest not in refuted
        and (trial.purpose is Purpose.CHAMPION or trial.candidate.digest not in remeasured)
    ]
    return max(standing, key=lambda entry: entry[0], default=(0.0, None))[1]
