"""A profile and its analysis as a person reads them: what `everforge profile show` prints without --json."""

from collections.abc import Callable, Iterator, Sequence

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from everforge.agents.analysis.section import figure_line
from everforge.agents.llm.quote import printable
from everforge.cli.wording import time_text
from everforge.model.analysis import Analysis, Recommendation, Roofline
from everforge.model.kernel_profile import HostGaps, KernelProfile, Profile

# Beyond these a table is no overview; --json has all.
_SHOWN_KERNELS = 20
_SHOWN_STALLS = 3
# Beside it six columns have room in 80.
_NAME_CHARS = 22

Columns = dict[str, Callable[[KernelProfile], str | None]]


def print_profile(profile: Profile, analysis: Analysis | None, console: Console) -> None:
    """Write the whole report."""
    for part in (*_profile_parts(profile), *(_analysis_parts(analysis) if analysis else ())):
        console.print(part, soft_wrap=isinstance(part, Text))


def _profile_parts(profile: Profile) -> Iterator[RenderableType]:
    device = f"{profile.device}, {printable(profile.device_name)}" if profile.device_name else str(profile.device)
    yield Text.assemble((str(profile.tool), "bold"), f"  {device}, {len(profile.kernels)} kernels")
    shown = profile.kernels[:_SHOWN_KERNELS]
    for columns in (_RESOURCES, _USE, _RATES):
        yield from kernels_table(shown, columns)
    for kernel in shown:
        if kernel.stalls:
            yield Text(f"  {_name(kernel)} waits: {_stalls(kernel)}")
    hidden = len(profile.kernels) - _SHOWN_KERNELS
    if hidden > 0:
        yield Text(f"  {hidden} more with less time; --json has all", style="dim")
    if profile.host_gaps is not None:
        yield Text(_gaps_text(profile.host_gaps))
    for note in profile.notes:
        yield Text(f"note: {printable(note)}", style="dim")


def kernels_table(kernels: Sequence[KernelProfile], columns: Columns) -> Iterator[Table]:
    """One row per kernel; columns that no kernel has a figure for are left out, and so is a table without any."""
    known = {name: cell for name, cell in columns.items() if any(cell(kernel) is not None for kernel in kernels)}
    if not known:
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("  kernel", no_wrap=True, max_width=_NAME_CHARS)
    for name in known:
        table.add_column(name, justify="right", no_wrap=True)
    for kernel in kernels:
        cells = (cell(kernel) or "-" for cell in known.values())
        # As Text: names of kernels hold brackets, which rich would take for its own.
        table.add_row(Text(f"  {_name(kernel)}"), *(Text(cell) for cell in cells))
    yield table


def _name(kernel: KernelProfile) -> str:
    name = printable(kernel.name).replace("\n", " ")
    return name if len(name) <= _NAME_CHARS else f"{name[: _NAME_CHARS - 1]}…"


def _count(value: int | None) -> str | None:
    return None if value is None else str(value)


def _share(value: float | None) -> str | None:
    return None if value is None else f"{value:.0%}"


def _scaled(value: float | None, unit: str) -> str | None:
    """A figure with a prefix that leaves three digits readable: `1.02 TB/s`."""
    if value is None:
        return None
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def _occupancy(kernel: KernelProfile) -> str | None:
    achieved, theoretical = kernel.occupancy_achieved, kernel.occupancy_theoretical
    if achieved is None and theoretical is None:
        return None
    of = "" if theoretical is None else f" of {theoretical:.0%}"
    return ("-" if achieved is None else f"{achieved:.0%}") + of


def _stalls(kernel: KernelProfile) -> str:
    return ", ".join(f"{printable(stall.reason)} {stall.share:.0%}" for stall in kernel.stalls[:_SHOWN_STALLS])


# Tables that fit 80 columns each: what a kernel takes, how much of the device it uses, what it gets done.
_RESOURCES: Columns = {
    "launches": lambda kernel: _count(kernel.launches),
    "time": lambda kernel: None if kernel.time_us is None else time_text(kernel.time_us),
    "share": lambda kernel: _share(kernel.share),
    "registers": lambda kernel: _count(kernel.registers_per_thread),
    "spilled": lambda kernel: _scaled(kernel.spilled_bytes, "B"),
    "shared": lambda kernel: _scaled(kernel.shared_bytes, "B"),
}
_USE: Columns = {
    "occupancy": _occupancy,
    "busy": lambda kernel: _share(kernel.busy_share),
    "matrix engines": lambda kernel: _share(kernel.matrix_utilisation),
    "L2 hits": lambda kernel: _share(kernel.l2_hit_rate),
}
_RATES: Columns = {
    "moved": lambda kernel: _scaled(kernel.bytes_moved, "B"),
    "bandwidth": lambda kernel: _scaled(kernel.bandwidth_bytes_per_s, "B/s"),
    "rate": lambda kernel: _scaled(kernel.flops_per_s, "FLOP/s"),
}


def _gaps_text(gaps: HostGaps) -> str:
    idle = f"{gaps.idle_share:.0%} of {time_text(gaps.span_us)}, in {gaps.count} gaps"
    return f"device idle: {idle}, the longest {time_text(gaps.longest_us)}"


def _analysis_parts(analysis: Analysis) -> Iterator[RenderableType]:
    yield Text()
    yield Text.assemble(f"variant {analysis.variant} is limited by ", (str(analysis.limiter), "bold"))
    if analysis.roofline is not None:
        yield Text(f"  {_roofline_text(analysis.roofline)}")
    yield from (Text(f"  {figure_line(figure)}") for figure in analysis.because)
    for number, each in enumerate(analysis.recommendations, start=1):
        yield Text.assemble((f"{number}. ", "bold"), each.what)
        yield Text(f"   {printable(each.why)}: {_gain_text(each)}", style="dim")
    yield from (Text(f"missing: {printable(text)}", style="yellow") for text in analysis.missing)


def _roofline_text(roofline: Roofline) -> str:
    ceiling = f" ({roofline.ceiling})" if roofline.ceiling else ""
    times = f"{time_text(roofline.time_us)} a call, floor {time_text(roofline.floor_us)}{ceiling}"
    return f"{times}: {roofline.fraction:.0%} of the roofline"


def _gain_text(each: Recommendation) -> str:
    bound = "no figure bounds the gain" if each.gain_bound is None else f"at most {each.gain_bound:.2f}x"
    return f"{bound} of {each.measure}, {each.confidence} confidence"
