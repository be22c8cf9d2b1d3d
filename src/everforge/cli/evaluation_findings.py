"""What a trial found beside verdict and speedup, a line each: evidence, launches, own kernels, the device's state.

`evaluation_report.py` prints them below the verdict and below the table. What was not measured has no line.
Evidence and details may quote what a candidate wrote, so nothing of it reaches the terminal as control characters.
"""

from collections.abc import Callable, Iterator, Sequence

from everforge.agents.llm.quote import printable
from everforge.cli.wording import time_text
from everforge.model.evaluation import DeviceReading, Evaluation, VariantResult


def evidence_lines(evaluation: Evaluation) -> Iterator[str]:
    """What speaks against the candidate: what was seen, and what is wrong on each variant."""
    reason = evaluation.reason
    yield from (f"seen: {_one_line(line)}" for line in evaluation.evidence if line not in reason)
    for variant in evaluation.variants:
        if variant.detail and variant.detail not in reason:
            yield f"{variant.name}: {_one_line(variant.detail)}"


def measured_lines(evaluation: Evaluation) -> Iterator[str]:
    """Where the time went and what the device was like meanwhile."""
    if evaluation.own_share is not None:
        yield f"own kernels: {evaluation.own_share:.0%} of device time"
    yield from (line for variant in evaluation.variants if (line := launches_line(variant)) is not None)
    if sensors := sensors_text(evaluation.readings):
        yield f"device while timing: {sensors}"


def launches_line(variant: VariantResult) -> str | None:
    """What launching a call takes the host beside what the device has to do, and the call as a device graph."""
    if variant.launch_us is None or variant.candidate_us is None:
        return None
    told = f"launches, {variant.name}: {_launches(variant.launch_us, variant.candidate_us, variant.replay_us)}"
    baseline_us = min(variant.baselines_us.values(), default=None)
    if variant.baseline_launch_us is None or baseline_us is None:
        return told
    return f"{told}; baseline {_launches(variant.baseline_launch_us, baseline_us, variant.baseline_replay_us)}"


def _launches(launch_us: float, device_us: float, replay_us: float | None) -> str:
    replayed = "" if replay_us is None else f", {time_text(replay_us)} as a graph"
    return f"{time_text(launch_us)} on the host, {time_text(device_us)} on the device{replayed}"


def sensors_text(readings: Sequence[DeviceReading]) -> str:
    """`1980 to 1755 MHz, 54 to 71 °C, 690 W`, first reading to last; empty where no sensor answered."""
    parts = [
        _span(readings, lambda reading: reading.clock_mhz, "MHz"),
        _span(readings, lambda reading: reading.memory_clock_mhz, "MHz memory"),
        _span(readings, lambda reading: reading.temperature_c, "°C"),
        _span(readings, lambda reading: reading.power_w, "W"),
    ]
    return ", ".join(part for part in parts if part)


def wall_differs(variant: VariantResult) -> bool:
    """Whether the parent's clock puts the speedup outside the interval that the device's events gave."""
    by_events, by_wall = variant.speedup, variant.speedup_by_wall
    return by_events is not None and by_wall is not None and not by_events.low <= by_wall.value <= by_events.high


def _span(readings: Sequence[DeviceReading], of: Callable[[DeviceReading], float | None], unit: str) -> str:
    values = [f"{value:.0f}" for reading in readings if (value := of(reading)) is not None]
    if not values:
        return ""
    return f"{values[0]} {unit}" if values[0] == values[-1] else f"{values[0]} to {values[-1]} {unit}"


def _one_line(text: str) -> str:
    return " ".join(printable(text).split())
