"""Retrieval: what is told applies, suits, fits the budget, and is the same each time."""

from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everforge.model.candidate import Language
from everforge.model.device import DeviceKind
from everforge.model.knowledge import AppliesTo, Bottleneck, FloatFormat, KnowledgeEntry, OpClass, Source
from everforge.search.knowledge_base import knowledge
from everforge.search.knowledge_index import EXAMPLES_SHOWN, KnowledgeIndex, KnowledgeQuery, applies
from everforge.search.knowledge_text import tokens_of
from everforge.testing.record_strategies import records

# Architectures that entries name, and one that none does.
QUERIES = records(
    KnowledgeQuery,
    architecture=st.none() | st.sampled_from(["sm_80", "sm_90", "xe2", "x86_64", "zen9"]),
    text=st.text(max_size=200) | st.sampled_from(["softmax", '"online" AND NEAR(', "reductions of rows"]),
)
ENTRIES = st.lists(records(KnowledgeEntry), max_size=6, unique_by=lambda entry: entry.id)


def entry(name: str, statement: str = "Do this.", **scope: object) -> KnowledgeEntry:
    source = Source.model_validate({"title": "A page", "link": "https://example.org", "date": "2026-01-01"})
    applies_to = AppliesTo.model_validate(scope)
    return KnowledgeEntry(id=name, applies_to=applies_to, statement=statement, why="Because.", source=source)


def ranked(entries: list[KnowledgeEntry], **query: object) -> list[str]:
    with closing(KnowledgeIndex(entries)) as index:
        return [found.entry.id for found in index.ranked(KnowledgeQuery.model_validate(query))]


@given(query=QUERIES, budget=st.integers(min_value=0, max_value=4000))
@settings(max_examples=100, deadline=None)
def test_budget_is_never_exceeded_and_nothing_is_told_that_does_not_apply(query: KnowledgeQuery, budget: int) -> None:
    with closing(KnowledgeIndex(knowledge())) as index:
        excerpts = index.excerpts(query, budget)
    assert sum(tokens_of(excerpt.text) for excerpt in excerpts) <= budget
    by_id = {each.id: each for each in knowledge()}
    for excerpt in excerpts:
        assert_applies(by_id[excerpt.id], query)
    assert len({excerpt.id for excerpt in excerpts}) == len(excerpts)


def assert_applies(found: KnowledgeEntry, query: KnowledgeQuery) -> None:
    """Said apart from `applies`, which is what is tested."""
    scope = found.applies_to
    assert not scope.devices or query.device in (None, *scope.devices)
    assert not scope.architectures or query.architecture in (None, *scope.architectures)
    assert not (scope.languages and query.languages) or set(scope.languages) & set(query.languages)


