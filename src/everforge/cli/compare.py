"""`everforge compare`: search policies against each other on landscapes whose best kernel is known.

Models are simulated, so that a comparison costs nothing and anybody can repeat it. What it tells is how policies deal
with a kind of landscape under the assumptions of `search/simulated/`, not how fast any kernel gets.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from everforge.cli.atomic_file import write_atomically
from everforge.cli.compare_plot import comparison_svg
from everforge.cli.compare_table import comparison_markdown, comparison_tables, setting
from everforge.errors import UsageError
from everforge.model.search_settings import PolicyKind
from everforge.search.simulated.comparison import Comparison, contest_on
from everforge.search.simulated.landscapes import NAMES


def compare(
    policies: Annotated[
        str, typer.Option(help="Policies, separated by commas; each is compared with the first.")
    ] = ",".join(PolicyKind),
    landscapes: Annotated[str, typer.Option(help="Landscapes, separated by commas.")] = ",".join(NAMES),
    repeats: Annotated[int, typer.Option(min=2, help="Searches of each policy on each landscape.")] = 50,
    trials: Annotated[int, typer.Option(min=1, help="Trials of each search.")] = 40,
    in_flight: Annotated[int, typer.Option(min=1, help="Asks that wait for their answers at any time.")] = 1,
    out: Annotated[
        Path | None, typer.Option(help="Write comparison.json, comparison.md and comparison.svg there.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout instead of tables.")] = False,
) -> None:
    """Compare search policies over simulated models: best speedup against trials, dollars and device seconds.

    Exit codes: 0 compared; 2 a policy or a landscape that does not exist.
    """
    kinds = [PolicyKind(name) for name in _chosen("policy", policies, tuple(PolicyKind))]
    names = _chosen("landscape", landscapes, NAMES)
    news = Console(stderr=True, highlight=False)
    contests = []
    for name in names:
        with news.status(f"{name}: {len(kinds)} policies, {repeats} searches each"):
            contests.append(contest_on(name, kinds, repeats, trials, in_flight))
    comparison = Comparison(
        policies=tuple(kinds), repeats=repeats, trials=trials, in_flight=in_flight, contests=tuple(contests)
    )
    if out is not None:
        _write(comparison, out)
    _print(comparison, as_json)


def _chosen(what: str, listed: str, known: Sequence[str]) -> list[str]:
    """The names of a list, each once. Raises UsageError for one that is not known."""
    names = list(dict.fromkeys(name.strip() for name in listed.split(",") if name.strip()))
    wrong = [name for name in names if name not in known]
    if wrong or not names:
        raise UsageError(f"no {what} {', '.join(wrong) or 'given'}: choose from {', '.join(known)}")
    return names


def _write(comparison: Comparison, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "comparison.json", comparison.model_dump_json(indent=2) + "\n")
    write_atomically(out / "comparison.md", f"{setting(comparison)}\n\n{comparison_markdown(comparison)}")
    write_atomically(out / "comparison.svg", comparison_svg(comparison))


def _print(comparison: Comparison, as_json: bool) -> None:
    if as_json:
        typer.echo(comparison.model_dump_json())
        return
    console = Console(highlight=False)
    console.print(setting(comparison), markup=False)
    for table in comparison_tables(comparison):
        console.print()
        console.print(table)
