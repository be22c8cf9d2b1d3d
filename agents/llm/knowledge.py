"""What a model is told of fast kernels: entries of the knowledge base that suit the task and the step, within a budget.

`generator.py` asks before each request and records the ids with the trial. What is asked follows from the traced
reference, the device and the finished trials; what is told is the project's own text, which foreign words only choose.
"""

from collections.abc import Iterator
from contextlib import closing

from everforge.agents.llm.limits import analyses
from everforge.agents.llm.plan import Move
from everforge.model.candidate import Language
from everforge.model.device import DeviceKind, Peaks
from everforge.model.graph import TaskGraph
from everforge.model.knowledge import Bottleneck, FloatFormat, OpClass
from everforge.model.trial import Trial
from everforge.search.disclosure import disclosed
from everforge.search.generator import SearchContext
from everforge.search.knowledge_base import knowledge
from everforge.search.knowledge_index import Excerpt, KnowledgeIndex, KnowledgeQuery

# A tenth of the longest request: about ten entries, three of them with code.
KNOWLEDGE_TOKENS = 2_500
_FAILURE_CHARS = 2_000

# Of an operation's name in ATen, `aten.NAME.overload`: the first kind with a part of the name.
_KINDS: tuple[tuple[OpClass, tuple[str, ...]], ...] = (
    (OpClass.ATTENTION, ("scaled_dot_product", "flash_attention")),
    (OpClass.LOSS, ("_loss", "cross_entropy", "kl_div", "cosine_similarity")),
    (OpClass.SOFTMAX, ("softmax", "logsumexp")),
    (OpClass.NORMALIZATION, ("layer_norm", "group_norm", "batch_norm", "instance_norm", "rms_norm")),
    (OpClass.CONVOLUTION, ("conv",)),
    (OpClass.POOLING, ("pool",)),
    (OpClass.SCAN, ("cumsum", "cumprod", "cummax", "cummin", "logcumsumexp")),
    (OpClass.MATMUL, ("mm", "matmul", "einsum", "mv", "dot")),
    (OpClass.REDUCTION, ("sum", "mean", "amax", "amin", "argmax", "argmin", "var", "std", "prod", "norm")),
)
# Names that are parts of others': maximum, bilinear.
_WHOLE_NAMES = {"linear": OpClass.MATMUL, **dict.fromkeys(("max", "min", "any", "all"), OpClass.REDUCTION)}
_FORMATS = {"float16": FloatFormat.FP16, "bfloat16": FloatFormat.BF16, "float8_e4m3fn": FloatFormat.FP8}
# Below this the host takes longer to launch a few kernels than a GPU to run them: ADR 6.
_SMALL_US = 50.0


def excerpts_for(context: SearchContext, move: Move, languages: tuple[Language, ...]) -> tuple[Excerpt, ...]:
    """The entries to show with the next request, best first."""
    # An index of its own for each request takes 2 ms; one for all would have to be shared between threads.
    with closing(KnowledgeIndex(knowledge())) as index:
        return index.excerpts(query_for(context, move, languages), KNOWLEDGE_TOKENS)


def query_for(context: SearchContext, move: Move, languages: tuple[Language, ...]) -> KnowledgeQuery:
    """What to ask the knowledge base; of held-out variants nothing goes into it."""
    graph = next((facts.graph for facts in context.shown_variants() if isinstance(facts.graph, TaskGraph)), None)
    place = context.facts.environment
    return KnowledgeQuery(
        device=place.device,
        architecture=place.architecture,
        languages=languages,
        op_classes=() if graph is None else op_classes(graph),
        dtypes=_dtypes(context, graph),
        bottlenecks=tuple(dict.fromkeys(_bottlenecks(context, move, graph))),
        text=_failure_text(move) or ("" if graph is None else operation_words(graph)),
    )