@given(entries=ENTRIES, query=QUERIES, order=st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_order_does_not_depend_on_the_order_of_entries(
    entries: list[KnowledgeEntry], query: KnowledgeQuery, order: object
) -> None:
    shuffled = list(entries)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = closing(KnowledgeIndex(entries)), closing(KnowledgeIndex(shuffled))
    with one as index, other as again:
        assert [found.entry.id for found in index.ranked(query)] == [found.entry.id for found in again.ranked(query)]


@given(query=QUERIES)
@settings(max_examples=50, deadline=None)
def test_every_entry_that_applies_is_ranked(query: KnowledgeQuery) -> None:
    with closing(KnowledgeIndex(knowledge())) as index:
        found = {each.entry.id for each in index.ranked(query)}
    assert found == {each.id for each in knowledge() if applies(each, query)}


@given(text=st.text(max_size=300))
@settings(max_examples=100, deadline=None)
def test_any_text_can_be_searched_for(text: str) -> None:
    with closing(KnowledgeIndex(knowledge())) as index:
        index.matching(KnowledgeQuery(text=text))


@pytest.mark.parametrize(
    ("scope", "query"),
    [
        ({"devices": ["cuda"]}, {"device": DeviceKind.XPU}),
        ({"architectures": ["sm_90"]}, {"architecture": "sm_80"}),
        ({"languages": ["triton"]}, {"languages": (Language.CPP, Language.PYTORCH)}),
    ],
    ids=["device", "architecture", "language"],
)
def test_entry_of_another_machine_or_language_is_never_ranked(
    scope: dict[str, object], query: dict[str, object]
) -> None:
    assert ranked([entry("other", **scope), entry("general")], **query) == ["general"]


@pytest.mark.parametrize(
    ("scope", "query"),
    [
        ({"op_classes": ["matmul"]}, {"op_classes": (OpClass.MATMUL,)}),
        ({"dtypes": ["bf16"]}, {"dtypes": (FloatFormat.BF16,)}),
        ({"bottlenecks": ["launch"]}, {"bottlenecks": (Bottleneck.LAUNCH,)}),
        ({"architectures": ["sm_90"]}, {"architecture": "sm_90"}),
        ({"devices": ["cuda"]}, {"device": DeviceKind.CUDA}),
    ],
    ids=["operation", "format", "bottleneck", "architecture", "device"],
)
def test_entry_that_agrees_comes_before_a_general_one(scope: dict[str, object], query: dict[str, object]) -> None:
    assert ranked([entry("a-general-one"), entry("b-fitting-one", **scope)], **query)[0] == "b-fitting-one"


@pytest.mark.parametrize("scope", [{"op_classes": ["scan"]}, {"dtypes": ["fp8"]}], ids=["operation", "format"])
def test_entry_on_other_operations_or_formats_is_ranked_last_and_not_told(scope: dict[str, object]) -> None:
    entries = [entry("another", **scope), entry("general")]
    query = KnowledgeQuery(op_classes=(OpClass.MATMUL,), dtypes=(FloatFormat.BF16,))
    assert ranked(entries, op_classes=("matmul",), dtypes=("bf16",)) == ["general", "another"]
    with closing(KnowledgeIndex(entries)) as index:
        assert [excerpt.id for excerpt in index.excerpts(query, 1000)] == ["general"]


def test_entry_about_an_operation_comes_before_one_that_mentions_it() -> None:
    entries = [entry("a", op_classes=["reduction", "softmax"]), entry("b", op_classes=["softmax", "reduction"])]
    assert ranked(entries, op_classes=("softmax",)) == ["b", "a"]


def test_words_find_inflected_words() -> None:
    entries = [entry("one", "Registers spill here."), entry("other", "Launches cost time.")]
    with closing(KnowledgeIndex(entries)) as index:
        found = index.matching(KnowledgeQuery(text="spilled register"))
    assert [each.entry.id for each in found] == ["one"]


def test_example_is_told_with_the_best_entries_alone() -> None:
    with closing(KnowledgeIndex(knowledge())) as index:
        excerpts = index.excerpts(KnowledgeQuery(), 1_000_000)
    fenced = [excerpt for excerpt in excerpts if "```" in excerpt.text]
    assert len(fenced) == EXAMPLES_SHOWN
    assert len(excerpts) > 50


def test_proof_of_an_example_is_never_told() -> None:
    with closing(KnowledgeIndex(knowledge())) as index:
        assert not [one for one in index.excerpts(KnowledgeQuery(), 1_000_000) if "assert_close" in one.text]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"device": "cuda", "op_classes": ["softmax"], "bottlenecks": ["bandwidth"]}, "softmax-online"),
        (
            {"device": "xpu", "languages": ["triton"], "op_classes": ["matmul"], "text": "grf_mode registers"},
            "xe2-grf-mode",
        ),
        ({"device": "cpu", "languages": ["cpp"], "op_classes": ["reduction"]}, "cpu-several-accumulators"),
        (
            {"device": "cuda", "architecture": "sm_90", "op_classes": ["matmul"], "bottlenecks": ["compute"]},
            "hopper-wgmma-through-dot",
        ),
        ({"device": "cuda", "text": "arange's range must be a power of 2"}, "triton-arange-powers-of-two"),
    ],
    ids=["softmax", "xe2", "cpu", "hopper", "compile-error"],
)
def test_what_an_engineer_would_look_up_is_among_the_first_five(query: dict[str, object], expected: str) -> None:
    assert expected in ranked(list(knowledge()), **query)[:5]
