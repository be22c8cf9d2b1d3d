"""`everforge knowledge`: what is known of fast kernels, and what became of trials that were shown it.

The entries come with the package, the trials from the state directory of `everforge run`; neither needs a network.
"""

import difflib
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from everforge.cli.knowledge_report import entry_table, entry_view, worth_table
from everforge.errors import UsageError
from everforge.model.base import Record
from everforge.model.candidate import Language
from everforge.model.device import DeviceKind
from everforge.model.knowledge import KnowledgeEntry, OpClass
from everforge.search.knowledge_base import knowledge as all_entries
from everforge.search.knowledge_index import KnowledgeIndex, KnowledgeQuery, applies
from everforge.search.knowledge_worth import worth
from everforge.store.kept_campaigns import kept_campaigns

knowledge = typer.Typer(
    help="What is known of fast kernels, with sources and examples that run, and what it was worth.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

DeviceOption = Annotated[DeviceKind | None, typer.Option(help="Only what applies on this device.")]
OpOption = Annotated[OpClass | None, typer.Option(help="Only what applies to this kind of operation.")]
LanguageOption = Annotated[Language | None, typer.Option(help="Only what applies to kernels in this language.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object an entry on stdout.")]


@knowledge.command("list")
def list_entries(
    device: DeviceOption = None,
    op: OpOption = None,
    language: LanguageOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the entries, those that apply everywhere included."""
    _print_entries([entry for entry in all_entries() if _wanted(entry, device, op, language)], as_json)


@knowledge.command()
def show(
    entry_id: Annotated[str, typer.Argument(metavar="ID", help="Id of an entry, as `list` shows it.")],
    as_json: JsonOption = False,
) -> None:
    """Show one entry whole: what, why, where, source, example.

    Exit codes: 0 shown; 2 no such entry.
    """
    entry = _entry_of(entry_id)
    if as_json:
        _print_json([entry])
    else:
        Console(highlight=False).print(entry_view(entry))


@knowledge.command()
def search(
    text: Annotated[str, typer.Argument(help="Words to look for: an operation, a symptom, a compiler's message.")],
    device: DeviceOption = None,
    op: OpOption = None,
    language: LanguageOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """Find entries by words, best first."""
    query = KnowledgeQuery(
        device=device,
        languages=() if language is None else (language,),
        op_classes=() if op is None else (op,),
        text=text,
    )
    with closing(KnowledgeIndex(all_entries())) as index:
        found = [each.entry for each in index.matching(query) if _wanted(each.entry, device, op, language)]
    _print_entries(found[:limit], as_json)


@knowledge.command()
def stats(
    state_dir: Annotated[Path, typer.Option(help="Where `everforge run` kept its trials: its own --state-dir.")] = Path(
        ".everforge"
    ),
    everything: Annotated[bool, typer.Option("--all", help="Also entries that no trial was shown.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what became of trials whose request quoted an entry, beside trials of the same task that did not."""
    trials = [trial for kept in kept_campaigns(state_dir) for trial in kept.trials]
    rows = worth(trials, (entry.id for entry in all_entries()) if everything else ())
    if as_json:
        _print_json(rows)
        return
    console = Console(highlight=False)
    if not rows:
        console.print(f"no trial in {state_dir} was shown an entry; `everforge run` with the llm generator shows them")
        return
    console.print(worth_table(rows))
    console.print("what goes together, not what caused it: a task chooses the entries it is shown", style="dim")


def _wanted(entry: KnowledgeEntry, device: DeviceKind | None, op: OpClass | None, language: Language | None) -> bool:
    query = KnowledgeQuery(device=device, languages=() if language is None else (language,))
    return applies(entry, query) and (
        op is None or not entry.applies_to.op_classes or op in entry.applies_to.op_classes
    )


def _entry_of(entry_id: str) -> KnowledgeEntry:
    """Raises UsageError that says which ids are near."""
    by_id = {entry.id: entry for entry in all_entries()}
    if entry_id in by_id:
        return by_id[entry_id]
    near = difflib.get_close_matches(entry_id, by_id, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "`everforge knowledge list` shows the ids"
    raise UsageError(f"no entry of knowledge has the id {entry_id!r}; {hint}")


def _print_entries(entries: Sequence[KnowledgeEntry], as_json: bool) -> None:
    if as_json:
        _print_json(entries)
        return
    console = Console(highlight=False)
    if entries:
        console.print(entry_table(entries))
    else:
        console.print("no entry applies; ask with other words or fewer filters")


def _print_json(records: Iterable[Record]) -> None:
    for record in records:
        typer.echo(record.model_dump_json())
