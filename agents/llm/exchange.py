"""One conversation with a model under a budget: every call is allowed, made, retried and paid for here.

`generator.py` opens one for each proposal and asks in it once or twice, and once more where ideas are planned first.
"""

from collections.abc import Callable

from everforge.agents.llm.allowance import cost_of, reply_allowance
from everforge.agents.llm.chat import ChatFault, ChatReply, Message, Role, Usage, transcript
from everforge.agents.llm.client import LiteLlmClient
from everforge.agents.llm.pricing import Price
from everforge.agents.llm.retry import RetryPolicy
from everforge.clock import Clock
from everforge.errors import BudgetExceeded, ModelUnavailable
from everforge.model.budget import Budget, Spend
from everforge.model.campaign import ModelSettings
from everforge.model.trial import Conversation

Sleep = Callable[[float], None]


class Exchange:
    """Asks a model, and keeps what was said and what it cost, also when a later call fails."""

    def __init__(
        self,
        client: LiteLlmClient,
        settings: ModelSettings,
        retry: RetryPolicy,
        budget: Budget,
        spent: Spend,
        price: Price | None,
        key_advice: str,
        clock: Clock,
        sleep: Sleep,
        knowledge: tuple[str, ...] = (),
    ) -> None:
        self._client = client
        self._settings = settings
        self._retry = retry
        self._budget = budget
        self._spent = spent
        self._price = price
        self._key_advice = key_advice
        self._clock = clock
        self._sleep = sleep
        self._knowledge = knowledge
        self._started_s = clock.monotonic_s()
        self._used = Usage(prompt_tokens=0, completion_tokens=0)
        self._said: tuple[Message, ...] = ()
        self._answered = ""
        self._earlier: tuple[Message, ...] = ()

    @property
    def spend(self) -> Spend:
        """Tokens and dollars of this exchange; wall time is the campaign's to count."""
        return cost_of(self._used.prompt_tokens, self._used.completion_tokens, self._price)

    def ask(self, messages: tuple[Message, ...]) -> ChatReply:
        """The model's reply, after as many retries as the policy and the budget allow.

        Raises BudgetExceeded before a call that could overspend, ModelUnavailable when the endpoint gave up.
        """
        failures: list[str] = []
        while True:
            answer = self._call(messages)
            if isinstance(answer, ChatReply):
                return answer
            failures.append(answer.reason)
            self._wait_or_give_up(answer, failures)

    def conversation(self) -> Conversation:
        """What was said and what all of it cost; the reply is the last one, all before it is its prompt."""
        return Conversation(
            model=self._settings.model,
            prompt=transcript((*self._earlier, *self._said)),
            reply=self._answered,
            prompt_tokens=self._used.prompt_tokens,
            completion_tokens=self._used.completion_tokens,
            dollars=None if self._price is None else self.spend.dollars,
            seconds=self._elapsed_s(),
            knowledge=self._knowledge,
        )

    def _call(self, messages: tuple[Message, ...]) -> ChatReply | ChatFault:
        prompt_tokens = self._client.count_tokens(messages)
        max_tokens = reply_allowance(
            self._budget, self._spent_by_now(), prompt_tokens, self._settings.max_tokens, self._price
        )
        answer = self._client.complete(messages, max_tokens)
        self._book(answer.usage)
        if isinstance(answer, ChatReply):
            if self._answered and messages[: len(self._said)] != self._said:
                answered = Message(role=Role.ASSISTANT, content=self._answered)
                self._earlier = (*self._earlier, *self._said, answered)
            self._said, self._answered = messages, answer.text
        elif not self._said:
            self._said = messages
        return answer

    def _wait_or_give_up(self, fault: ChatFault, failures: list[str]) -> None:
        delay_s = self._retry.delay_s(len(failures), fault.retry_after_s) if fault.retryable else None
        if delay_s is None:
            raise ModelUnavailable(self._account_of(fault, failures))
        refusal = self._budget.refusal(self._spent_by_now(), Spend(seconds=delay_s))
        if refusal is not None:
            raise BudgetExceeded(f"not waiting {delay_s:g} s for model {self._settings.model}: {refusal}")
        self._sleep(delay_s)

    def _account_of(self, fault: ChatFault, failures: list[str]) -> str:
        place = f" at {self._settings.api_base}" if self._settings.api_base else ""
        asked = "" if fault.retry_after_s is None else f"; it asked to wait {fault.retry_after_s:g} s"
        calls = "1 call" if len(failures) == 1 else f"{len(failures)} calls"
        advice = f"; {self._key_advice}" if fault.key_refused else ""
        reasons = "; ".join(dict.fromkeys(failures))
        return f"model {self._settings.model}{place} gave no answer in {calls}{asked}: {reasons}{advice}"

    def _book(self, usage: Usage | None) -> None:
        if usage is not None:
            self._used = Usage(
                prompt_tokens=self._used.prompt_tokens + usage.prompt_tokens,
                completion_tokens=self._used.completion_tokens + usage.completion_tokens,
            )

    def _spent_by_now(self) -> Spend:
        return self._spent.plus(self.spend).plus(Spend(seconds=self._elapsed_s()))

    def _elapsed_s(self) -> float:
        return self._clock.monotonic_s() - self._started_s
