"""An entry of knowledge as text: for a model's request and for the page that people read.

`search/knowledge_index.py` weighs it against a budget; `docs/generate.py` puts the same parts on a page.
"""

from everforge.model.candidate import Language
from everforge.model.knowledge import AppliesTo, Effect, Example, KnowledgeEntry

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
