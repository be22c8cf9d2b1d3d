"""How the command line writes the figures of a campaign: one form for display and results."""

import re
from collections.abc import Mapping

from everforge.agents.llm.quote import printable
from everforge.model.candidate import ParameterValue
from everforge.model.interval import Interval
from everforge.model.trial import Purpose, Trial
from everforge.model.verdict import Verdict

VERDICT_STYLES = {
    Verdict.FASTER: "bold green",
    Verdict.SLOWER: "yellow",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.INFRA_ERROR: "magenta",
    Verdict.TAMPERED: "bold white on red",
}
FAILED_STYLE = "red"
_KERNEL = re.compile(r"kernel_\d+_")


def ratio_text(value: float | None) -> str:
    """A ratio as `1.82x`, a dash where it was not measured."""
    return "-" if value is None else f"{value:.2f}x"


def interval_text(interval: Interval | None) -> str:
    """A speedup with its interval, `1.82x [1.79, 1.85]`."""
    if interval is None:
        return "-"
    return f"{interval.value:.2f}x [{interval.low:.2f}, {interval.high:.2f}]"


def time_text(microseconds: float | None) -> str:
    """A time in the unit that leaves three significant digits readable."""
    if microseconds is None:
        return "-"
    return f"{microseconds / 1000:.2f} ms" if microseconds >= 1000 else f"{microseconds:.1f} us"


def origin_text(trial: Trial) -> str:
    """Who proposed a candidate and what it tried."""
    candidate = trial.candidate
    text = f"{candidate.generator}: {candidate.strategy}" if candidate.strategy else candidate.generator.value
    if candidate.parameters:
        text += f" ({_parameters_text(candidate.parameters)})"
    return f"re-measured, {text}" if trial.purpose is Purpose.CHAMPION else text


def _parameters_text(parameters: Mapping[str, ParameterValue]) -> str:
    """`unroll=4, lanes=16`; the builtin generator's `kernel_0_` is left out where there is one kernel."""
    numbers = {match[0] for name in parameters if (match := _KERNEL.match(name))}
    alone = next(iter(numbers)) if len(numbers) == 1 else ""
    return ", ".join(f"{name.removeprefix(alone)}={value}" for name, value in parameters.items())


def trial_line(trial: Trial, reused: bool) -> str:
    """One finished trial as one line."""
    evaluation = trial.evaluation
    reason = next(iter(printable(evaluation.reason).splitlines()), "")  # it may quote what a candidate wrote
    figure = interval_text(evaluation.speedup) if evaluation.speedup else reason
    known = " (verdict of an earlier trial)" if reused else ""
    return f"trial {trial.number:<3} {evaluation.verdict:<13} {figure}  {origin_text(trial)}{known}"
