"""Progress on standard error: one spinner line on a terminal, plain lines elsewhere; `evaluate` and `suite`.

Standard output belongs to the result alone, so that `--json` can be piped.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from everforge.model.session import Progress
from everforge.search.events import Event, Noted, StageChanged, TrialFinished
from everforge.search.runner_port import OnProgress


@contextmanager
def progress_shown(console: Console) -> Iterator[OnProgress]:
    """A listener for a runner's progress that shows it while the block runs."""
    if not console.is_terminal:
        yield lambda progress: _print_line(console, progress_text(progress))
        return
    with console.status("starting") as status:
        yield lambda progress: status.update(escape(progress_text(progress)))


def progress_text(progress: Progress) -> str:
    """`stage: detail`."""
    return f"{progress.stage}: {progress.detail}" if progress.detail else progress.stage


@dataclass(frozen=True)
class SuiteNews:
    """Lines of a suite, and on a terminal a spinner with what its campaign is doing."""

    console: Console
    status: Status | None

    def say(self, line: str) -> None:
        """Print one line."""
        _print_line(self.console, line)

    def on_event(self, event: Event) -> None:
        """Show an event of the campaign at work; elsewhere than on a terminal its notes alone."""
        if isinstance(event, Noted):
            self.say(f"  {event.text}")
        text = event_text(event)
        if self.status is not None and text is not None:
            self.status.update(escape(text))


@contextmanager
def suite_news(console: Console) -> Iterator[SuiteNews]:
    """News of a suite while the block runs."""
    if not console.is_terminal:
        yield SuiteNews(console, None)
        return
    with console.status("starting") as status:
        yield SuiteNews(console, status)


def event_text(event: Event) -> str | None:
    """What a spinner says of an event; None leaves what it says."""
    if isinstance(event, StageChanged):
        return f"{event.stage}: {event.detail}" if event.detail else event.stage
    if isinstance(event, TrialFinished):
        return f"trial {event.trial.number}: {event.trial.evaluation.verdict}"
    return None


def _print_line(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
