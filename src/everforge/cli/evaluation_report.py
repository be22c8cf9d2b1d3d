"""An Evaluation as a person reads it in a terminal; `everforge evaluate` without --json prints this."""

import re
from collections.abc import Iterator, Sequence

from rich.console import Console, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from everforge.agents.llm.quote import printable
from everforge.cli.evaluation_findings import evidence_lines, measured_lines, wall_differs
from everforge.cli.wording import FAILED_STYLE, VERDICT_STYLES, interval_text, ratio_text, time_text
from everforge.model.device import Environment
from everforge.model.evaluation import Evaluation, StageSeconds, VariantResult

# Compiler output beyond this many lines is in --json; its first lines name the first error.
DIAGNOSTIC_LINES = 40
# Columns that the quantities' names take, and that one variant takes: `12.34x [12.11, 12.58]`.
_LABEL_WIDTH = 18
_VARIANT_WIDTH = 23
_VERSION = re.compile(r"\d+\.\d+[\w.+-]*")


def print_evaluation(evaluation: Evaluation, console: Console) -> None:
    """Write the whole report."""
    for part in _parts(evaluation, console.width):
        console.print(part, soft_wrap=isinstance(part, Text))


def _parts(evaluation: Evaluation, width: int) -> Iterator[RenderableType]:
    style = VERDICT_STYLES.get(evaluation.verdict, FAILED_STYLE)
    yield Text.assemble((evaluation.verdict.value, style), "  ", printable(evaluation.reason))
    yield from (Text(f"  {line}") for line in evidence_lines(evaluation))
    per_table = max(1, (width - _LABEL_WIDTH) // _VARIANT_WIDTH)
    for first in range(0, len(evaluation.variants), per_table):
        yield variants_table(evaluation.variants[first : first + per_table])
    yield from (Text(line) for line in headline(evaluation))
    yield from (Text(line) for line in measured_lines(evaluation))
    yield from (Text(f"note: {printable(note)}", style="yellow") for note in evaluation.notes)
    yield from (Text(line, style="dim") for line in provenance(evaluation))
    if evaluation.diagnostics and not evaluation.verdict.is_correct:
        yield Rule("diagnostics")
        yield Text(shortened(printable(evaluation.diagnostics)))


def headline(evaluation: Evaluation) -> Iterator[str]:
    """The figures a reader wants first, one per line; those that were not measured are left out."""
    if evaluation.speedup is not None:
        yield f"speedup over the fastest allowed baseline: {interval_text(evaluation.speedup)}"
    if evaluation.speedup_fp32 is not None:
        yield f"speedup over the fastest fp32 baseline: {ratio_text(evaluation.speedup_fp32)}"
    if evaluation.sol_fraction is not None:
        yield f"speed of light: {evaluation.sol_fraction:.0%} of the roofline"
    if evaluation.algebraic:
        yield "algebraic shortcut: does fewer FLOPs than the task states"


def variants_table(variants: Sequence[VariantResult]) -> Table:
    """One column per variant, one row per quantity: errors, the candidate's time, every baseline's, the speedup.

    Rows that few trials have (outputs of timed calls, the parent's clock) are there where one of the variants does.
    """
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("variant")
    for variant in variants:
        table.add_column(f"{variant.name} (held out)" if variant.held_out else variant.name, justify="right")
    table.add_row("correct", *(Text(*_correctness(variant)) for variant in variants))
    table.add_row("error / allowed", *(_number(variant.error_ratio) for variant in variants))
    table.add_row("largest error", *(_number(variant.max_error) for variant in variants))
    if any(variant.rechecked is not None for variant in variants):
        counts = ("-" if variant.rechecked is None else f"{variant.rechecked} checked" for variant in variants)
        table.add_row("timed outputs", *counts)
    table.add_row("candidate", *(time_text(variant.candidate_us) for variant in variants), style="bold")
    for name in dict.fromkeys(name for variant in variants for name in variant.baselines_us):
        table.add_row(name, *(time_text(variant.baselines_us.get(name)) for variant in variants))
    table.add_row("speedup", *(interval_text(variant.speedup) for variant in variants), style="bold")
    if any(wall_differs(variant) for variant in variants):
        table.add_row("by wall clock", *(interval_text(variant.speedup_by_wall) for variant in variants))
    return table


def _correctness(variant: VariantResult) -> tuple[str, str]:
    return ("yes", "green") if variant.correct else ("no", FAILED_STYLE)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def provenance(evaluation: Evaluation) -> Iterator[str]:
    """Where it was measured, how long that took, and of what it speaks."""
    yield environment_line(evaluation.environment)
    yield stages_line(evaluation.stages)
    yield f"task {evaluation.task_digest}"
    yield f"candidate {evaluation.candidate_digest}"


def environment_line(environment: Environment) -> str:
    """Device, host and toolchain on one line."""
    tools = ", ".join(f"{tool} {_version(text)}" for tool, text in environment.toolchain.items())
    driver = f", driver {environment.driver}" if environment.driver else ""
    isolation = "+".join(environment.isolation) or "none"
    return (
        f"{environment.device}: {environment.device_name} ({environment.architecture}{driver}), "
        f"{environment.cores} cores, {environment.host}; {tools}; isolation {isolation}"
    )


def _version(text: str) -> str:
    """The version in what a tool prints about itself."""
    found = _VERSION.search(text)
    return found.group() if found else text


def stages_line(stages: StageSeconds) -> str:
    """Where the trial's wall time went."""
    return (
        f"{stages.total:.1f} s: compile {stages.compile:.1f}, verify {stages.verify:.1f}, "
        f"time {stages.time:.1f}, overhead {stages.overhead:.1f}"
    )


def shortened(text: str, limit: int = DIAGNOSTIC_LINES) -> str:
    """The first lines of a text, and how many there are beyond them."""
    lines = text.rstrip().splitlines()
    hidden = len(lines) - limit
    tail = [f"… {hidden} more lines in --json"] if hidden > 0 else []
    return "\n".join([*lines[:limit], *tail])
