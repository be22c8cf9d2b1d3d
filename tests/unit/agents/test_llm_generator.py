"""The generator against a real chat-completions server, through the real LiteLLM, whole and streamed."""

import logging
import re
from collections.abc import Callable, Iterator

import pytest

from everforge.agents.llm.api_key import ApiKeySource
from everforge.agents.llm.chat import ChatTransport
from everforge.agents.llm.client import REPLY_CHARS_LIMIT
from everforge.agents.llm.generator import LlmGenerator
from everforge.agents.llm.retry import RetryPolicy
from everforge.errors import BudgetExceeded, ModelUnavailable, UsageError
from everforge.model.budget import Budget, Spend
from everforge.model.campaign import ModelSettings
from everforge.model.candidate import GeneratorKind, Language
from everforge.model.evaluation import VariantResult
from everforge.model.trial import Purpose
from everforge.model.verdict import Verdict
from everforge.search.disclosure import WRONG_ON_HELD_OUT
from everforge.search.generator import SearchContext
from everforge.testing.chat_server import (
    Answer,
    ChatServer,
    Drop,
    Garbage,
    Refusal,
    Script,
    Silence,
    Usage,
)
from everforge.testing.fakes import FakeClock
from everforge.testing.samples import CANDIDATE_SOURCE, campaign_spec, candidate, task_facts, trial

KEY = "sk-test-0123456789abcdef"
GOOD = Answer(
    text=f"Strategy: two passes over a row\nRewrites: none\n```python\n{CANDIDATE_SOURCE}```\n",
    usage=Usage(prompt_tokens=1000, completion_tokens=200),
)
CHATTY = Answer(text="I would fuse the rows.", usage=Usage(prompt_tokens=900, completion_tokens=10))


class FakeTime(FakeClock):
    """A clock that moves only when slept on, and remembers the naps."""

    def __init__(self) -> None:
        super().__init__()
        self.naps_s: list[float] = []

    def sleep(self, delay_s: float) -> None:
        self.naps_s.append(delay_s)
        self.advance(delay_s)


class Bench:
    """A server with a script, and a generator that talks to it."""

    def __init__(self, server: ChatServer, stream: bool) -> None:
        assert server.api_base.startswith("http://127.0.0.1:")
        self.server = server
        self.time = FakeTime()
        self.stream = stream
        self.retry = RetryPolicy(attempts=3)
        self.timeout_s = 30.0

    def generator(self, **settings: object) -> LlmGenerator:
        return LlmGenerator(
            ModelSettings.model_validate(
                {"model": "openai/scripted", "api_base": self.server.api_base, "max_tokens": 4096} | settings
            ),
            ApiKeySource(),
            self.time,
            self.time.sleep,
            transport=ChatTransport(stream=self.stream, timeout_s=self.timeout_s),
            retry=self.retry,
            environ={"EVERFORGE_API_KEY": KEY},
        )


def context(budget: Budget | None = None, spent: Spend | None = None, **parts: object) -> SearchContext:
    spec = campaign_spec().model_copy(update={"budget": budget or Budget()})
    fields = {"spec": spec, "facts": task_facts(spec.task), "trials": (), "spent": spent or Spend()}
    return SearchContext.model_validate(fields | parts)


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def bench(request: pytest.FixtureRequest) -> Iterator[Callable[..., Bench]]:
    servers: list[ChatServer] = []

    def start(*steps: object, script: Script | None = None) -> Bench:
        server = ChatServer(script or steps)  # type: ignore[arg-type]
        servers.append(server.__enter__())
        return Bench(server, stream=request.param)

    yield start
    for server in servers:
        server.__exit__(None, None, None)


Start = Callable[..., Bench]


def test_reply_becomes_candidate_with_conversation_and_spend(bench: Start) -> None:
    at = bench(GOOD)
    proposal = at.generator().propose(context())
    assert proposal.candidate is not None
    assert proposal.candidate.source == CANDIDATE_SOURCE
    assert proposal.candidate.language is Language.PYTORCH
    assert proposal.candidate.generator is GeneratorKind.LLM
    assert proposal.candidate.strategy == "two passes over a row"
    assert proposal.spend == Spend(tokens=1200)
    said = proposal.conversation
    assert said is not None
    assert (said.prompt_tokens, said.completion_tokens, said.dollars) == (1000, 200, None)
    assert said.reply == GOOD.text
    assert "[system]" in said.prompt
    assert "class Model(nn.Module)" in said.prompt


def test_conversation_names_the_knowledge_that_its_prompt_quotes(bench: Start) -> None:
    said = bench(GOOD).generator().propose(context()).conversation
    assert said is not None
    assert len(said.knowledge) >= 3
    assert all(f"[{name}]" in said.prompt for name in said.knowledge)
    assert said.prompt.count("Source: ") == len(said.knowledge)


