"""What a suite leaves: report.json, report.csv, report.md, and the table `everforge suite` prints.

report.json is SuiteReport and a contract; the other two and the table are the same rows for people.
"""

import csv
import io
from collections import Counter
from pathlib import Path

from rich.box import SIMPLE
from rich.table import Table

from everforge.cli.atomic_file import write_atomically
from everforge.cli.tally_table import tally_line
from everforge.cli.wording import interval_text, ratio_text, time_text
from everforge.model.interval import Interval
from everforge.model.suite import SuiteReport, TaskRow, TaskStatus
from everforge.model.tally import is_worth_telling, merged

_STATUS_STYLES = {
    TaskStatus.IMPROVED: "green",
    TaskStatus.NOT_IMPROVED: "yellow",
    TaskStatus.REFUSED: "dim",
    TaskStatus.FAILED: "red",
}
_CSV_COLUMNS = (
    "task", "status", "speedup", "speedup_low", "speedup_high", "speedup_fp32", "sol_fraction", "algebraic",
    "trials", "device_seconds", "champion", "error",
)  # fmt: skip


def write_reports(report: SuiteReport, out: Path) -> None:
    """Write report.json, report.csv and report.md into `out`, each whole or not at all."""
    write_atomically(out / "report.json", report.model_dump_json(indent=2) + "\n")
    write_atomically(out / "report.csv", report_csv(report))
    write_atomically(out / "report.md", report_markdown(report))


def baseline_names(report: SuiteReport) -> list[str]:
    """Every baseline any task has, in the order met."""
    return list(dict.fromkeys(name for row in report.tasks for name in row.baselines_us))


def report_csv(report: SuiteReport) -> str:
    """One line per task, one `<baseline>_us` column per baseline; empty where nothing was measured."""
    baselines = baseline_names(report)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_CSV_COLUMNS, *(f"{name}_us" for name in baselines)])
    for row in report.tasks:
        writer.writerow([*_csv_cells(row), *(row.baselines_us.get(name) for name in baselines)])
    return text.getvalue()


def _csv_cells(row: TaskRow) -> list[object]:
    low, value, high = (row.speedup.low, row.speedup.value, row.speedup.high) if row.speedup else (None,) * 3
    return [
        row.task, row.status.value, value, low, high, row.speedup_fp32, row.sol_fraction, row.algebraic,
        row.trials, row.device_seconds, row.champion, row.error,
    ]  # fmt: skip


def report_markdown(report: SuiteReport) -> str:
    """The report as a page: summary, then the table."""
    headings = ["task", "status", "speedup", "vs fp32", "speed of light", "trials", "note"]
    lines = [f"# Suite on {report.device_name or report.device}", ""]
    lines += [f"- {line}" for line in summary_lines(report)]
    lines += ["", f"| {' | '.join(headings)} |", f"|{'---|' * len(headings)}"]
    lines += [f"| {' | '.join(_escaped(cell) for cell in _cells(row))} |" for row in report.tasks]
    lines += ["", *(f"- {_escaped(line)}" for line in note_lines(report))] if note_lines(report) else []
    return "\n".join(lines) + "\n"


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")


def suite_table(report: SuiteReport) -> Table:
    """The table a terminal shows: per task status, speedups and every baseline; 80 columns are enough for it."""
    table = Table(header_style="bold", box=SIMPLE, title=f"suite on {report.device_name or report.device}")
    table.add_column("task", overflow="fold", max_width=26)
    table.add_column("status", no_wrap=True)
    table.add_column("speedup", no_wrap=True, justify="right")
    table.add_column("baselines", no_wrap=True, justify="right")
    for row in report.tasks:
        status = f"{row.status.value.replace('_', ' ')}\n{row.trials} trials"
        baselines = "\n".join(f"{name} {time_text(time_us)}" for name, time_us in row.baselines_us.items())
        table.add_row(row.task, status, _speedup_cell(row), baselines or "-", style=_STATUS_STYLES[row.status])
    return table


def _speedup_cell(row: TaskRow) -> str:
    if row.speedup is None:
        return "-"
    lines = [interval_text(row.speedup), f"{ratio_text(row.speedup_fp32)} over fp32"]
    if row.sol_fraction is not None:
        lines.append(f"{row.sol_fraction:.0%} of light speed")
    return "\n".join([*lines, "algebraic shortcut"] if row.algebraic else lines)


def note_lines(report: SuiteReport) -> list[str]:
    """What a person should know of the tasks, a line each."""
    return [f"{row.task}: note: {note}" for row in report.tasks for note in row.notes]


def failure_lines(report: SuiteReport) -> list[str]:
    """One line for each task that was refused or failed, with the reason."""
    return [f"{row.task}: {row.status.value}: {row.error.splitlines()[0]}" for row in report.tasks if row.error]


def _cells(row: TaskRow) -> list[str]:
    return [
        row.task,
        row.status.value.replace("_", " "),
        interval_text(row.speedup),
        ratio_text(row.speedup_fp32),
        "-" if row.sol_fraction is None else f"{row.sol_fraction:.0%}",
        str(row.trials),
        row.error or ("algebraic shortcut" if row.algebraic else ""),
    ]


def summary_lines(report: SuiteReport) -> list[str]:
    """How many of what, the means and the win rate, and who wrote what where that differs."""
    counts = Counter(row.status.value.replace("_", " ") for row in report.tasks)
    tally = ", ".join(f"{count} {status}" for status, count in counts.items())
    lines = [f"{len(report.tasks)} tasks: {tally}" if tally else "no task finished"]
    if report.geomean and report.geomean_fp32 and report.win_rate is not None:
        lines.append(f"geometric mean over the fastest allowed baseline: {_mean_text(report.geomean)}")
        lines.append(f"geometric mean over the fastest fp32 baseline: {_mean_text(report.geomean_fp32)}")
        lines.append(f"win rate: {report.win_rate:.0%} of tasks are faster with their whole interval above 1")
    return [*lines, *author_lines(report)]


def author_lines(report: SuiteReport) -> list[str]:
    """Verdicts and costs of each generator and model over all tasks; none where the totals say as much."""
    tallies = merged([tally for row in report.tasks for tally in row.by_generator])
    return [f"candidates by {tally_line(tally)}" for tally in tallies] if is_worth_telling(tallies) else []


def _mean_text(mean: Interval) -> str:
    return f"{interval_text(mean)}, {mean.confidence:.0%} bootstrap over tasks"
