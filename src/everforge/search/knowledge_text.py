"""An entry of knowledge as text: for a model's request and for the page that people read.

`search/knowledge_index.py` weighs it against a budget; `docs/generate.py` puts the same parts on a page.
"""

from collections.abc import Iterator, Mapping

from everforge.model.candidate import Language
from everforge.model.knowledge import AppliesTo, Effect, Example, KnowledgeEntry, KnowledgeFile, Runs, Source

# Tokenizers make three to four characters of code a token; three, so that a budget is kept rather than nearly kept.
CHARACTERS_PER_TOKEN = 3
FENCE_TAGS = {Language.CPP: "cpp", Language.CUDA: "cuda", Language.SYCL: "cpp"}


def tokens_of(text: str) -> int:
    """Tokens that a text takes at most."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def told(entry: KnowledgeEntry, with_example: bool) -> str:
    """An entry in Markdown, as a model reads it: id, statement, reason, measured effect, source, and code."""
    lines = [f"- [{entry.id}] {entry.statement} Why: {entry.why}"]
    if entry.effect is not None:
        lines.append(f"  Measured: {effect_text(entry.effect)}")
    lines.append(f"  Source: {entry.source.title}, {entry.source.date}.")
    if with_example and entry.example is not None:
        lines += ["", example_text(entry.example)]
    return "\n".join(lines)


def effect_text(effect: Effect) -> str:
    """What was measured, and by which command."""
    return effect.text if effect.command is None else f"{effect.text} (`{effect.command}`)"


def example_text(example: Example) -> str:
    """The code in fences, the worse before the better one."""
    tag = FENCE_TAGS.get(example.language, "python")
    before = "" if example.before is None else f"Instead of\n\n```{tag}\n{example.before.rstrip()}\n```\n\nwrite\n\n"
    return f"{before}```{tag}\n{example.after.rstrip()}\n```"


def scope_text(scope: AppliesTo) -> str:
    """Where an entry applies, in a line."""
    parts = (scope.devices, scope.architectures, scope.languages, scope.op_classes, scope.dtypes)
    where = "; ".join(", ".join(part) for part in parts if part) or "everywhere"
    return f"{where}; against {', '.join(scope.bottlenecks)}" if scope.bottlenecks else where


PROVEN = {
    Runs.INTERPRETER: "run in Triton's interpreter by the tests",
    Runs.COMPILED: "compiled for sm_90 by the tests",
    Runs.PYTHON: "run by the tests",
    Runs.CPP: "built and run by the tests",
    Runs.NOT: "needs a device that the tests do not have",
}


def page_lines(files: Mapping[str, KnowledgeFile]) -> Iterator[str]:
    """Every entry as a page of Markdown in `docs/`, a section for each file."""
    entries = [entry for file in files.values() for entry in file.entries]
    proven = sum(entry.example is not None and entry.example.runs is not Runs.NOT for entry in entries)
    yield "<!-- Written by docs/generate.py from knowledge/; edit the entries there instead. -->"
    yield "# What is known"
    yield ""
    yield (
        f"{len(entries)} entries, {proven} of them with an example that the tests run. A request to a model quotes "
        "those that suit its task; `everforge knowledge search TEXT` finds them, and `everforge knowledge stats` says "
        "what became of the trials that saw them. [The fields of an entry](reference/knowledge.md)."
    )
    for name, file in files.items():
        yield ""
        yield f"## {file.title}"
        yield ""
        yield f"From [`knowledge/{name}.yaml`](../knowledge/{name}.yaml)."
        for entry in file.entries:
            yield from _entry_lines(entry)


def _entry_lines(entry: KnowledgeEntry) -> Iterator[str]:
    yield ""
    yield f"### {entry.id}"
    yield ""
    yield entry.statement
    yield ""
    yield f"*Why:* {entry.why}"
    yield ""
    yield f"- *Applies to:* {scope_text(entry.applies_to)}."
    if entry.effect is not None:
        yield f"- *Measured:* {effect_text(entry.effect)}"
    if entry.check is not None:
        yield f"- *Checked before a device is used:* `{entry.check}`."
    yield f"- *Source:* {source_link(entry.source)}, {entry.source.date}."
    if entry.example is not None:
        yield f"- *Example:* {PROVEN[entry.example.runs]}."
        yield ""
        yield example_text(entry.example)


def source_link(source: Source) -> str:
    """A link as a page in `docs/` writes it."""
    return f"[{source.title}]({source.link.removeprefix('docs/')})"
