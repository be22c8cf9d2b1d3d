"""Who wrote the candidates and how they ended, as a table: `everforge run` and `everforge suite` print it.

Verdicts go down and authors across, because a campaign has few authors and up to ten verdicts: 80 columns hold
three of them side by side, more go below.
"""

from collections.abc import Callable, Iterator, Sequence

from rich.table import Table
from rich.text import Text

from everforge.cli.wording import FAILED_STYLE, VERDICT_STYLES
from everforge.model.tally import DISHONOURABLE, Tally, is_worth_telling
from everforge.model.verdict import Verdict

# Columns that the rows' names take, and that one author takes at most; longer names of models fold.
_LABEL_WIDTH = 16
_AUTHOR_WIDTH = 18


def tally_tables(tallies: Sequence[Tally], width: int) -> Iterator[Table]:
    """Tables no wider than `width`; none where the totals say as much."""
    if not is_worth_telling(tallies):
        return
    per_table = max(1, (width - _LABEL_WIDTH) // (_AUTHOR_WIDTH + 2))
    for first in range(0, len(tallies), per_table):
        yield _table(tallies[first : first + per_table])


def tally_line(tally: Tally) -> str:
    """One author's tally as a line: `openai/gpt-4.1: 8 trials, 2 faster, 1 tampered; 16000 tokens, $0.0704`."""
    parts = [f"{tally.trials} trials", *(f"{count} {verdict}" for verdict, count in _counts(tally))]
    cost = f"; {tally.tokens} tokens, {_dollars(tally)}" if tally.tokens else ""
    return f"{tally.author}: {', '.join(parts)}{cost}"


def _table(tallies: Sequence[Tally]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("candidates by", min_width=_LABEL_WIDTH - 2)
    for tally in tallies:
        table.add_column(Text(tally.author), justify="right", max_width=_AUTHOR_WIDTH, overflow="fold")
    for label, cell, style in _rows(tallies):
        table.add_row(label, *(Text(cell(tally) or "-", style if cell(tally) else "dim") for tally in tallies))
    return table


def _rows(tallies: Sequence[Tally]) -> Iterator[tuple[str, Callable[[Tally], str], str]]:
    yield "trials", lambda tally: str(tally.trials), ""
    for verdict in Verdict:
        if any(tally.trials_by_verdict.get(verdict) for tally in tallies) or verdict in DISHONOURABLE:
            yield _words(verdict), _count_of(verdict), VERDICT_STYLES.get(verdict, FAILED_STYLE)
    if any(tally.remeasured_by_verdict for tally in tallies):
        yield "re-measured", _remeasured, ""
    if any(tally.tokens for tally in tallies):
        yield "tokens", lambda tally: str(tally.tokens) if tally.tokens else "", ""
        yield "cost", lambda tally: _dollars(tally) if tally.tokens else "", ""


def _count_of(verdict: Verdict) -> Callable[[Tally], str]:
    return lambda tally: str(tally.trials_by_verdict.get(verdict) or "")


def _remeasured(tally: Tally) -> str:
    return "\n".join(f"{count} {_words(verdict)}" for verdict, count in tally.remeasured_by_verdict.items())


def _counts(tally: Tally) -> Iterator[tuple[str, int]]:
    """Verdicts of the search and of re-measurements together: how often each was given."""
    return ((_words(verdict), count) for verdict in Verdict if (count := tally.caught(verdict)))


def _dollars(tally: Tally) -> str:
    return "price unknown" if tally.dollars is None else f"${tally.dollars:.4f}"


def _words(verdict: Verdict) -> str:
    return verdict.value.replace("_", " ")
