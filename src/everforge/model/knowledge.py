"""What is known of writing fast kernels, one entry for each fact, with its source and where it applies.

The files in `knowledge/` are lists of these entries. `search/knowledge_base.py` reads them, `search/knowledge_index.py`
finds what suits a task, `agents/llm/prompt.py` quotes it, and a test holds every entry to what it says: examples run,
checks flag what they warn of, and no two entries contradict each other.
"""

import datetime
import re
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import combinations
from typing import Annotated, TypeVar

from pydantic import Field, model_validator

from everforge.model.base import Record
from everforge.model.candidate import Language
from everforge.model.device import DeviceKind
from everforge.model.scalars import ARCHITECTURE

ENTRY_ID = r"^[a-z0-9]+(-[a-z0-9]+)*$"
# A check is a rule of `runners/rules`, by its name there, or the compile-ahead gate.
CHECK = r"^(rule:[a-z-]+|gate:triton)$"
# A page, or a document of this repository that says how it was measured.
_LINK = r"^(https://|docs/)\S+$"
# Longer than the longest statement by half; what takes more is two entries.
_SENTENCES = 700

EntryId = Annotated[str, Field(pattern=ENTRY_ID, max_length=63)]
Architecture = Annotated[str, Field(pattern=ARCHITECTURE, max_length=63)]
T = TypeVar("T")


class OpClass(StrEnum):
    """Kinds of operations that share a way of being made fast."""

    POINTWISE = "pointwise"
    REDUCTION = "reduction"
    NORMALIZATION = "normalization"
    SOFTMAX = "softmax"
    SCAN = "scan"
    MATMUL = "matmul"
    CONVOLUTION = "convolution"
    ATTENTION = "attention"
    POOLING = "pooling"
    LOSS = "loss"


class Bottleneck(StrEnum):
    """What holds a kernel up."""

    BANDWIDTH = "bandwidth"
    COMPUTE = "compute"
    LATENCY = "latency"
    LAUNCH = "launch"
    OCCUPANCY = "occupancy"
    REGISTERS = "registers"
    CACHE = "cache"


class FloatFormat(StrEnum):
    """Number formats that decide which instructions a kernel gets."""

    FP32 = "fp32"
    TF32 = "tf32"
    FP16 = "fp16"
    BF16 = "bf16"
    FP8 = "fp8"


class Runs(StrEnum):
    """How an example is proven by the tests."""

    INTERPRETER = "interpreter"
    COMPILED = "compile-only"
    PYTHON = "python"
    CPP = "cpp"
    NOT = "not"


class AppliesTo(Record):
    """Where an entry holds. An empty list means everywhere."""

    devices: tuple[DeviceKind, ...] = ()
    architectures: tuple[Architecture, ...] = Field((), description="sm_90, xe2, x86_64, …; as an environment says it")
    languages: tuple[Language, ...] = ()
    op_classes: tuple[OpClass, ...] = Field((), description="The one it is most about first")
    dtypes: tuple[FloatFormat, ...] = ()
    bottlenecks: tuple[Bottleneck, ...] = Field((), description="What it helps against")

    def overlaps(self, other: "AppliesTo") -> bool:
        """Whether some kernel on some machine is spoken of by both."""
        return all(_meet(mine, theirs) for mine, theirs in zip(self._scopes(), other._scopes(), strict=True))

    def _scopes(self) -> tuple[tuple[str, ...], ...]:
        """The parts that say what is spoken of; a bottleneck is what an entry is for, not what it is about."""
        return self.devices, self.architectures, self.languages, self.op_classes, self.dtypes


class Source(Record):
    """Where the fact can be read up."""

    title: str = Field(max_length=160)
    link: str = Field(pattern=_LINK, max_length=300, description="https://…, or a document of this repository")
    date: datetime.date = Field(description="Day the source is from; the day the entry was written, where it has none")


