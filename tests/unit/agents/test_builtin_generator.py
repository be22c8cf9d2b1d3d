"""The builtin generator as the campaign sees it: what it proposes first, that it resumes, and when it stops."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everforge.agents.builtin.generator import BuiltinGenerator
from everforge.agents.builtin.tuning import Tried, next_parameters
from everforge.model.budget import Spend
from everforge.model.candidate import Candidate, GeneratorKind, Language
from everforge.model.device import DeviceKind
from everforge.model.graph import GraphNode, Ref, TaskGraph, TensorMeta, TraceFailure
from everforge.model.precision import Precision
from everforge.model.session import TaskFacts
from everforge.model.trial import Purpose, Trial
from everforge.model.verdict import Verdict
from everforge.search.generator import SearchContext
from everforge.testing import samples


def context(
    trials: tuple[Trial, ...] = (), device: DeviceKind = DeviceKind.CPU, facts: TaskFacts | None = None
) -> SearchContext:
    spec = samples.campaign_spec(device=device)
    return SearchContext(spec=spec, facts=facts or samples.task_facts(spec.task, device), trials=trials, spent=Spend())


def with_graph(graph: TaskGraph | TraceFailure) -> TaskFacts:
    facts = samples.task_facts()
    return facts.model_copy(update={"variants": tuple(v.model_copy(update={"graph": graph}) for v in facts.variants)})


def proposed(generator: BuiltinGenerator, asked: SearchContext) -> Candidate:
    proposal = generator.propose(asked)
    assert proposal is not None
    assert proposal.candidate is not None
    return proposal.candidate


def campaign(generator: BuiltinGenerator, count: int, verdict: Verdict = Verdict.FASTER) -> tuple[Trial, ...]:
    """The first trials of a campaign, each a little different in speed."""
    trials: list[Trial] = []
    for number in range(count):
        candidate = proposed(generator, context(tuple(trials)))
        speedup = 1.0 + 0.1 * ((number * 7) % 5)
        trials.append(samples.trial(number, context().spec, verdict, speedup, proposed=candidate))
    return tuple(trials)


def test_cpu_gets_cpp_and_gpus_get_triton() -> None:
    generator = BuiltinGenerator()
    assert generator.kind is GeneratorKind.BUILTIN
    assert proposed(generator, context()).language is Language.CPP
    assert proposed(generator, context(device=DeviceKind.CUDA)).language is Language.TRITON
    assert proposed(generator, context(device=DeviceKind.XPU)).language is Language.TRITON


def test_note_says_what_is_fused() -> None:
    proposal = BuiltinGenerator().propose(context())
    assert proposal is not None
    assert "fuses softmax" in proposal.note


def test_resuming_from_records_proposes_the_same_next() -> None:
    trials = campaign(BuiltinGenerator(seed=3), 9)
    recorded = tuple(Trial.model_validate_json(trial.model_dump_json()) for trial in trials)
    for done in (0, 4, 9):
        first = proposed(BuiltinGenerator(seed=3), context(recorded[:done]))
        assert proposed(BuiltinGenerator(seed=3), context(recorded[:done])) == first
        if done < len(trials):
            assert first == trials[done].candidate


def test_no_source_is_proposed_twice() -> None:
    digests = [trial.candidate.digest for trial in campaign(BuiltinGenerator(), 12)]
    assert len(set(digests)) == len(digests)


def test_kernel_refuted_on_held_out_shapes_counts_as_failed() -> None:
    first, second = campaign(BuiltinGenerator(), 2)
    fast = samples.trial(0, context().spec, speedup=9.0, proposed=first.candidate)
    refuted = samples.trial(2, context().spec, Verdict.INCORRECT, purpose=Purpose.CHAMPION, proposed=first.candidate)
    crashed = samples.trial(0, context().spec, Verdict.CRASH, proposed=first.candidate)
    after = [proposed(BuiltinGenerator(), context(trials)) for trials in ((fast, second, refuted), (crashed, second))]
    assert after[0] == after[1]
    crashed_too = samples.trial(1, context().spec, Verdict.CRASH, proposed=second.candidate)
    assert BuiltinGenerator().propose(context((fast, crashed_too, refuted))) is None
    assert BuiltinGenerator().propose(context((fast, crashed_too))) is not None


def test_source_another_generator_tried_is_passed_over() -> None:
    first = proposed(BuiltinGenerator(), context())
    theirs = first.model_copy(update={"generator": GeneratorKind.USER, "parameters": {}})
    trial = samples.trial(0, context().spec, proposed=theirs)
    assert proposed(BuiltinGenerator(), context((trial,))).digest != first.digest


def test_share_of_trials_is_not_exceeded() -> None:
    generator = BuiltinGenerator(tuning_trials=3)
    trials = campaign(generator, 3)
    assert generator.propose(context(trials)) is None


def test_strategy_that_never_worked_is_given_up() -> None:
    generator = BuiltinGenerator()
    trials = campaign(generator, 2, Verdict.INCORRECT)
    assert generator.propose(context(trials)) is None


def test_reference_that_could_not_be_traced_gets_no_proposal() -> None:
    facts = with_graph(TraceFailure(variant="prefill", reason="data-dependent control flow"))
    assert BuiltinGenerator().propose(context(facts=facts)) is None


def test_plan_without_kernels_gets_no_proposal() -> None:
    graph = samples.task_graph()
    unknown = GraphNode(
        id="softmax", op="aten.sort.default", args=({"node": "x", "index": None},), outputs=graph.nodes[1].outputs
    )
    facts = with_graph(graph.model_copy(update={"nodes": (graph.nodes[0], unknown)}))
    assert BuiltinGenerator().propose(context(facts=facts)) is None


def test_lower_precisions_are_strategies_of_products_on_gpus() -> None:
    from everforge.agents.builtin.planner import plan_graph
    from everforge.agents.builtin.strategies import strategies_for

    graph = samples.task_graph()
    (only,) = strategies_for(plan_graph(graph), graph, DeviceKind.CUDA, Precision.BF16)
    assert only.space["precision"] == ("fp32",)


def linear_softmax() -> TaskGraph:
    def node(name: str, op: str, shape: tuple[int, ...], *args: object, **more: str) -> GraphNode:
        made = TensorMeta(shape=shape, dtype="float32", strides=(shape[1], 1))
        return GraphNode(id=name, op=op, args=args, outputs=(made,), **more)

    def ref(name: str) -> dict[str, object]:
        return {"node": name, "index": None}

    return TaskGraph(
        variant="prefill",
        nodes=(
            node("x", "input", (512, 256), target="x"),
            node("w", "parameter", (128, 256), target="linear.weight"),
            node("linear", "aten.linear.default", (512, 128), ref("x"), ref("w")),
            node("softmax", "aten.softmax.int", (512, 128), ref("linear"), 1),
        ),
        results=(Ref(node="softmax", index=None),),
    )


def proposals_for_bf16(verdict: Verdict, count: int) -> list[Candidate]:
    """What is proposed for a product and its softmax on a GPU, where every candidate is judged alike."""
    spec = samples.campaign_spec(device=DeviceKind.CUDA)
    spec = spec.model_copy(update={"task": spec.task.model_copy(update={"precision": Precision.BF16})})
    facts, trials = with_graph(linear_softmax()), list[Trial]()
    for number in range(count):
        asked = SearchContext(spec=spec, facts=facts, trials=tuple(trials), spent=Spend())
        candidate = proposed(BuiltinGenerator(), asked)
        trials.append(samples.trial(number, spec, verdict, 1.0 + number / 100, proposed=candidate))
    return [trial.candidate for trial in trials]


def test_higher_precisions_wait_until_the_lowest_is_refuted() -> None:
    refuted = [candidate.parameters["precision"] for candidate in proposals_for_bf16(Verdict.INCORRECT, 5)]
    assert refuted == ["bf16", "bf16", "tf32", "tf32", "fp32"]
    correct = {candidate.parameters["precision"] for candidate in proposals_for_bf16(Verdict.SLOWER, 8)}
    assert correct == {"bf16"}


def test_products_are_tried_with_each_kernel_first() -> None:
    first, second, *_ = proposals_for_bf16(Verdict.FASTER, 2)
    assert first.parameters["product_0_kernel"] == "torch"
    assert second.parameters == dict(first.parameters) | {"product_0_kernel": "persistent"}


SPACE = {"unroll": (4, 2, 8), "lanes": (16, 8), "streams": (False, True)}


def test_defaults_come_first() -> None:
    assert next_parameters(SPACE, [], seed=0) == {"unroll": 4, "lanes": 16, "streams": False}


@given(st.integers(0, 1000), st.lists(st.one_of(st.none(), st.floats(-1, 1)), min_size=12, max_size=12))
def test_every_point_is_proposed_once_then_none(seed: int, values: list[float | None]) -> None:
    tried: list[Tried] = []
    for value in values:
        parameters = next_parameters(SPACE, tried, seed)
        assert parameters is not None
        assert parameters not in [attempt.parameters for attempt in tried]
        tried.append(Tried(parameters, value))
    assert next_parameters(SPACE, tried, seed) is None


def test_starts_come_before_the_defaults() -> None:
    starts = ({"unroll": 8, "lanes": 8, "streams": True}, {"unroll": 2, "lanes": 8, "streams": True})
    tried: list[Tried] = []
    for start in starts:
        assert next_parameters(SPACE, tried, 0, starts) == start
        tried.append(Tried(start, 0.1))
    assert next_parameters(SPACE, tried, 0, starts) not in starts


def test_points_of_another_release_do_not_disturb() -> None:
    old = Tried({"block": 64, "unroll": 4}, 0.5)
    assert next_parameters(SPACE, [old], seed=0) == {"unroll": 4, "lanes": 16, "streams": False}


@pytest.mark.parametrize("seed", [0, 1])
def test_proposals_are_deterministic_under_a_seed(seed: int) -> None:
    tried = [Tried({"unroll": 4, "lanes": 16, "streams": False}, 0.3)]
    assert next_parameters(SPACE, tried, seed) == next_parameters(SPACE, tried, seed)
