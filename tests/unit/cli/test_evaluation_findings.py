"""What `everforge evaluate` says of a trial beside its verdict; what was not measured is not mentioned."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from everforge.cli.evaluation_findings import launches_line, sensors_text, wall_differs
from everforge.cli.evaluation_report import print_evaluation
from everforge.cli.wording import time_text
from everforge.model.evaluation import DeviceReading, Evaluation, VariantResult
from everforge.model.interval import Interval
from everforge.model.verdict import Verdict
from everforge.testing import samples
from everforge.testing.record_strategies import records

FAR = Interval(value=1.31, low=1.28, high=1.34)
BEFORE = DeviceReading(clock_mhz=1980, memory_clock_mhz=2619, temperature_c=54, power_w=310.2)
AFTER = DeviceReading(clock_mhz=1755, memory_clock_mhz=2619, temperature_c=71, throttled_by=("power_cap", "idle"))

HELD = "the device held its clocks down while it was timed: power_cap"


def printed(evaluation: Evaluation, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_evaluation(evaluation, console)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def lines(evaluation: Evaluation, width: int = 80) -> list[str]:
    return [line.rstrip() for line in printed(evaluation, width).splitlines()]


def faster(**variant: object) -> Evaluation:
    judged = samples.evaluation(Verdict.FASTER, 2.0)
    return judged.model_copy(update={"variants": (judged.variants[0].model_copy(update=variant),)})


def test_report_of_a_trial_without_the_new_figures_mentions_none_of_them() -> None:
    page = printed(samples.evaluation(Verdict.FASTER, 2.0))
    for absent in ("own kernels", "launches", "timed outputs", "wall clock", "seen:", "device while timing", "held"):
        assert absent not in page


def test_tampering_is_reported_with_everything_that_was_seen() -> None:
    seen = ("timed call 7: 412 of 1024 outputs differ", "elapsed_time was replaced on line 14")
    caught = samples.evaluation(Verdict.TAMPERED).model_copy(update={"evidence": seen, "reason": "its clock was wrong"})
    first, *rest = lines(caught)
    assert first == "tampered  its clock was wrong"
    assert rest[:2] == [f"  seen: {line}" for line in seen]


def test_evidence_that_the_reason_holds_already_is_not_repeated() -> None:
    broken = "line 7: os is not for kernels"
    rejected = samples.evaluation(Verdict.REJECTED).model_copy(
        update={"reason": f"{broken} (and 1 more)", "evidence": (broken, "line 9: nor is open()")}
    )
    assert lines(rejected)[:2] == [f"rejected  {broken} (and 1 more)", "  seen: line 9: nor is open()"]


def test_what_is_wrong_on_a_variant_has_a_line_of_its_own_and_leaves_the_table_narrow() -> None:
    detail = "inputs transposed in memory: output 0 is 40 times further off than is allowed"
    judged = samples.evaluation(Verdict.INCORRECT)
    wrong = judged.variants[0].model_copy(update={"detail": detail})
    page = lines(judged.model_copy(update={"variants": (wrong,)}))
    assert page[1] == f"  prefill: {detail}"
    assert any(re.fullmatch(r"correct +no", line) for line in page)


@pytest.mark.parametrize("width", [80, 120])
def test_figures_stand_below_the_table(width: int) -> None:
    judged = faster(
        candidate_us=31.0, replay_us=29.0, launch_us=12.0, baseline_launch_us=7.0, rechecked=4, speedup_by_wall=FAR
    )
    page = lines(judged.model_copy(update={"own_share": 0.87, "readings": (BEFORE, AFTER), "notes": (HELD,)}), width)
    assert "own kernels: 87% of device time" in page
    least_us = min(judged.variants[0].baselines_us.values())
    told = "launches, prefill: 12.0 us on the host, 31.0 us on the device, 29.0 us as a graph"
    assert f"{told}; baseline 7.0 us on the host, {time_text(least_us)} on the device" in page
    assert "device while timing: 1980 to 1755 MHz, 2619 MHz memory, 54 to 71 °C, 310 W" in page
    assert f"note: {HELD}" in page
    assert any(re.fullmatch(r"timed outputs +4 checked", line) for line in page)
    assert any(re.fullmatch(r"by wall clock +1.31x \[1.28, 1.34\]", line) for line in page)


def test_speedup_by_the_parents_clock_is_shown_only_where_it_differs() -> None:
    judged = faster()
    assert "wall" not in printed(faster(speedup_by_wall=judged.variants[0].speedup))
    assert wall_differs(faster(speedup_by_wall=FAR).variants[0])


def test_call_that_the_host_computes_itself_has_no_launches() -> None:
    timed = VariantResult(name="decode", held_out=False, correct=True, candidate_us=31.0, launch_us=9.0)
    assert launches_line(timed) == "launches, decode: 9.0 us on the host, 31.0 us on the device"
    assert launches_line(timed.model_copy(update={"launch_us": None})) is None


def test_silent_sensors_say_nothing() -> None:
    assert sensors_text((DeviceReading(), DeviceReading())) == ""
    assert "device while" not in printed(faster().model_copy(update={"readings": (DeviceReading(),)}))


def test_what_a_candidate_wrote_cannot_drive_the_terminal() -> None:
    told = {"reason": "a\x1b[2Jb", "evidence": ("\x1b]0;title\x07c\nd",), "diagnostics": "\x1b[31me"}
    page = printed(samples.evaluation(Verdict.TAMPERED).model_copy(update=told))
    assert "\x1b" not in page
    assert "  seen: c d\n" in page


@given(records(Evaluation), st.sampled_from([80, 120]))
def test_any_evaluation_can_be_printed(evaluation: Evaluation, width: int) -> None:
    assert printed(evaluation, width).startswith(evaluation.verdict)