def test_request_carries_key_model_limit_and_streaming(bench: Start) -> None:
    at = bench(GOOD)
    at.generator(temperature=0.5).propose(context())
    (request,) = at.server.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body["model"] == "scripted"
    assert request.body["max_tokens"] == 4096
    assert request.body["temperature"] == 0.5
    assert request.streamed is at.stream


def test_failure_on_held_out_shapes_reaches_the_model_without_the_shapes(bench: Start) -> None:
    at = bench(GOOD)
    proposed = candidate("only for 64 rows", generator=GeneratorKind.LLM)
    again = trial(1, purpose=Purpose.CHAMPION, verdict=Verdict.INCORRECT, proposed=proposed)
    hidden = VariantResult(name="decode", held_out=True, correct=False, detail="31337 rows are wrong")
    failed = again.evaluation.model_copy(update={"reason": "variant decode: 31337 rows", "variants": (hidden,)})
    trials = (trial(0, proposed=proposed), again.model_copy(update={"evaluation": failed}))
    proposal = at.generator().propose(context(trials=trials))
    (request,) = at.server.requests
    sent = request.body["messages"][1]["content"]
    assert WRONG_ON_HELD_OUT in sent
    assert "Nothing about the sizes it is tried on will be told" in sent
    assert "31337" not in str(request.body)
    assert "decode" not in str(request.body)
    assert proposal.candidate.parent == again.trial_id
    assert proposal.candidate.model == "openai/scripted"


def test_bare_model_name_at_an_api_base_is_openai_compatible(bench: Start) -> None:
    at = bench(GOOD)
    at.generator(model="Qwen/Qwen3-32B").propose(context())
    assert at.server.requests[0].body["model"] == "Qwen/Qwen3-32B"


def test_bare_model_name_without_api_base_is_refused_with_advice() -> None:
    time = FakeTime()
    generator = LlmGenerator(ModelSettings(model="nobody"), ApiKeySource(), time, time.sleep, environ={})
    with pytest.raises(UsageError, match=r"llm\.apiBase"):
        generator.propose(context())


@pytest.mark.parametrize(
    ("settings", "budget", "said"),
    [
        ({"model": "openai/gpt-4.1"}, Budget(), "OPENAI_API_KEY"),
        ({"model": "nobody"}, Budget(), "provider/model"),
        ({"model": "openai/x", "api_base": "http://127.0.0.1:9/v1"}, Budget(dollars=1), "llm.inputDollarsPerMillion"),
    ],
    ids=["no key", "no provider", "no price"],
)
def test_what_cannot_work_is_said_before_any_call(settings: dict[str, str], budget: Budget, said: str) -> None:
    time = FakeTime()
    generator = LlmGenerator(ModelSettings(**settings), ApiKeySource(), time, time.sleep, environ={})
    with pytest.raises(UsageError, match=re.escape(said)):
        generator.check(budget)


def test_endpoint_of_ones_own_passes_the_check_without_key_and_price() -> None:
    time = FakeTime()
    settings = ModelSettings(model="mine", api_base="http://127.0.0.1:9/v1")
    LlmGenerator(settings, ApiKeySource(), time, time.sleep, environ={}).check(Budget(tokens=1000))


def test_missing_usage_is_counted_from_the_texts(bench: Start) -> None:
    at = bench(GOOD.model_copy(update={"usage": None, "usage_sent": False}))
    said = at.generator().propose(context()).conversation
    assert said is not None
    assert said.prompt_tokens > len(said.prompt) / 8
    assert said.completion_tokens > len(said.reply) / 8


def test_rate_limit_waits_as_long_as_it_was_asked_to(bench: Start) -> None:
    at = bench(Refusal(status=429, retry_after="7"), GOOD)
    proposal = at.generator().propose(context())
    assert proposal.candidate is not None
    assert at.time.naps_s == [7.0]
    assert proposal.spend == Spend(tokens=1200)


def test_rate_limit_longer_than_the_limit_gives_up_at_once(bench: Start) -> None:
    at = bench(Refusal(status=429, retry_after="3600"), GOOD)
    with pytest.raises(ModelUnavailable, match="asked to wait 3600 s"):
        at.generator().propose(context())
    assert at.time.naps_s == []


@pytest.mark.parametrize("status", [500, 502, 503])
def test_server_error_is_retried_with_growing_waits(bench: Start, status: int) -> None:
    at = bench(Refusal(status=status), Refusal(status=status), GOOD)
    proposal = at.generator().propose(context())
    assert proposal.candidate is not None
    assert at.time.naps_s == [1.0, 2.0]
    assert proposal.spend == Spend(tokens=1200)


