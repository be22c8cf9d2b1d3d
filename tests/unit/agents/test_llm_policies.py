"""The generator under each search policy: what is asked follows the policy's plan, and the candidate remembers it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everforge.agents.llm.api_key import ApiKeySource
from everforge.agents.llm.generator import LlmGenerator
from everforge.agents.llm.ideas import IDEA_CHARS_LIMIT, IDEAS_AT_MOST, ideas_in
from everforge.agents.llm.plan import asked_move
from everforge.agents.llm.prompt import PROMPT_CHARS_LIMIT, build_messages
from everforge.model.budget import Budget, Spend
from everforge.model.campaign import ModelSettings
from everforge.model.candidate import Candidate, GeneratorKind, Language
from everforge.model.lineage import Aim
from everforge.model.search_settings import PolicyKind, SearchSettings
from everforge.model.trial import Trial
from everforge.model.verdict import Verdict
from everforge.search.generator import Proposal, SearchContext
from everforge.testing.chat_server import Answer, ChatServer, Usage
from everforge.testing.fakes import FakeClock
from everforge.testing.samples import CANDIDATE_SOURCE, campaign_spec, candidate, task_facts, trial

IDEAS = Answer(
    text="Idea: keep a running maximum, so that a row is read once\n"
    "2. **Idea**: two rows a program\n"
    "Idea: cache hints\n",
    usage=Usage(prompt_tokens=500, completion_tokens=50),
)
CODE = Answer(
    text=f"Strategy: running maximum\nRewrites: none\n```python\n{CANDIDATE_SOURCE}```\n",
    usage=Usage(prompt_tokens=1000, completion_tokens=200),
)
NOTHING = Answer(text="Let me think about it.", usage=Usage(prompt_tokens=500, completion_tokens=5))


def context(policy: PolicyKind, *trials: Trial, budget: Budget | None = None) -> SearchContext:
    search = SearchSettings(policy=policy, seed=3)
    spec = campaign_spec().model_copy(update={"search": search, "budget": budget or Budget()})
    return SearchContext(spec=spec, facts=task_facts(spec.task), trials=trials, spent=Spend())


def proposed(server: ChatServer, given: SearchContext) -> Proposal:
    clock = FakeClock()
    settings = ModelSettings(model="openai/scripted", api_base=server.api_base, max_tokens=4096)
    environ = {"EVERFORGE_API_KEY": "sk-test-0123456789abcdef"}
    return LlmGenerator(settings, ApiKeySource(), clock, clock.advance, environ=environ).propose(given)


def told(server: ChatServer, number: int) -> str:
    """All of a request's text."""
    return "\n".join(message["content"] for message in server.requests[number].body["messages"])


def by_llm(number: int, source: str, verdict: Verdict = Verdict.FASTER, speedup: float = 1.5) -> Trial:
    written = Candidate(source=source, language=Language.TRITON, generator=GeneratorKind.LLM)
    return trial(number, verdict=verdict, speedup=speedup, proposed=written)


def test_planning_is_a_call_of_its_own_and_its_first_idea_is_coded() -> None:
    with ChatServer((IDEAS, CODE)) as server:
        proposal = proposed(server, context(PolicyKind.TREE))
        assert "Name ideas for what to try next for a first candidate." in told(server, 0)
        assert "yet: keep a running maximum, so that a row is read once" in told(server, 1)
    assert proposal.candidate is not None
    lineage = proposal.candidate.lineage
    assert lineage is not None
    assert (lineage.aim, lineage.strategy, lineage.idea) == (
        Aim.PLAN,
        "0.0",
        "keep a running maximum, so that a row is read once",
    )
    assert lineage.planned == ("two rows a program", "cache hints")
    assert proposal.spend == Spend(tokens=1750)


def test_conversation_of_a_planning_holds_both_calls() -> None:
    with ChatServer((IDEAS, CODE)) as server:
        said = proposed(server, context(PolicyKind.TREE)).conversation
    assert said is not None
    assert said.reply == CODE.text
    assert IDEAS.text.strip() in said.prompt
    assert said.prompt.count("[system]") == 2


