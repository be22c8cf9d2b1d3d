"""Progress of one trial on standard error, for `everforge evaluate`: a spinner, or plain lines elsewhere.

Standard output belongs to the result alone, so that `--json` can be piped.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

from everforge.model.session import Progress
from everforge.search.runner_port import OnProgress


@contextmanager
def progress_shown(console: Console) -> Iterator[OnProgress]:
    """A listener for a runner's progress that shows it while the block runs."""
    if not console.is_terminal:
        yield lambda progress: console.print(progress_text(progress), markup=False, soft_wrap=True)
        return
    with console.status("starting") as status:
        yield lambda progress: status.update(escape(progress_text(progress)))


def progress_text(progress: Progress) -> str:
    """`stage: detail`."""
    return f"{progress.stage}: {progress.detail}" if progress.detail else progress.stage
