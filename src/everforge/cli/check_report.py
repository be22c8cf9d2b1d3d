"""A CheckReport as a person reads it in a terminal; `everforge check` without --json prints this."""

from collections.abc import Iterator, Sequence

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from everforge.cli.evaluation_report import shortened
from everforge.cli.wording import FAILED_STYLE
from everforge.model.check import CheckReport, CheckStage, GateReport, KernelReport
from everforge.model.evaluation import VariantResult

_LABEL_WIDTH = 20


def print_check(report: CheckReport, console: Console) -> None:
    """Write the whole report."""
    for part in _parts(report):
        console.print(part, soft_wrap=isinstance(part, Text))


def _parts(report: CheckReport) -> Iterator[RenderableType]:
    yield _headline(report)
    yield _line("static rules", _static_text(report))
    if report.compiled is not None:
        yield _line("compile ahead", _compiled_text(report.compiled))
        if report.compiled.kernels:
            yield kernels_table(report.compiled.kernels)
        if report.compiled.fault is not None and "\n" in report.compiled.fault.message:
            yield Text(shortened(report.compiled.fault.message))
    if report.values:
        yield _line("interpreted values", "against float64, with the tolerance of a trial")
        yield values_table(report.values)
    for reason in report.not_checked:
        yield _line("not checked", reason, "yellow")
    yield Text(f"task {report.task_digest}", style="dim")
    yield Text(f"candidate {report.candidate_digest}", style="dim")


def _headline(report: CheckReport) -> Text:
    if report.finding is not None:
        return Text.assemble((report.finding.verdict.value, FAILED_STYLE), "  ", report.finding.reason)
    if report.not_checked:
        return Text.assemble(("ok so far", "yellow"), "  nothing speaks against it, but not all was checked")
    return Text.assemble(("ok", "bold green"), "  nothing speaks against trying it on a device")


def _line(label: str, text: str, style: str = "bold") -> Text:
    return Text.assemble((f"{label:<{_LABEL_WIDTH}}", style), text)


def _static_text(report: CheckReport) -> str:
    found = report.finding is not None and report.finding.stage is CheckStage.STATIC
    return "broken; nothing was run" if found else "kept"


def _compiled_text(compiled: GateReport) -> str:
    count = len(compiled.kernels)
    seconds = sum(kernel.compile_seconds for kernel in compiled.kernels)
    return f"{compiled.arch}, {count} {'kernel' if count == 1 else 'kernels'} in {seconds:.1f} s"


def kernels_table(kernels: Sequence[KernelReport]) -> Table:
    """One row per kernel and configuration: what one thread and one block of it take."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("  kernel")
    table.add_column("configuration", overflow="fold")
    for column in ("registers", "stack", "shared"):
        table.add_column(column, justify="right")
    table.add_column("features")
    for kernel in kernels:
        table.add_row(f"  {kernel.name}", _configuration(kernel), *_resources(kernel))
    return table


def _configuration(kernel: KernelReport) -> str:
    return " ".join(f"{name}={value}" for name, value in kernel.config.items())


def _resources(kernel: KernelReport) -> tuple[str | Text, ...]:
    if kernel.fault is not None:
        return "-", "-", "-", Text("does not compile", style=FAILED_STYLE)
    registers = "-" if kernel.registers is None else str(kernel.registers)
    return registers, _bytes(kernel.stack_bytes), _bytes(kernel.shared_bytes), " ".join(kernel.features) or "-"


def _bytes(count: int | None) -> str:
    return "-" if count is None else f"{count} B"


def values_table(rows: Sequence[VariantResult]) -> Table:
    """One row per variant: its errors, or what is wrong."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("  variant", "error / allowed", "largest error"):
        table.add_column(column, justify="left" if column == "  variant" else "right")
    table.add_column("correct")
    for row in rows:
        correct = Text("yes", style="green") if row.correct else Text(row.detail or "no", style=FAILED_STYLE)
        table.add_row(f"  {row.name}", _number(row.error_ratio), _number(row.max_error), correct)
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