def knowledge_section(excerpts: tuple[Excerpt, ...]) -> str:
    """The entries under a heading of their own; empty where there are none."""
    if not excerpts:
        return ""
    head = (
        "## What is known\n\nEntries of a knowledge base that suit this task, by id; advice to weigh, not orders. "
        "Where you follow one, say its id in your strategy."
    )
    return "\n\n".join([head, *(excerpt.text for excerpt in excerpts)])


def op_classes(graph: TaskGraph) -> tuple[OpClass, ...]:
    """The kinds of operations of a reference, each once, in the order met; pointwise only where there is no other."""
    kinds = dict.fromkeys(kind for node in graph.nodes if (kind := _kind_of(node.op)) is not None)
    if OpClass.SOFTMAX in kinds and sum(_kind_of(node.op) is OpClass.MATMUL for node in graph.nodes) >= 2:
        kinds[OpClass.ATTENTION] = None
    return tuple(kinds) or (OpClass.POINTWISE,)


def operation_words(graph: TaskGraph) -> str:
    """The names of a reference's operations as words, each once: gelu, diag and tril have entries of their own."""
    names = [node.op.split(".")[1] for node in graph.nodes if node.op.startswith("aten.")]
    return " ".join(dict.fromkeys(word for name in names for word in name.split("_") if len(word) > 2))


def _kind_of(op: str) -> OpClass | None:
    if not op.startswith("aten."):
        return None
    name = op.split(".")[1]
    if name in _WHOLE_NAMES and not op.endswith(".other"):
        return _WHOLE_NAMES[name]
    return next((kind for kind, parts in _KINDS if any(part in name for part in parts)), None)


def _dtypes(context: SearchContext, graph: TaskGraph | None) -> tuple[FloatFormat, ...]:
    """The precision that the policy asks for, and the half formats that tensors of the reference have."""
    policy = FloatFormat(context.spec.task.precision.value)
    held = [] if graph is None else [meta.dtype for node in graph.nodes for meta in node.outputs]
    return tuple(dict.fromkeys([policy, *(_FORMATS[dtype] for dtype in held if dtype in _FORMATS)]))


def _bottlenecks(context: SearchContext, move: Move, graph: TaskGraph | None) -> Iterator[Bottleneck]:
    """What limits the best candidate, as its analysis says, and what holds up the task: bytes, FLOPs or launches."""
    if move.best is not None:
        yield from _limits(context, move.best)
    if graph is not None and (bound := _bound(graph, context.facts.peaks)) is not None:
        yield bound
    floors = [facts.floor_us for facts in context.shown_variants() if facts.floor_us is not None]
    if floors and max(floors) < _SMALL_US and context.facts.environment.device is not DeviceKind.CPU:
        yield Bottleneck.LAUNCH


def _limits(context: SearchContext, trial: Trial) -> Iterator[Bottleneck]:
    """What limits a candidate on each of the shown variants, and what its analysis recommends to do something about."""
    for analysis in analyses(context, trial):
        limiters = [analysis.limiter, *(each.limiter for each in analysis.recommendations)]
        yield from (limiter.bottleneck for limiter in limiters if limiter.bottleneck is not None)


def _bound(graph: TaskGraph, peaks: Peaks) -> Bottleneck | None:
    """The higher side of the roofline; None where nothing moves."""
    moving_s = graph.bytes / peaks.bandwidth_bytes_per_s
    computing_s = graph.flops / max(peaks.flops_per_s.values()) if peaks.flops_per_s else 0.0
    if max(moving_s, computing_s) == 0.0:
        return None
    return Bottleneck.COMPUTE if computing_s > moving_s else Bottleneck.BANDWIDTH


def _failure_text(move: Move) -> str:
    """What is told of the failure that is to be repaired; empty where there is none."""
    if move.failed is None:
        return ""
    evaluation = disclosed(move.failed).evaluation
    return f"{evaluation.reason} {evaluation.diagnostics or ''}"[:_FAILURE_CHARS]
