"""What `everforge doctor` found, as a record (--json) and as a page for a terminal."""

from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from everforge.cli.device_check import DeviceReport
from everforge.cli.installed import Part
from everforge.model.base import Record

SCHEMA_VERSION = 1


class DoctorReport(Record):
    """What is installed and what each device can do."""

    schema_version: int = SCHEMA_VERSION
    ready: bool
    """Whether at least one device can run a campaign."""
    parts: tuple[Part, ...]
    devices: tuple[DeviceReport, ...]


def doctor_report(parts: Iterable[Part], devices: Iterable[DeviceReport]) -> DoctorReport:
    """The findings and what follows from them."""
    reports = tuple(devices)
    ready = any(report.runs_campaigns for report in reports)
    return DoctorReport(ready=ready, parts=tuple(parts), devices=reports)


def print_doctor_report(report: DoctorReport, console: Console) -> None:
    """Write the whole page."""
    console.print(parts_table(report.parts))
    # Lines, not cells: a command that a table has broken in two cannot be copied.
    for line in remedy_lines(report.parts):
        console.print(line, soft_wrap=True)
    for device in report.devices:
        console.print()
        for line in device_lines(device):
            console.print(line, soft_wrap=True)
    console.print()
    usable = [device.device.value for device in report.devices if device.runs_campaigns]
    if usable:
        console.print(Text(f"ready: campaigns run on {', '.join(usable)}", style="bold green"))
    else:
        console.print(Text("not ready: no device can run a campaign", style="bold red"))


def parts_table(parts: Iterable[Part]) -> Table:
    """One row per thing that is or should be installed."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "part", "version", "needed for"):
        table.add_column(heading, overflow="fold")
    for part in parts:
        table.add_row(_mark(part.works, part.required), part.name, part.version or "-", part.needed_for)
    return table


def remedy_lines(parts: Iterable[Part]) -> Iterator[Text]:
    """One line for each part that something can be done about."""
    for part in parts:
        if part.remedy is not None:
            problem = part.problem or "is not installed"
            yield Text.assemble(f"{part.name} {problem}: ", (part.remedy, "bold"))


def device_lines(report: DeviceReport) -> Iterator[Text]:
    """A device, its languages and its sandbox, one line each."""
    environment = report.environment
    if environment is None:
        yield Text.assemble(("no   ", "red"), (report.device.value, "bold"), f": {report.problem}")
        return
    facts = f": {environment.device_name}, {environment.architecture}, {environment.cores} cores"
    yield Text.assemble(_mark(True), (report.device.value, "bold"), facts)
    for language in report.languages:
        mend = f"; {language.remedy}" if language.remedy else ""
        yield Text.assemble("  ", _mark(language.works), f"{language.language}: {language.detail}{mend}")
    layers = ", ".join(environment.isolation) or "none"
    missing = f"; without {', '.join(report.missing_layers)}" if report.missing_layers else ""
    mend = f"; {report.remedy}" if report.remedy else ""
    yield Text.assemble("  ", _mark(not report.missing_layers, False), f"sandbox: {layers}{missing}{mend}")


def _mark(works: bool, required: bool = True) -> Text:
    if works:
        return Text("ok   ", style="green")
    return Text("no   ", style="red") if required else Text("-    ", style="dim")
