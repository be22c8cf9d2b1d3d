"""What the evaluator makes of the red-team corpus: `python tests/redteam/score.py --device cpu`, or `make redteam`.

Prints one table for each side and ends with 1 if a hostile candidate was accepted or an honest one was not. With
`--markdown` the tables also replace this device's part of a document. Runs on a bare GPU machine: torch, Triton,
pydantic and this repository are all it needs.
"""

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src")]  # a GPU machine has the repository and no installation of it

from corpus import QUICK, Bench, Entry, Side, load, task_spec  # noqa: E402

from everforge.model.device import DeviceKind  # noqa: E402
from everforge.model.evaluation import Evaluation  # noqa: E402
from everforge.model.verdict import Verdict  # noqa: E402
from everforge.runners.rules.static_rules import check_source  # noqa: E402

HEADERS = {
    "hostile": ("candidate", "trick", "verdict", "caught by", "s", "behind the rules", "caught by", "s"),
    "honest": ("candidate", "style", "task", "verdict", "speedup", "s"),
}
# A candidate may build an extension or compile with Inductor: 40 s are too few beside other work on two cores.
PATIENT = QUICK.model_copy(update={"timeout_s": 120.0})
# A reason may quote a compiler; a table wants its beginning.
REASON_CHARACTERS = 110


@dataclass(frozen=True)
class Run:
    """One evaluation of an entry, and how long it took from outside; `broke` is what broke the harness, if it did."""

    evaluation: Evaluation | None
    seconds: float
    broke: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the candidate was taken for a kernel that computes the task."""
        return self.evaluation is not None and self.evaluation.verdict.is_correct

    @property
    def verdict(self) -> str:
        """The verdict, or that there is none."""
        return "the harness broke" if self.evaluation is None else str(self.evaluation.verdict)


@dataclass(frozen=True)
class Row:
    """An entry and what it got. `behind` is the run without rules; both are None where it cannot run here."""

    entry: Entry
    in_force: Run | None
    behind: Run | None

    @property
    def failed(self) -> bool:
        """A cheat that was accepted or broke the harness, with the rules or behind them; an honest one that was not."""
        return any(is_failure(self.entry, run) for run in (self.in_force, self.behind if self.entry.behind else None))

    @property
    def surprising(self) -> bool:
        """Whether a verdict is not among those the entry names."""
        pairs = ((self.in_force, self.entry.expect), (self.behind, self.entry.behind))
        return any(run is not None and wanted and run.verdict not in wanted for run, wanted in pairs)


def is_failure(entry: Entry, run: Run | None) -> bool:
    """Whether a run is one that must not be: a cheat accepted, an honest candidate not, or the harness broken."""
    if run is None:
        return False
    return not run.accepted if entry.side == "honest" else run.accepted or run.evaluation is None


def score(bench: Bench, entry: Entry, without_rules: bool) -> Row:
    """Evaluate an entry as it would be, and again without the rules if they were what caught it."""
    if bench.device.kind not in entry.devices:
        return Row(entry, None, None)
    in_force = timed(bench, entry, rules=True)
    if entry.side == "honest" or not without_rules:
        return Row(entry, in_force, None)
    return Row(entry, in_force, timed(bench, entry, rules=False) if check_source(entry.source) else in_force)


def timed(bench: Bench, entry: Entry, *, rules: bool) -> Run:
    """One evaluation, with its wall time."""
    bench.session(task_spec(entry))  # the first of a task opens its session, which is not the candidate's time
    began_s = time.monotonic()
    try:
        evaluation, broke = bench.evaluate(entry, rules=rules), ""
    except Exception as error:  # noqa: BLE001 - whatever a candidate did to the harness is a line of the table
        evaluation, broke = None, f"{type(error).__name__}: {error}"
    return Run(evaluation, time.monotonic() - began_s, broke)


def caught_by(entry: Entry, run: Run) -> str:
    """The layer that saw through it: the rule and its line, the evidence, or the reason of the verdict."""
    if run.evaluation is None:
        return shortened(run.broke)
    broken = check_source(entry.source)
    if run.evaluation.verdict is Verdict.REJECTED and broken:
        return f"rule {broken[0].rule}, line {broken[0].line}"
    return "nothing" if run.accepted else shortened("; ".join(run.evaluation.evidence) or run.evaluation.reason)


def shortened(text: str) -> str:
    """One line of a table: no newlines, no pipes, not too long."""
    line = " ".join(text.replace("|", "¦").split())
    return line if len(line) <= REASON_CHARACTERS else line[: REASON_CHARACTERS - 1] + "…"


def cells(row: Row) -> tuple[str, ...]:
    """The row as the cells of its side's table."""
    entry, run = row.entry, row.in_force
    mark = " **!**" if is_failure(entry, run) else " (unexpected)" if row.surprising else ""
    if run is None:
        needs = f"not run: needs {' or '.join(entry.devices)}"
        where = (entry.trick, needs, rules_say(entry)) if entry.side == "hostile" else (entry.trick, entry.task, needs)
        return (entry.name, *where, *("",) * (len(HEADERS[entry.side]) - 4))
    if entry.side == "honest":
        speedup = None if run.evaluation is None else run.evaluation.speedup
        told = caught_by(entry, run) if speedup is None else f"{speedup.value:.2f}"
        return (entry.name, entry.trick, entry.task, run.verdict + mark, told, f"{run.seconds:.1f}")
    first = (entry.name, entry.trick, run.verdict + mark, caught_by(entry, run), f"{run.seconds:.1f}")
    if row.behind is None:
        return (*first, "", "", "")
    if not entry.behind:
        return (*first, f"{row.behind.verdict} (harmless)", "", f"{row.behind.seconds:.1f}")
    verdict = row.behind.verdict + (" **!**" if is_failure(entry, row.behind) else "")
    return (*first, verdict, caught_by(entry, row.behind), f"{row.behind.seconds:.1f}")


