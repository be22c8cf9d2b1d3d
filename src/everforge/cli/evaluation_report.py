"""An Evaluation as a person reads it in a terminal; `everforge evaluate` without --json prints this."""

from collections.abc import Iterable

from rich.console import Console, Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from everforge.model.device import Environment
from everforge.model.evaluation import Evaluation, StageSeconds, VariantResult
from everforge.model.interval import Interval
from everforge.model.verdict import Verdict

# Compiler output beyond this many lines is in --json; its first lines name the first error.
DIAGNOSTIC_LINES = 40

_STYLES = {Verdict.FASTER: "bold green", Verdict.SLOWER: "bold yellow", Verdict.INCONCLUSIVE: "bold yellow"}
_FAILED_STYLE = "bold red"


def print_evaluation(evaluation: Evaluation, console: Console) -> None:
    """Write the whole report."""
    console.print(Group(*_parts(evaluation)))


def _parts(evaluation: Evaluation) -> Iterable[RenderableType]:
    style = _STYLES.get(evaluation.verdict, _FAILED_STYLE)
    yield Text.assemble((evaluation.verdict.value, style), "  ", evaluation.reason)
    if evaluation.variants:
        yield variants_table(evaluation.variants)
    yield from (Text(line) for line in headline(evaluation))
    yield Text(environment_line(evaluation.environment), style="dim")
    yield Text(stages_line(evaluation.stages), style="dim")
    yield Text(f"task {evaluation.task_digest}\ncandidate {evaluation.candidate_digest}", style="dim")
    if evaluation.diagnostics and not evaluation.verdict.is_correct:
        yield Rule("diagnostics")
        yield Text(_shortened(evaluation.diagnostics))


def headline(evaluation: Evaluation) -> list[str]:
    """The figures a reader wants first, one per line; those that were not measured are left out."""
    lines = []
    if evaluation.speedup is not None:
        lines.append(f"speedup over the fastest allowed baseline: {interval_text(evaluation.speedup)}")
    if evaluation.speedup_fp32 is not None:
        lines.append(f"speedup over the fastest fp32 baseline: {evaluation.speedup_fp32:.2f}x")
    if evaluation.sol_fraction is not None:
        lines.append(f"speed of light: {evaluation.sol_fraction:.0%} of the roofline")
    if evaluation.algebraic:
        lines.append("algebraic shortcut: does fewer FLOPs than the task states")
    return lines


def interval_text(interval: Interval) -> str:
    """`1.52x (1.48 to 1.55)`."""
    return f"{interval.value:.2f}x ({interval.low:.2f} to {interval.high:.2f})"


def time_text(time_us: float | None) -> str:
    """Microseconds with the digits a measurement supports; `-` where nothing was measured."""
    if time_us is None:
        return "-"
    return f"{time_us:.0f}" if time_us >= 100 else f"{time_us:.3g}"


def variants_table(variants: Iterable[VariantResult]) -> Table:
    """One row per variant; one column for each baseline any of them has."""
    rows = list(variants)
    baselines = list(dict.fromkeys(name for row in rows for name in row.baselines_us))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("variant")
    for heading in ("correct", "error ratio", "max error", "candidate µs", *(f"{b} µs" for b in baselines)):
        table.add_column(heading, justify="right")
    table.add_column("speedup", justify="right")
    for row in rows:
        table.add_row(*_cells(row, baselines), style=None if row.correct else "red")
    return table


def _cells(row: VariantResult, baselines: list[str]) -> list[str]:
    correct = "yes" if row.correct else (row.detail or "no")
    return [
        f"{row.name} (held out)" if row.held_out else row.name,
        correct,
        _number(row.error_ratio),
        _number(row.max_error),
        time_text(row.candidate_us),
        *(time_text(row.baselines_us.get(name)) for name in baselines),
        "-" if row.speedup is None else interval_text(row.speedup),
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def environment_line(environment: Environment) -> str:
    """Device, host and toolchain on one line."""
    tools = ", ".join(f"{tool} {version}" for tool, version in environment.toolchain.items())
    driver = f", driver {environment.driver}" if environment.driver else ""
    isolation = "+".join(environment.isolation) or "none"
    return (
        f"{environment.device}: {environment.device_name} ({environment.architecture}{driver}), "
        f"{environment.cores} cores, {environment.host}; {tools}; isolation {isolation}"
    )


def stages_line(stages: StageSeconds) -> str:
    """Where the trial's wall time went."""
    return (
        f"{stages.total:.1f} s: compile {stages.compile:.1f}, verify {stages.verify:.1f}, "
        f"time {stages.time:.1f}, overhead {stages.overhead:.1f}"
    )


def _shortened(text: str) -> str:
    lines = text.rstrip().splitlines()
    hidden = len(lines) - DIAGNOSTIC_LINES
    tail = [f"… {hidden} more lines in --json"] if hidden > 0 else []
    return "\n".join([*lines[:DIAGNOSTIC_LINES], *tail])
