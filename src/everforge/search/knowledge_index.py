"""Finds the entries that suit a question, best first, and as many of them as a budget of tokens holds.

Device, architecture and language decide whether an entry applies at all; operation, number format, bottleneck and
words decide how well. Words are SQLite's full-text search (FTS5, ranked by BM25), in memory: entries are a few hundred,
and an index of them is made in milliseconds. The same question over the same entries gives the same answer.
"""

import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence

from pydantic import Field

from everforge.model.base import Record
from everforge.model.candidate import Language
from everforge.model.device import DeviceKind
from everforge.model.knowledge import Bottleneck, FloatFormat, KnowledgeEntry, OpClass
from everforge.search.knowledge_text import tokens_of, told

# How much each agreement weighs. An entry that names operations or number formats, none of them the task's, is out
# unless words speak for it; the operation that it names first is the one that it is about.
_OPERATION, _OTHER_OPERATION = 2.0, -3.0
_FIRST_OPERATION = 1.5
_FORMAT, _OTHER_FORMAT = 1.0, -3.0
_BOTTLENECK = 2.0
_ARCHITECTURE = 1.0
_DEVICE = 0.5
_WORDS = 3.0

# Words in an id count four times those in an explanation: ids name the subject.
_SEARCH = """
    SELECT id, -bm25(entries, 0.0, 4.0, 2.0, 1.0, 3.0) FROM entries WHERE entries MATCH ? ORDER BY 2 DESC, id
"""
# A compiler's message is thousands of words; the first ones name the error.
_WORDS_ASKED = 64
_WORD = re.compile(r"[a-z0-9_]+")
# Code takes most of an entry's tokens, and the best few entries show what it looks like.
EXAMPLES_SHOWN = 3


class KnowledgeQuery(Record):
    """What is asked for; what is left out is not asked about."""

    device: DeviceKind | None = None
    architecture: str | None = None
    languages: tuple[Language, ...] = Field((), description="Any of these; none is all")
    op_classes: tuple[OpClass, ...] = ()
    dtypes: tuple[FloatFormat, ...] = ()
    bottlenecks: tuple[Bottleneck, ...] = ()
    text: str = ""


class Found(Record):
    """An entry that applies, and how well it suits."""

    entry: KnowledgeEntry
    score: float


class Excerpt(Record):
    """An entry as it is told, within a budget."""

    id: str
    text: str


class KnowledgeIndex:
    """Searches one set of entries with unique ids."""

    def __init__(self, entries: Iterable[KnowledgeEntry]) -> None:
        self._entries = {entry.id: entry for entry in entries}
        self._words = sqlite3.connect(":memory:")
        # Porter's stemmer: reductions, reduce and reducing are one word.
        self._words.execute(
            "CREATE VIRTUAL TABLE entries USING"
            " fts5(id UNINDEXED, name, statement, why, tags, tokenize = 'porter unicode61')"
        )
        self._words.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", map(_row, self._entries.values()))

    def close(self) -> None:
        """Free the index."""
        self._words.close()

    def ranked(self, query: KnowledgeQuery) -> tuple[Found, ...]:
        """Every entry that applies, best first; equals in the order of their ids."""
        matches = self._matches(query.text)
        found = [
            Found(entry=entry, score=round(suits(entry, query) + _WORDS * matches.get(entry.id, 0.0), 6))
            for entry in self._entries.values()
            if applies(entry, query)
        ]
        return tuple(sorted(found, key=lambda each: (-each.score, each.entry.id)))

    def matching(self, query: KnowledgeQuery) -> tuple[Found, ...]:
        """As `ranked`, only entries that hold one of the words at least."""
        matches = self._matches(query.text)
        return tuple(each for each in self.ranked(query) if each.entry.id in matches)

    def excerpts(self, query: KnowledgeQuery, budget_tokens: int) -> tuple[Excerpt, ...]:
        """What suits, best first, told in at most `budget_tokens` together; the best few with their examples."""
        return tuple(_within([each.entry for each in self.ranked(query) if each.score >= 0], budget_tokens))

    def _matches(self, text: str) -> dict[str, float]:
        """Id to how well its words match, from above 0 to 1 for the best; empty where no word is asked or found."""
        words = list(dict.fromkeys(_WORD.findall(text.casefold())))[:_WORDS_ASKED]
        if not words:
            return {}
        # Quoted, a word is a word whatever it would mean in a query.
        rows = self._words.execute(_SEARCH, (" OR ".join(f'"{word}"' for word in words),)).fetchall()
        best = max((score for _, score in rows), default=0.0)
        return {name: score / best if best > 0 else 1.0 for name, score in rows}


def applies(entry: KnowledgeEntry, query: KnowledgeQuery) -> bool:
    """Whether an entry speaks of the device, the architecture and one of the languages asked for."""
    scope = entry.applies_to
    return (
        (query.device is None or not scope.devices or query.device in scope.devices)
        and (query.architecture is None or not scope.architectures or query.architecture in scope.architectures)
        and (not query.languages or not scope.languages or bool(set(query.languages) & set(scope.languages)))
    )


def suits(entry: KnowledgeEntry, query: KnowledgeQuery) -> float:
    """How well an entry that applies suits the question, its words left aside."""
    scope = entry.applies_to
    return sum(
        (
            _agreement(scope.op_classes, query.op_classes, _OPERATION, _OTHER_OPERATION),
            _FIRST_OPERATION if set(scope.op_classes[:1]) & set(query.op_classes) else 0.0,
            _agreement(scope.dtypes, query.dtypes, _FORMAT, _OTHER_FORMAT),
            _agreement(scope.bottlenecks, query.bottlenecks, _BOTTLENECK, 0.0),
            _ARCHITECTURE if query.architecture in scope.architectures else 0.0,
            _DEVICE if query.device in scope.devices else 0.0,
        )
    )


def _agreement(spoken_of: Sequence[str], asked: Sequence[str], agree: float, differ: float) -> float:
    """Nothing where one side is silent."""
    if not spoken_of or not asked:
        return 0.0
    return agree if set(spoken_of) & set(asked) else differ


def _within(entries: Iterable[KnowledgeEntry], budget_tokens: int) -> Iterator[Excerpt]:
    """Entries in their order, each whole, those passed over that no longer fit."""
    left, examples = budget_tokens, EXAMPLES_SHOWN
    for entry in entries:
        forms = (True, False) if entry.example is not None and examples > 0 else (False,)
        for with_example in forms:
            text = told(entry, with_example)
            if tokens_of(text) <= left:
                left -= tokens_of(text)
                examples -= with_example
                yield Excerpt(id=entry.id, text=text)
                break


def _row(entry: KnowledgeEntry) -> tuple[str, str, str, str, str]:
    return entry.id, entry.id.replace("-", " "), entry.statement, entry.why, " ".join(entry.tags)
