"""A suite at work: one campaign after the other on one runner, each row kept the moment it is known.

`everforge suite` gives it the plan and the ports. A task that cannot be one is refused, a task whose machine
breaks has failed; both have a row with the reason, and the suite goes on with the next.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from everforge.cli.suite_plan import PlannedTask
from everforge.cli.suite_progress import SuiteProgress, load_progress, save_progress
from everforge.cli.suite_report import write_reports
from everforge.cli.suite_rows import row_of_campaign, row_of_error, suite_report
from everforge.cli.task_file import at_path
from everforge.cli.wording import interval_text
from everforge.errors import DeviceFault, HarnessFault, MachineFault, TaskError, UsageError
from everforge.model.base import Record
from everforge.model.budget import Budget
from everforge.model.campaign import CampaignRecord, CampaignSpec, CampaignState, ModelSettings
from everforge.model.candidate import GeneratorKind
from everforge.model.device import DeviceKind
from everforge.model.precision import Precision
from everforge.model.suite import SuiteReport, TaskRow, TaskStatus
from everforge.model.task import Mode
from everforge.search.events import Event, Listener, TaskAccepted
from everforge.search.lifecycle import spec_digest
from everforge.store.directory_lock import DirectoryLock, hold

# Three tasks in a row with a broken machine: it is the machine, and each further task costs a runner's start.
MACHINE_FAILURES = 3


class SuiteRequest(Record):
    """What every campaign of a suite is asked for."""

    device: DeviceKind
    budget: Budget
    precision: Precision = Precision.FP32
    mode: Mode = Mode.EVAL
    generators: tuple[GeneratorKind, ...] = (GeneratorKind.BUILTIN,)
    model: ModelSettings | None = None

    def campaign(self, task: PlannedTask) -> CampaignSpec:
        """The campaign of one task. Raises TaskError for a file that cannot be a task."""
        return CampaignSpec(
            name=task.name,
            task=task.spec(self.precision, self.mode),
            device=self.device,
            budget=self.budget,
            generators=self.generators,
            model=self.model,
        )


@dataclass(frozen=True)
class SuitePorts:
    """What a suite reaches the world through.

    `run_campaign` is one sitting of a campaign; `discard_runner` gives up a runner that broke, so that the
    next task gets a new one; `say` takes one line of news.
    """

    run_campaign: Callable[[CampaignSpec, Listener], CampaignRecord]
    discard_runner: Callable[[], None]
    say: Callable[[str], None]


class SuiteRun:
    """One sitting of a suite; `out` holds its resume file, its reports and its champions, for it alone."""

    def __init__(self, request: SuiteRequest, ports: SuitePorts, out: Path) -> None:
        self._request = request
        self._ports = ports
        self._out = out
        self._progress = SuiteProgress()
        self._device_name: str | None = None
        self._rows: dict[str, TaskRow] = {}
        self._fault: type[MachineFault] = HarnessFault

    def run(self, tasks: Sequence[PlannedTask]) -> SuiteReport:
        """Run every task that is not done yet and write the reports.

        Raises KeyboardInterrupt when a stop was asked for and MachineFault when the machine keeps failing; the
        reports then hold what was finished. Raises UsageError for an `out` that cannot be used, reports untouched.
        """
        self._lock = _locked(self._out)
        self._progress = load_progress(self._out)
        try:
            self._run_all(tasks)
        except (KeyboardInterrupt, MachineFault):
            self._report(tasks)
            raise
        return self._report(tasks)

    def _run_all(self, tasks: Sequence[PlannedTask]) -> None:
        failed_in_a_row = 0
        for number, task in enumerate(tasks, 1):
            row = self._row(task, f"[{number}/{len(tasks)}] {task.key}")
            self._rows[task.key] = row
            self._ports.say(f"[{number}/{len(tasks)}] {task.key}: {row_text(row)}")
            if row.status is not TaskStatus.REFUSED:  # what is wrong with a file says nothing of the machine
                failed_in_a_row = failed_in_a_row + 1 if row.status is TaskStatus.FAILED else 0
            if failed_in_a_row == MACHINE_FAILURES:
                raise self._fault(
                    f"the machine failed {MACHINE_FAILURES} tasks in a row, the last with: {row.error}; "
                    "mend it and give the same command again to go on"
                )

    def _report(self, tasks: Sequence[PlannedTask]) -> SuiteReport:
        rows = [row for task in tasks if (row := self._rows.get(task.key) or self._kept_row(task)) is not None]
        report = suite_report(self._request.device, self._progress.device_name, rows)
        write_reports(report, self._out)
        return report

    def _kept_row(self, task: PlannedTask) -> TaskRow | None:
        """The row an earlier sitting finished, if the task was not reached in this one."""
        try:
            return self._progress.row_of(task.key, spec_digest(self._request.campaign(task)))
        except TaskError:
            return None

    def _row(self, task: PlannedTask, heading: str) -> TaskRow:
        try:
            spec = self._request.campaign(task)
        except TaskError as error:
            return row_of_error(task.key, TaskStatus.REFUSED, str(error))
        asked = spec_digest(spec)
        done = self._progress.row_of(task.key, asked)
        if done is not None:
            return done
        self._ports.say(f"{heading}: started")
        row = self._campaign_row(task, spec)
        self._progress = self._progress.with_row(asked, row, self._device_name)
        save_progress(self._progress, self._out)
        return row

    def _campaign_row(self, task: PlannedTask, spec: CampaignSpec) -> TaskRow:
        try:
            record = self._ports.run_campaign(spec, self._on_event)
        except TaskError as error:
            return row_of_error(task.key, TaskStatus.REFUSED, at_path(str(error), spec.task, task.path))
        except MachineFault as fault:
            self._ports.discard_runner()
            self._fault = DeviceFault if isinstance(fault, DeviceFault) else HarnessFault
            return row_of_error(task.key, TaskStatus.FAILED, str(fault))
        if record.state is CampaignState.INTERRUPTED:
            raise KeyboardInterrupt
        return row_of_campaign(task.key, record, self._champion_path(record))

    def _on_event(self, event: Event) -> None:
        if isinstance(event, TaskAccepted):
            self._device_name = event.facts.environment.device_name

    def _champion_path(self, record: CampaignRecord) -> str | None:
        if record.champion is None or record.champion.source_path is None:
            return None
        return Path(record.champion.source_path).resolve().relative_to(self._out.resolve()).as_posix()


def row_text(row: TaskRow) -> str:
    """A row as one line of news."""
    if row.error:
        return f"{row.status.value}: {row.error.splitlines()[0]}"
    if row.speedup is None:
        return f"no faster kernel in {row.trials} trials"
    return f"{interval_text(row.speedup)} in {row.trials} trials"


def _locked(out: Path) -> DirectoryLock:
    """Hold `out` for this process. Raises UsageError if it cannot be made or another suite is at work in it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        return hold(out)
    except OSError as error:
        raise UsageError(f"{out}: cannot be written: {error.strerror}; choose another --out") from None
