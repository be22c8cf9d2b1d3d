"""Who wrote what, as `everforge run` and `everforge suite` show it."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from everforge.cli.display import LiveDisplay
from everforge.cli.results import print_results
from everforge.cli.suite_report import report_markdown, summary_lines
from everforge.cli.tally_table import tally_line, tally_tables
from everforge.model.campaign import CampaignState
from everforge.model.candidate import GeneratorKind
from everforge.model.device import DeviceKind
from everforge.model.suite import SuiteReport, TaskRow, TaskStatus
from everforge.model.tally import Tally
from everforge.model.trial import Purpose, Trial
from everforge.model.verdict import Verdict
from everforge.search.events import TrialFinished
from everforge.testing import samples
from everforge.testing.fakes import FakeClock

BUILT = Tally(generator=GeneratorKind.BUILTIN, trials_by_verdict={Verdict.FASTER: 7, Verdict.SLOWER: 4})
GPT = Tally(
    generator=GeneratorKind.LLM,
    model="openai/gpt-4.1",
    trials_by_verdict={Verdict.FASTER: 2, Verdict.COMPILE_ERROR: 3, Verdict.REJECTED: 2, Verdict.TAMPERED: 1},
    remeasured_by_verdict={Verdict.INCORRECT: 1},
    tokens=16000,
    dollars=0.0704,
)
LONG = "hosted_vllm/Qwen/Qwen3-Coder-480B-A35B-Instruct-FP8"
QWEN = Tally(generator=GeneratorKind.LLM, model=LONG, trials_by_verdict={Verdict.INCORRECT: 2}, tokens=9, dollars=None)


def printed(*tallies: Tally, width: int = 80) -> str:
    record = samples.campaign_record(state=CampaignState.SUCCEEDED).model_copy(update={"by_generator": tallies})
    console = Console(file=io.StringIO(), width=width)
    print_results(record, None, Path("kernel.yaml"), console)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_results_tell_verdicts_and_costs_of_each_author() -> None:
    page = printed(BUILT, GPT)
    for row in (
        r"candidates by +builtin +openai/gpt-4.1",
        r"trials +11 +8",
        r"faster +7 +2",
        r"compile error +- +3",
        r"rejected +- +2",
        r"tampered +- +1",
        r"re-measured +- +1 incorrect",
        r"tokens +- +16000",
        r"cost +- +\$0.0704",
    ):
        assert re.search(rf"^{row} *$", page, re.MULTILINE), row


def test_single_author_without_a_cheat_needs_no_table() -> None:
    assert "candidates by" not in printed(BUILT)
    assert "candidates by" in printed(GPT)


@pytest.mark.parametrize("width", [80, 120])
def test_tables_keep_to_the_width_and_leave_no_author_out(width: int) -> None:
    authors = [QWEN.model_copy(update={"model": f"{LONG}-{number}"}) for number in range(7)]
    console = Console(file=io.StringIO(), width=width)
    for table in tally_tables(authors, width):
        console.print(table)
    page = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, page.splitlines())) <= width
    assert len(re.findall("price unknown", page)) == 7


def test_suite_tells_authors_over_all_tasks() -> None:
    rows = tuple(
        TaskRow(task=name, status=TaskStatus.NOT_IMPROVED, trials=8, by_generator=(BUILT, GPT)) for name in "ab"
    )
    report = SuiteReport(device=DeviceKind.CPU, tasks=rows)
    assert "candidates by builtin: 22 trials, 14 faster, 8 slower" in summary_lines(report)
    told = "16 trials, 4 faster, 2 incorrect, 6 compile error, 4 rejected, 2 tampered; 32000 tokens, $0.1408"
    assert f"- candidates by openai/gpt-4.1: {told}" in report_markdown(report)
    plain = report.model_copy(update={"tasks": (rows[0].model_copy(update={"by_generator": (BUILT,)}),)})
    assert not any("candidates by" in line for line in summary_lines(plain))


def test_unknown_price_is_not_zero() -> None:
    assert tally_line(QWEN) == f"{LONG}: 2 trials, 2 incorrect; 9 tokens, price unknown"


def live(*trials: Trial) -> str:
    console = Console(file=io.StringIO(), width=80)
    display = LiveDisplay(samples.campaign_spec(), console, FakeClock())
    for trial in trials:
        display(TrialFinished(trial=trial, spent=trial.spend))
    console.print(display)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_refuted_trial_is_no_longer_the_best_on_the_display() -> None:
    best, second = samples.trial(0, speedup=3.0), samples.trial(1, speedup=1.5)
    refuted = samples.trial(2, verdict=Verdict.INCORRECT, purpose=Purpose.CHAMPION, proposed=best.candidate)
    confirmed = samples.trial(3, speedup=1.4, purpose=Purpose.CHAMPION, proposed=second.candidate)
    assert "best so far: 3.00x [2.91, 3.09], trial 0, not re-measured yet" in live(best, second)
    assert "best so far: 1.50x [1.46, 1.54], trial 1, not re-measured yet" in live(best, second, refuted)
    assert "best so far: 1.40x [1.36, 1.44], trial 3, confirmed" in live(best, second, refuted, confirmed)
    slower = samples.trial(4, verdict=Verdict.SLOWER, purpose=Purpose.CHAMPION, proposed=second.candidate)
    assert "none faster" in live(best, second, refuted, confirmed, slower)


def test_display_counts_who_was_caught_and_is_silent_while_nobody_was() -> None:
    tampered, rejected = samples.trial(1, verdict=Verdict.TAMPERED), samples.trial(2, verdict=Verdict.REJECTED)
    assert "caught: 1 rejected, 1 tampered" in live(samples.trial(0), tampered, rejected)
    assert "caught" not in live(samples.trial(0))
