"""What a task's row says, and what each row counts in the means."""

import csv
import io
import json

import pytest
from rich.console import Console

from everforge.cli.suite_report import failure_lines, note_lines, report_csv, report_markdown, suite_table
from everforge.cli.suite_rows import row_of_campaign, row_of_error, suite_report
from everforge.model.campaign import CampaignState, StopReason
from everforge.model.device import DeviceKind
from everforge.model.interval import Interval
from everforge.model.suite import SuiteReport, TaskRow, TaskStatus
from everforge.model.verdict import Verdict
from everforge.testing import samples

BASELINES_US = {"eager-fp32": 900.0, "compile-fp32": 600.0, "compile-bf16": 200.0}


def row(speedup: float | None, status: TaskStatus = TaskStatus.IMPROVED, fp32: float | None = None) -> TaskRow:
    interval = None if speedup is None else Interval(value=speedup, low=speedup, high=speedup)
    return TaskRow(task="1_A", status=status, speedup=interval, speedup_fp32=fp32, baselines_us=BASELINES_US)


def report(*rows: TaskRow) -> SuiteReport:
    return suite_report(DeviceKind.CPU, "EPYC", rows)


def test_a_champion_faster_than_its_interval_is_wide_improves_the_task() -> None:
    best = samples.champion(samples.trial(speedup=1.8))
    record = samples.campaign_record(state=CampaignState.SUCCEEDED, trials=(samples.trial(),), best=best)
    improved = row_of_campaign("1_A", record, "champions/a.py")
    assert improved.status is TaskStatus.IMPROVED
    assert (improved.champion, improved.speedup, improved.trials) == ("champions/a.py", best.speedup, 1)
    assert improved.baselines_us == {"eager-fp32": 900.0, "compile-fp32": 600.0}


@pytest.mark.parametrize("speedup", [0.9, 1.01])
def test_a_champion_whose_interval_reaches_below_one_does_not(speedup: float) -> None:
    best = samples.champion(samples.trial(verdict=Verdict.INCONCLUSIVE, speedup=speedup))
    record = samples.campaign_record(state=CampaignState.SUCCEEDED, best=best)
    assert row_of_campaign("1_A", record, None).status is TaskStatus.NOT_IMPROVED


def test_a_campaign_that_found_nothing_did_not_fail() -> None:
    kept = row_of_campaign("1_A", samples.campaign_record(state=CampaignState.SUCCEEDED), None)
    assert (kept.status, kept.error) == (TaskStatus.NOT_IMPROVED, None)


def test_a_campaign_the_machine_ended_failed_with_its_reason() -> None:
    record = samples.campaign_record(state=CampaignState.FAILED).model_copy(
        update={"stop_reason": StopReason.MACHINE, "detail": "the runner is gone"}
    )
    failed = row_of_campaign("1_A", record, None)
    assert (failed.status, failed.error) == (TaskStatus.FAILED, "the runner is gone")


def test_the_geometric_mean_counts_kept_baselines_as_one() -> None:
    means = report(
        row(4.0),
        row(None, TaskStatus.NOT_IMPROVED),
        row(0.5, TaskStatus.NOT_IMPROVED),
        row(None, TaskStatus.FAILED),
    )
    assert means.geomean is not None
    assert means.geomean.value == pytest.approx(4.0**0.25)
    assert means.win_rate == 0.25


def test_the_fp32_mean_counts_what_lower_precision_baselines_give_anyway() -> None:
    means = report(row(4.0, fp32=12.0), row(None, TaskStatus.NOT_IMPROVED))
    assert means.geomean_fp32 is not None
    assert means.geomean_fp32.value == pytest.approx((12.0 * 3.0) ** 0.5)


def test_a_refused_task_counts_nowhere() -> None:
    refused = row_of_error("2_B", TaskStatus.REFUSED, "no class Model")
    assert report(row(4.0), refused).geomean == report(row(4.0)).geomean
    assert report(row(4.0), refused).win_rate == 1.0


def test_a_suite_without_results_has_no_means() -> None:
    means = report(row_of_error("1_A", TaskStatus.REFUSED, "broken"))
    assert (means.geomean, means.geomean_fp32, means.win_rate) == (None, None, None)
    assert report().tasks == ()


def test_the_same_rows_give_the_same_report() -> None:
    rows = [row(speedup) for speedup in (1.1, 2.0, 7.5)]
    assert report(*rows) == report(*rows)


def test_report_json_has_the_keys_other_tools_rely_on() -> None:
    written = json.loads(report(row(4.0, fp32=12.0)).model_dump_json())
    assert {"device", "tasks", "geomean", "geomean_fp32", "win_rate"} <= set(written)
    needed = "task status champion speedup speedup_fp32 sol_fraction baselines_us trials device_seconds error"
    assert set(needed.split()) <= set(written["tasks"][0])
    assert {"value", "low", "high"} <= set(written["geomean"])


def test_csv_leaves_empty_what_was_not_measured() -> None:
    text = report_csv(report(row(4.0), row_of_error("2_B", TaskStatus.REFUSED, "a, b")))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert (rows[0]["speedup"], rows[0]["compile-bf16_us"], rows[0]["sol_fraction"]) == ("4.0", "200.0", "")
    assert (rows[1]["speedup"], rows[1]["compile-bf16_us"], rows[1]["error"]) == ("", "", "a, b")


def test_markdown_and_table_name_failures_and_means() -> None:
    finished = report(row(4.0, fp32=12.0), row_of_error("2_B", TaskStatus.FAILED, "device | lost\nfor good"))
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(suite_table(finished))
    page = report_markdown(finished)
    assert "device \\| lost for good" in page
    assert "geometric mean over the fastest allowed baseline: 2.00x" in page
    table = console.export_text()
    for part in ("1_A", "improved", "4.00x [4.00, 4.00]", "12.00x over fp32", "compile-bf16 200.0 us", "2_B", "failed"):
        assert part in table
    assert failure_lines(finished) == ["2_B: failed: device | lost"]


def test_notes_on_a_task_are_in_every_report() -> None:
    told = suite_report(
        DeviceKind.CPU, "a processor", [TaskRow(task="1_A", status=TaskStatus.IMPROVED, notes=("collapses",))]
    )
    assert note_lines(told) == ["1_A: note: collapses"]
    assert "- 1_A: note: collapses" in report_markdown(told)