class Example(Record):
    """Code that shows the fact, and the proof that it does what is said."""

    language: Language
    runs: Runs = Field(description="How the tests hold it to its word; `not` where it needs a device that is absent")
    before: str | None = Field(None, description="What it replaces, None where there is nothing to compare")
    after: str
    proof: str | None = Field(
        None,
        description="Never shown to a model. `interpreter` and `python`: statements with `before` and `after` as "
        "modules; `compile-only`: a launch of what `after` defines; `cpp`: a main() that returns 0",
    )
    features: tuple[str, ...] = Field(
        (), description="`compile-only`: hardware the machine code must use: wgmma, tma, …"
    )

    @model_validator(mode="after")
    def _is_proven_as_it_says(self) -> "Example":
        if (self.runs is Runs.NOT) != (self.proof is None):
            raise ValueError("an example that runs has a proof, and one that does not has none")
        if self.features and self.runs is not Runs.COMPILED:
            raise ValueError("features are read from machine code: only a compile-only example has them")
        return self


class Effect(Record):
    """What following the entry was measured to give, by its source or by a command of this repository."""

    text: str = Field(max_length=300)
    command: str | None = Field(
        None, description="The command that measures it; None where the entry's source gives it"
    )


class Claim(Record):
    """What an entry says of a subject in a form that can contradict another entry."""

    subject: EntryId
    value: str = Field(max_length=100)


class KnowledgeEntry(Record):
    """One fact about fast kernels."""

    id: EntryId
    applies_to: AppliesTo = AppliesTo()
    statement: str = Field(max_length=_SENTENCES, description="What to do, or what is so")
    why: str = Field(max_length=_SENTENCES)
    source: Source
    example: Example | None = None
    effect: Effect | None = None
    claims: tuple[Claim, ...] = Field((), description="Another entry that applies to the same must not differ")
    check: str | None = Field(
        None, pattern=CHECK, description="What finds a violation before a device is used: rule:NAME or gate:triton"
    )

    @model_validator(mode="after")
    def _shows_what_is_checked(self) -> "KnowledgeEntry":
        if self.check is not None and (self.example is None or self.example.before is None):
            raise ValueError(f"{self.id}: a checked entry needs an example whose `before` the check flags")
        return self

    @property
    def tags(self) -> tuple[str, ...]:
        """The words of where it applies, for a search."""
        scope = self.applies_to
        kinds = (scope.devices, scope.architectures, scope.languages, scope.op_classes, scope.dtypes, scope.bottlenecks)
        return tuple(str(tag) for kind in kinds for tag in kind)


class KnowledgeFile(Record):
    """One file of `knowledge/`: entries on one topic."""

    title: str
    entries: tuple[KnowledgeEntry, ...] = Field(min_length=1)


class Contradiction(Record):
    """Two entries that say different things of one subject where both apply."""

    subject: str
    first: str
    first_says: str
    second: str
    second_says: str


def contradictions(entries: Iterable[KnowledgeEntry]) -> Iterator[Contradiction]:
    """Every pair of claims of overlapping entries on one subject with different values."""
    stated = [(entry, claim) for entry in entries for claim in entry.claims]
    for (one, claim), (other, counter) in combinations(stated, 2):
        differ = claim.subject == counter.subject and _folded(claim.value) != _folded(counter.value)
        if differ and one.applies_to.overlaps(other.applies_to):
            yield Contradiction(
                subject=claim.subject,
                first=one.id,
                first_says=claim.value,
                second=other.id,
                second_says=counter.value,
            )


def repeated_ids(entries: Iterable[KnowledgeEntry]) -> tuple[str, ...]:
    """Ids that more than one entry has."""
    ids = [entry.id for entry in entries]
    return tuple(sorted({each for each in ids if ids.count(each) > 1}))


def _meet(mine: Sequence[T], theirs: Sequence[T]) -> bool:
    return not mine or not theirs or bool(set(mine) & set(theirs))


def _folded(value: str) -> str:
    return re.sub(r"\s+", " ", value).strip().casefold()
