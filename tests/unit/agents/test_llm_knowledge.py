"""What a model is told of fast kernels: it suits task and device, is bounded, and is recorded with the trial."""

import pytest

from everforge.agents.llm.knowledge import KNOWLEDGE_TOKENS, excerpts_for, knowledge_section, op_classes, query_for
from everforge.agents.llm.plan import asked_move
from everforge.agents.llm.prompt import build_messages
from everforge.model.budget import Spend
from everforge.model.candidate import GeneratorKind, Language
from everforge.model.device import DeviceKind
from everforge.model.graph import GraphNode, TaskGraph, TraceFailure
from everforge.model.knowledge import Bottleneck, FloatFormat, OpClass
from everforge.model.precision import Precision
from everforge.model.trial import Conversation, Purpose, Trial
from everforge.model.verdict import Verdict
from everforge.search.generator import SearchContext
from everforge.search.knowledge_base import knowledge
from everforge.search.knowledge_index import KnowledgeQuery
from everforge.search.knowledge_text import tokens_of
from everforge.testing.samples import campaign_spec, candidate, environment, task_facts, task_spec, trial

TRITON = (Language.TRITON, Language.PYTORCH)


def context(
    *trials: Trial, device: DeviceKind = DeviceKind.CUDA, precision: Precision = Precision.FP32
) -> SearchContext:
    task = task_spec(precision=precision)
    facts = task_facts(task).model_copy(update={"environment": environment(device)})
    return SearchContext(spec=campaign_spec(task=task, device=device), facts=facts, trials=trials, spent=Spend())


def asked(given: SearchContext) -> KnowledgeQuery:
    return query_for(given, asked_move(given), TRITON)


def graph(*operations: str) -> TaskGraph:
    nodes = tuple(GraphNode(id=f"n{number}", op=op) for number, op in enumerate(operations))
    return TaskGraph(variant="prefill", nodes=nodes, results=())


@pytest.mark.parametrize(
    ("operations", "kinds"),
    [
        (["input", "aten.relu.default", "aten.mul.Tensor"], (OpClass.POINTWISE,)),
        (["aten._softmax.default"], (OpClass.SOFTMAX,)),
        (["aten.log_softmax.int", "aten.nll_loss_forward.default"], (OpClass.SOFTMAX, OpClass.LOSS)),
        (
            ["aten.bmm.default", "aten.softmax.int", "aten.bmm.default"],
            (OpClass.MATMUL, OpClass.SOFTMAX, OpClass.ATTENTION),
        ),
        (["aten.addmm.default", "aten.sum.dim_IntList"], (OpClass.MATMUL, OpClass.REDUCTION)),
        (["aten.cumsum.default"], (OpClass.SCAN,)),
        (["aten.max.dim"], (OpClass.REDUCTION,)),
        (["aten.max.other"], (OpClass.POINTWISE,)),
        (["aten.linear.default"], (OpClass.MATMUL,)),
        (["aten.upsample_bilinear2d.vec"], (OpClass.POINTWISE,)),
        (["aten.max_pool2d.default"], (OpClass.POOLING,)),
        (["aten.convolution.default", "aten.native_group_norm.default"], (OpClass.CONVOLUTION, OpClass.NORMALIZATION)),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_kinds_of_operations_follow_from_the_graph(operations: list[str], kinds: tuple[OpClass, ...]) -> None:
    assert op_classes(graph(*operations)) == kinds


def test_query_names_machine_languages_precision_and_bound() -> None:
    query = asked(context(precision=Precision.BF16))
    assert (query.device, query.architecture, query.languages) == (DeviceKind.CUDA, "sm_90", TRITON)
    assert (query.op_classes, query.dtypes) == ((OpClass.SOFTMAX,), (FloatFormat.BF16,))
    assert Bottleneck.BANDWIDTH in query.bottlenecks
    assert query.text.split() == ["softmax"]


def test_task_that_could_not_be_traced_is_asked_for_without_operations() -> None:
    given = context()
    broken = tuple(
        facts.model_copy(update={"graph": TraceFailure(variant=facts.name, reason="a loop")})
        for facts in given.facts.variants
    )
    given = given.model_copy(update={"facts": given.facts.model_copy(update={"variants": broken})})
    assert query_for(given, asked_move(context()), TRITON).op_classes == ()
    assert excerpts_for(given, asked_move(context()), TRITON)


def test_failure_chooses_what_is_told() -> None:
    written = trial(0, verdict=Verdict.COMPILE_ERROR, proposed=candidate("x", generator=GeneratorKind.LLM))
    reason = "arange's range must be a power of 2"
    failed = written.model_copy(update={"evaluation": written.evaluation.model_copy(update={"reason": reason})})
    given = context(failed)
    assert "triton-arange-powers-of-two" in [excerpt.id for excerpt in excerpts_for(given, asked_move(given), TRITON)]


def test_nothing_of_a_failure_on_held_out_shapes_is_searched_for() -> None:
    refuted = trial(1, purpose=Purpose.CHAMPION, verdict=Verdict.INCORRECT)
    evaluation = refuted.evaluation.model_copy(update={"reason": "xylophone at 31337", "diagnostics": "xylophone"})
    given = context(trial(0), refuted.model_copy(update={"evaluation": evaluation}))
    assert "xylophone" not in asked(given).text


@pytest.mark.parametrize("device", DeviceKind)
def test_section_is_bounded_quotes_ids_and_stands_in_the_prompt(device: DeviceKind) -> None:
    given = context(device=device)
    move = asked_move(context())
    excerpts = excerpts_for(given, move, TRITON)
    section = knowledge_section(excerpts)
    assert len(excerpts) >= 5
    assert tokens_of(section) <= KNOWLEDGE_TOKENS + 200
    assert all(f"[{excerpt.id}]" in section for excerpt in excerpts)
    assert section in build_messages(given, move, excerpts)[1].content


def test_no_entry_leaves_no_heading() -> None:
    assert knowledge_section(()) == ""
    assert "What is known" not in build_messages(context(), asked_move(context()))[1].content


def test_held_out_shapes_do_not_change_what_is_told() -> None:
    given = context()
    shown = tuple(facts for facts in given.facts.variants if not facts.held_out)
    alone = given.model_copy(update={"facts": given.facts.model_copy(update={"variants": shown})})
    assert len(shown) < len(given.facts.variants)
    assert asked(alone) == asked(given)


def test_conversation_recorded_before_knowledge_was_shown_still_loads() -> None:
    told = {"model": "m", "prompt": "p", "reply": "r", "dollars": None}
    old = {**told, "prompt_tokens": 1, "completion_tokens": 1, "seconds": 1.0}
    assert Conversation.model_validate(old).knowledge == ()


def test_every_example_told_to_a_model_ends_its_own_fence() -> None:
    fences = [entry.example.after for entry in knowledge() if entry.example is not None]
    assert not [code for code in fences if "```" in code]


def test_launches_that_take_longer_than_the_best_candidate_are_what_is_asked_about() -> None:
    timed = trial(0, speedup=2.0)
    assert Bottleneck.LAUNCH not in asked(context(timed)).bottlenecks
    variants = tuple(
        each.model_copy(update={"launch_us": 40.0 * (each.candidate_us or 0.0)}) for each in timed.evaluation.variants
    )
    waiting = timed.model_copy(update={"evaluation": timed.evaluation.model_copy(update={"variants": variants})})
    assert Bottleneck.LAUNCH in asked(context(waiting)).bottlenecks
