"""The suite's resume file: which tasks are done and what became of them; `everforge suite` keeps it.

A task is done when its row is final and it was asked for exactly as it is now: another task text, device,
policy, budget or model makes it due again (its campaign then resumes from the store and repeats no trial that
has a verdict). A task whose machine failed is due again too.
"""

from pathlib import Path

from pydantic import Field, ValidationError

from everforge.cli.atomic_file import write_atomically
from everforge.errors import UsageError
from everforge.model.base import Record
from everforge.model.suite import TaskRow, TaskStatus

FILE_NAME = "resume.json"


class FinishedTask(Record):
    """A row, and the digest of the campaign's spec it answers."""

    asked: str
    row: TaskRow


class SuiteProgress(Record):
    """What a suite has behind it, by task key."""

    schema_version: int = 1
    device_name: str | None = None
    finished: dict[str, FinishedTask] = Field(default_factory=dict)

    def row_of(self, key: str, asked: str) -> TaskRow | None:
        """The row of a task that need not run again."""
        done = self.finished.get(key)
        if done is None or done.asked != asked or done.row.status is TaskStatus.FAILED:
            return None
        return done.row

    def with_row(self, asked: str, row: TaskRow, device_name: str | None) -> "SuiteProgress":
        """The progress once this row is known."""
        finished = self.finished | {row.task: FinishedTask(asked=asked, row=row)}
        return self.model_copy(update={"finished": finished, "device_name": device_name or self.device_name})


def load_progress(out: Path) -> SuiteProgress:
    """The progress kept in `out`; an empty one where there is none.

    Raises UsageError for a file that holds something else.
    """
    path = out / FILE_NAME
    try:
        return SuiteProgress.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return SuiteProgress()
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise UsageError(
            f"{path}: not a resume file of this version of everforge ({type(error).__name__}); "
            "choose another --out, or delete it to start the suite over"
        ) from None


def save_progress(progress: SuiteProgress, out: Path) -> None:
    """Keep the progress in `out`."""
    write_atomically(out / FILE_NAME, progress.model_dump_json(indent=2) + "\n")