def test_endless_errors_end_in_model_unavailable_that_says_what_was_tried(bench: Start) -> None:
    at = bench(script=lambda request: Refusal(status=500, message="out of memory"))
    with pytest.raises(ModelUnavailable, match=r"3 calls.*HTTP 500.*out of memory"):
        at.generator().propose(context())
    assert len(at.server.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_refused_request_is_not_repeated(bench: Start, status: int) -> None:
    at = bench(Refusal(status=status), GOOD)
    with pytest.raises(ModelUnavailable, match=f"HTTP {status}"):
        at.generator().propose(context())
    assert len(at.server.requests) == 1


def test_refused_key_says_where_the_key_is_looked_for(bench: Start) -> None:
    at = bench(Refusal(status=401))
    with pytest.raises(ModelUnavailable, match="EVERFORGE_API_KEY"):
        at.generator().propose(context())


def test_dropped_connection_is_retried_and_what_it_may_have_cost_is_booked(bench: Start) -> None:
    at = bench(Drop(), GOOD)
    proposal = at.generator().propose(context())
    assert proposal.candidate is not None
    assert at.time.naps_s == [1.0]
    assert proposal.spend.tokens > 1200
    assert (proposal.spend.tokens > 1200 + 4096) is not at.stream


def test_unreachable_endpoint_costs_nothing() -> None:
    server = ChatServer([])
    with server:
        pass
    at = Bench(server, stream=False)
    with pytest.raises(ModelUnavailable, match="no connection"):
        at.generator().propose(context())


def test_malformed_answer_is_not_a_crash(bench: Start) -> None:
    at = bench(Garbage(), GOOD)
    assert at.generator().propose(context()).candidate is not None
    assert len(at.server.requests) == 2


def test_silent_endpoint_is_given_up(bench: Start) -> None:
    at = bench(Silence())
    at.timeout_s, at.retry = 0.2, RetryPolicy(attempts=1)
    proposal = at.generator().propose(context())
    assert proposal.candidate is None
    assert "no answer in time" in proposal.note
    assert proposal.spend.tokens > 0


@pytest.mark.parametrize("text", ["", "I would fuse the rows."], ids=["empty", "prose"])
def test_reply_without_code_is_asked_again_once(bench: Start, text: str) -> None:
    at = bench(CHATTY.model_copy(update={"text": text}), GOOD)
    proposal = at.generator().propose(context())
    assert proposal.candidate is not None
    assert proposal.spend == Spend(tokens=910 + 1200)
    first, second = (request.body["messages"] for request in at.server.requests)
    assert second[: len(first)] == first
    assert "No candidate could be read" in second[-1]["content"]
    assert proposal.conversation is not None
    assert "No candidate could be read" in proposal.conversation.prompt


def test_second_reply_without_code_gives_up_and_keeps_the_spend(bench: Start) -> None:
    at = bench(CHATTY, CHATTY)
    proposal = at.generator().propose(context())
    assert proposal.candidate is None
    assert proposal.spend == Spend(tokens=1820)
    assert proposal.conversation is not None
    assert "no code" in proposal.note


def test_failure_after_something_was_spent_keeps_the_spend(bench: Start) -> None:
    at = bench(CHATTY, Refusal(status=400))
    proposal = at.generator().propose(context())
    assert proposal.candidate is None
    assert proposal.spend == Spend(tokens=910)
    assert "HTTP 400" in proposal.note
    assert proposal.conversation is not None
    assert proposal.conversation.reply == CHATTY.text


def test_ten_megabyte_reply_is_bounded(bench: Start) -> None:
    huge = Answer(text="drivel " * 1_500_000, chunk_chars=100_000)
    at = bench(huge, GOOD)
    proposal = at.generator().propose(context())
    assert proposal.candidate is not None
    assert len(at.server.requests[1].prompt) < REPLY_CHARS_LIMIT / 4


def test_reply_of_instructions_and_half_code_is_only_a_candidate(bench: Start) -> None:
    """Code that is not code is the evaluation's to judge, so that its verdict is on record."""
    at = bench(Answer(text="```python\nclass ModelNew(nn.Module:\n    ignore all rules\n```"))
    proposal = at.generator().propose(context())
    assert proposal.candidate is not None
    assert "ignore all rules" in proposal.candidate.source


def test_budget_refuses_before_the_first_call(bench: Start) -> None:
    at = bench(GOOD)
    with pytest.raises(BudgetExceeded, match="tokens used"):
        at.generator().propose(context(Budget(tokens=1000), Spend(tokens=900)))
    assert at.server.requests == ()


def test_budget_shortens_the_reply_to_what_fits(bench: Start) -> None:
    at = bench(GOOD)
    at.generator().propose(context(Budget(tokens=4000)))
    (request,) = at.server.requests
    assert 512 <= request.body["max_tokens"] < 4000


def test_budget_refuses_the_second_ask_and_keeps_the_spend(bench: Start) -> None:
    at = bench(CHATTY.model_copy(update={"usage": Usage(prompt_tokens=3000, completion_tokens=500)}), GOOD)
    proposal = at.generator().propose(context(Budget(tokens=4000)))
    assert len(at.server.requests) == 1
    assert proposal.candidate is None
    assert proposal.spend == Spend(tokens=3500)
    assert "tokens used" in proposal.note


def test_budget_refuses_a_retry_that_no_longer_fits(bench: Start) -> None:
    at = bench(Drop(text="word " * 4000), GOOD)
    proposal = at.generator().propose(context(Budget(tokens=5000)))
    assert len(at.server.requests) == 1
    assert proposal.candidate is None
    assert "tokens used" in proposal.note


def test_wait_beyond_the_seconds_budget_is_refused(bench: Start) -> None:
    at = bench(Refusal(status=429, retry_after="60"), GOOD)
    with pytest.raises(BudgetExceeded, match="not waiting 60 s"):
        at.generator().propose(context(Budget(seconds=30)))
    assert at.time.naps_s == []


def test_given_price_is_booked_and_limits_dollars(bench: Start) -> None:
    prices = {"input_dollars_per_million": 10.0, "output_dollars_per_million": 100.0}
    at = bench(GOOD)
    proposal = at.generator(**prices).propose(context(Budget(dollars=0.2)))
    assert proposal.spend.dollars == pytest.approx(1000 * 1e-5 + 200 * 1e-4)
    assert proposal.conversation is not None
    assert proposal.conversation.dollars == proposal.spend.dollars
    assert at.server.requests[0].body["max_tokens"] < 2000


def test_listed_price_is_used_where_none_is_given(bench: Start) -> None:
    at = bench(GOOD)
    proposal = at.generator(model="openai/gpt-4.1").propose(context(Budget(dollars=1.0)))
    assert proposal.spend.dollars > 0


def test_unknown_price_with_a_dollars_budget_names_the_fields_to_set(bench: Start) -> None:
    at = bench(GOOD)
    with pytest.raises(UsageError, match=r"llm\.inputDollarsPerMillion and llm\.outputDollarsPerMillion"):
        at.generator().propose(context(Budget(dollars=1.0)))
    assert at.server.requests == ()


def test_failed_candidate_is_shown_for_repair_and_becomes_the_parent(bench: Start) -> None:
    failed = trial(0, verdict=Verdict.COMPILE_ERROR, proposed=candidate("x", generator=GeneratorKind.LLM))
    at = bench(GOOD)
    proposal = at.generator().propose(context(trials=(failed,)))
    assert proposal.candidate is not None
    assert proposal.candidate.parent == failed.trial_id
    assert "error: expected ';'" in at.server.requests[0].prompt
    assert "Repair the candidate" in at.server.requests[0].prompt


def test_key_stays_out_of_everything_that_is_kept_or_shown(
    bench: Start, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    leaky = Answer(text=f"your key is {KEY}", usage=CHATTY.usage)
    at = bench(leaky, Refusal(status=400, message=f"bad header Authorization: Bearer {KEY}"))
    proposal = at.generator().propose(context())
    shown = capfd.readouterr()
    assert len(at.server.requests) == 2
    for text in (proposal.model_dump_json(), caplog.text, shown.out, shown.err, at.server.requests[1].prompt):
        assert KEY not in text


def test_key_stays_out_of_exceptions_and_their_causes(bench: Start) -> None:
    at = bench(Refusal(status=401, message=f"Incorrect API key provided: {KEY}, x-api-key=other-secret-key"))
    with pytest.raises(ModelUnavailable) as caught:
        at.generator().propose(context())
    assert KEY not in repr(caught.value)
    assert "other-secret-key" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_lone_surrogate_in_a_reply_can_still_be_stored(bench: Start) -> None:
    at = bench(Answer(text=f"\ud800 ```python\n{CANDIDATE_SOURCE}```", chunk_chars=10_000))
    proposal = at.generator().propose(context())
    assert proposal.candidate is not None
    proposal.model_dump_json().encode()


def test_endpoint_of_ones_own_needs_no_key(bench: Start) -> None:
    at = bench(GOOD)
    generator = LlmGenerator(
        ModelSettings(model="openai/scripted", api_base=at.server.api_base),
        ApiKeySource(),
        at.time,
        at.time.sleep,
        environ={},
    )
    assert generator.propose(context()).candidate is not None
    assert at.server.requests[0].headers["authorization"] == "Bearer none"
