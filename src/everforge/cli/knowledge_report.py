"""Tables of `everforge knowledge`: the entries, one entry whole, and what entries were worth."""

import textwrap
from collections.abc import Iterable, Iterator

from rich.box import SIMPLE
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from everforge.cli.wording import FAILED_STYLE, VERDICT_STYLES, interval_text, ratio_text
from everforge.model.knowledge import Example, KnowledgeEntry
from everforge.search.knowledge_text import FENCE_TAGS, PROVEN, effect_text, scope_text
from everforge.search.knowledge_worth import EntryWorth

# Of a statement, what a row of the list has room for: its first sentence, or as much of it.
_SUMMARY_CHARS = 150


def entry_table(entries: Iterable[KnowledgeEntry]) -> Table:
    """Entries by id, what they say in short and below it where they apply."""
    table = Table(header_style="bold", box=SIMPLE)
    table.add_column("id", no_wrap=True)
    table.add_column("what it says", overflow="fold")
    for entry in entries:
        what = Text.assemble(summary(entry.statement), "\n", (scope_text(entry.applies_to), "dim"))
        table.add_row(Text(entry.id), what)
    return table


def summary(statement: str) -> str:
    """The first sentence, shortened where it is long."""
    first = statement.split(". ", 1)[0].removesuffix(".")
    return textwrap.shorten(first, _SUMMARY_CHARS, placeholder=" …")


def entry_view(entry: KnowledgeEntry) -> RenderableType:
    """One entry with all that belongs to it."""
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    for label, value in _facts(entry):
        facts.add_row(Text(label, "dim"), Text(value))
    parts: list[RenderableType] = [Text(entry.id, "bold"), facts]
    if entry.example is not None:
        parts += _code(entry.example)
    return Group(*parts)


def _facts(entry: KnowledgeEntry) -> Iterator[tuple[str, str]]:
    yield "what", entry.statement
    yield "why", entry.why
    yield "applies to", scope_text(entry.applies_to)
    if entry.effect is not None:
        yield "measured", effect_text(entry.effect)
    for claim in entry.claims:
        yield "claims", f"{claim.subject}: {claim.value}"
    if entry.check is not None:
        yield "checked by", entry.check
    yield "source", f"{entry.source.title}, {entry.source.date}\n{entry.source.link}"
    if entry.example is not None:
        yield "example", PROVEN[entry.example.runs]


def _code(example: Example) -> Iterator[RenderableType]:
    tag = FENCE_TAGS.get(example.language, "python")
    for label, code in (("instead of", example.before), ("write", example.after)):
        if code is not None:
            if example.before is not None:
                yield Text(label, "dim")
            yield Padding(Syntax(code.rstrip(), tag, background_color="default", word_wrap=True), (1, 0, 1, 2))


def worth_table(rows: Iterable[EntryWorth]) -> Table:
    """What was recorded of entries: how often shown, how trials ended, and how much faster beside their peers."""
    table = Table(header_style="bold", box=SIMPLE)
    table.add_column("entry", overflow="fold")
    table.add_column("shown", justify="right")
    table.add_column("verdicts", overflow="fold")
    table.add_column("median", justify="right", no_wrap=True)
    table.add_column("beside peers", justify="right")
    for row in rows:
        table.add_row(
            Text(row.id), str(row.shown), _verdicts(row), ratio_text(row.median_speedup), Text(beside_peers(row))
        )
    return table


def _verdicts(row: EntryWorth) -> Text:
    counts = [
        Text(f"{count} {verdict}", VERDICT_STYLES.get(verdict, FAILED_STYLE)) for verdict, count in row.verdicts.items()
    ]
    return Text(", ").join(counts) if counts else Text("-")


def beside_peers(row: EntryWorth) -> str:
    """The ratio with its interval, or why there is none."""
    if row.ratio is not None:
        return f"{interval_text(row.ratio)}\n{row.compared} against {row.compared_with}"
    return f"too few: {row.compared} against {row.compared_with}"