def test_planned_idea_that_was_not_coded_yet_is_asked_for_next() -> None:
    with ChatServer((IDEAS, CODE, CODE)) as server:
        first = proposed(server, context(PolicyKind.TREE)).candidate
        assert first is not None
        broken = trial(0, verdict=Verdict.COMPILE_ERROR, proposed=first)
        second = proposed(server, context(PolicyKind.TREE, broken)).candidate
        assert "The idea to carry out, " in told(server, 2)
    assert second is not None
    assert second.lineage is not None
    assert second.lineage.strategy in ("0.1", "0.2")
    assert second.lineage.idea in ("two rows a program", "cache hints")


def test_planning_that_names_no_idea_still_leads_to_a_candidate() -> None:
    with ChatServer((NOTHING, CODE)) as server:
        proposal = proposed(server, context(PolicyKind.TREE))
    assert proposal.candidate is not None
    assert proposal.candidate.lineage is not None
    assert (proposal.candidate.lineage.idea, proposal.candidate.lineage.planned) == (None, ())


def test_budget_that_ends_between_planning_and_coding_keeps_what_was_spent() -> None:
    with ChatServer((IDEAS,)) as server:
        proposal = proposed(server, context(PolicyKind.TREE, budget=Budget(tokens=4000)))
    assert proposal.candidate is None
    assert proposal.spend == Spend(tokens=550)
    assert "tokens" in proposal.note


def test_archive_shows_other_ways_beside_the_parent() -> None:
    fast = by_llm(0, "# fast\n@triton.jit\ndef k(x): tl.arange(0, 4)\n", speedup=3.0)
    other = by_llm(1, "# other\n@triton.jit\ndef k(x): tl.atomic_add(x, 1)\n", Verdict.SLOWER, 0.8)
    given = context(PolicyKind.MAP_ELITES, fast, other)
    move = asked_move(given)
    assert {move.plan.parent, *move.plan.inspirations} == {fast.trial_id, other.trial_id}
    prompt = build_messages(given, move)[1].content
    assert ("The best candidate so far" in prompt) is (move.plan.parent == fast.trial_id)
    assert ("A candidate to build on, not the fastest so far" in prompt) is (move.plan.parent == other.trial_id)
    assert "Other candidates that work, to take ideas from" in prompt
    assert "# fast" in prompt
    assert "# other" in prompt


@pytest.mark.parametrize("policy", PolicyKind)
def test_candidate_remembers_the_ask_it_answers(policy: PolicyKind) -> None:
    given = context(policy, trial(0), by_llm(1, "broken", Verdict.INCORRECT))
    with ChatServer((CODE,) if policy is not PolicyKind.TREE else (IDEAS, CODE)) as server:
        written = proposed(server, given).candidate
    assert written is not None
    assert written.lineage is not None
    plan = asked_move(given).plan
    assert (written.lineage.policy, written.lineage.number, written.parent) == (policy, 0, plan.parent)
    assert written.lineage.reason == plan.reason


@pytest.mark.parametrize("policy", PolicyKind)
def test_prompt_stays_bounded_whatever_the_policy_shows(policy: PolicyKind) -> None:
    trials = tuple(
        trial(
            number,
            speedup=1 + number / 10,
            proposed=candidate(f"{number}" + "y" * 300_000, generator=GeneratorKind.LLM),
        )
        for number in range(4)
    )
    given = context(policy, *trials)
    assert sum(len(message.content) for message in build_messages(given, asked_move(given))) < PROMPT_CHARS_LIMIT


def test_ideas_are_read_from_lists_of_any_form() -> None:
    reply = "<think>Idea: no</think>\n- idea 1: one\n* **Idea 2:** two\n3) Idea: three\nno idea: here\nIDEA: one\n"
    assert ideas_in(reply) == ("one", "two", "three")


def test_idea_that_is_known_already_is_not_planned_again() -> None:
    assert ideas_in("Idea: Split the rows\nIdea: tiles\n", known=("split the rows",)) == ("tiles",)


@given(st.text(max_size=2000))
def test_any_reply_gives_few_short_ideas(reply: str) -> None:
    found = ideas_in(reply + "\nIdea: " + reply)
    assert len(found) <= IDEAS_AT_MOST
    assert all(0 < len(idea) <= IDEA_CHARS_LIMIT and "\n" not in idea for idea in found)