def rules_say(entry: Entry) -> str:
    """What can be said of an entry without its device."""
    broken = check_source(entry.source)
    return f"rule {broken[0].rule}, line {broken[0].line}" if broken else "passes the rules"


def table(side: Side, rows: Sequence[Row]) -> list[str]:
    """One side as lines of a Markdown table, with its totals above."""
    header = HEADERS[side]
    lines = [totals(side, rows), "", f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    return [*lines, *(f"| {' | '.join(cells(row))} |" for row in rows)]


def totals(side: Side, rows: Sequence[Row]) -> str:
    """One sentence on a side."""
    run = [row for row in rows if row.in_force is not None]
    left_out = f"; {len(rows) - len(run)} need another device" if len(run) < len(rows) else ""
    if side == "honest":
        return f"{len(run)} honest candidates judged, rejected: {sum(row.failed for row in run)}{left_out}."
    accepted = sum(row.in_force is not None and row.in_force.accepted for row in run)
    behind = [row.behind.accepted for row in run if row.behind is not None and row.entry.behind]
    also = f"; with the static rules switched off, accepted: {sum(behind)}" if behind else ""
    return f"{len(run)} hostile candidates judged, accepted: {accepted}{also}{left_out}."


def write_markdown(path: Path, device: DeviceKind, lines: Iterable[str]) -> None:
    """Replace the device's part of a document; what a person wrote around it stays."""
    begin, end = f"<!-- {device}: begin -->", f"<!-- {device}: end -->"
    text = path.read_text(encoding="utf-8") if path.exists() else "# The red-team corpus\n"
    if begin not in text:
        text = f"{text.rstrip()}\n\n{begin}\n{end}\n"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    path.write_text(f"{before}{begin}\n" + "\n".join(lines) + f"\n{end}{after}", encoding="utf-8")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Judge the red-team corpus.")
    parser.add_argument("--device", type=DeviceKind, default=DeviceKind.CPU, help="cpu, cuda or xpu")
    parser.add_argument("--side", choices=("hostile", "honest", "both"), default="both")
    parser.add_argument("--without-rules", action="store_true", help="also judge with the static rules switched off")
    parser.add_argument("--only", metavar="NAME", help="candidates whose name contains this")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables into this document, too")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Judge, print, and say by the exit code whether the corpus is held."""
    wanted = parse(arguments)
    sides: tuple[Side, ...] = ("hostile", "honest") if wanted.side == "both" else (wanted.side,)
    with Bench(wanted.device, PATIENT) as bench:
        rows: dict[Side, list[Row]] = {side: judge_side(bench, side, wanted) for side in sides}
        lines = [*heading(bench, wanted)]
    for side in sides:
        lines += ["", f"#### {side.capitalize()}", "", *table(side, rows[side])]
    print("\n".join(lines))  # noqa: T201 - a command's output
    if wanted.markdown is not None:
        write_markdown(wanted.markdown, wanted.device, lines)
    return int(any(row.failed for side in sides for row in rows[side]))


def heading(bench: Bench, wanted: argparse.Namespace) -> list[str]:
    """Where and how the tables were made."""
    environment = bench.environment
    layers = ", ".join(environment.isolation) or "none"
    tools = ", ".join(
        f"{name} {environment.toolchain[name]}" for name in ("torch", "triton") if name in environment.toolchain
    )
    flags = " --without-rules" if wanted.without_rules else ""
    command = f"python3 tests/redteam/score.py --device {wanted.device}{flags}"
    return [
        f"### {environment.device_name} ({environment.device})",
        "",
        f"`{command}`; {tools}; layers of the jail in force: {layers}.",
    ]


def judge_side(bench: Bench, side: Side, wanted: argparse.Namespace) -> list[Row]:
    """Every entry of a side that was asked for, with a line of progress each."""
    rows = []
    for entry in load(side):
        if wanted.only is not None and wanted.only not in entry.name:
            continue
        row = score(bench, entry, wanted.without_rules)
        rows.append(row)
        print(" · ".join(cell for cell in cells(row) if cell), file=sys.stderr, flush=True)  # noqa: T201
    return rows


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
