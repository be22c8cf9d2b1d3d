"""The generator that asks a language model, one candidate at a time; `everforge run` builds it for `llm`.

It keeps no state between proposals: what it asks next follows from the finished trials, so a killed campaign
resumes by asking again. Whatever was spent comes back in the Proposal, also when no candidate does.
"""

import os
from collections.abc import Mapping

from everforge.agents.llm.api_key import ApiKeySource, ambient_secrets
from everforge.agents.llm.chat import ChatReply, ChatTransport, Message
from everforge.agents.llm.client import LiteLlmClient, lacks_key, price_table, provider_of
from everforge.agents.llm.exchange import Exchange, Sleep
from everforge.agents.llm.ideas import ideas_in, planning_messages
from everforge.agents.llm.knowledge import excerpts_for
from everforge.agents.llm.parse import declaration, extract
from everforge.agents.llm.plan import Move, asked_move
from everforge.agents.llm.pricing import price_of
from everforge.agents.llm.prompt import ask_again, build_messages, languages
from everforge.agents.llm.redact import Redactor
from everforge.agents.llm.retry import RetryPolicy
from everforge.clock import Clock
from everforge.errors import BudgetExceeded, ModelUnavailable, UsageError
from everforge.model.budget import Budget, Spend
from everforge.model.campaign import ModelSettings
from everforge.model.candidate import Candidate, GeneratorKind, language_of
from everforge.model.lineage import Aim
from everforge.search.generator import Proposal, SearchContext

# A model that was told twice what is missing rarely finds it the third time, and every call costs.
ASKED_AT_MOST = 2


class LlmGenerator:
    """Proposes what a language model writes, within the campaign's budget."""

    def __init__(
        self,
        settings: ModelSettings,
        key: ApiKeySource,
        clock: Clock,
        sleep: Sleep,
        *,
        transport: ChatTransport | None = None,
        retry: RetryPolicy | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._settings = settings
        self._key = key
        self._clock = clock
        self._sleep = sleep
        self._transport = transport or ChatTransport()
        self._retry = retry or RetryPolicy()
        self._environ = os.environ if environ is None else environ

    @property
    def kind(self) -> GeneratorKind:
        """Who this is, for the record."""
        return GeneratorKind.LLM

    def check(self, budget: Budget) -> None:
        """Say before a campaign begins what could not work; makes no call.

        Raises UsageError for an unknown provider, a key that is missing or cannot be read, or a price that a
        dollars budget needs and nobody knows.
        """
        provider = provider_of(self._settings)
        key = self._key.read(provider, self._environ)
        if key is None and self._settings.api_base is None and lacks_key(self._settings):
            raise UsageError(f"model {self._settings.model} needs an API key: {self._key.advice(provider)}")
        price_of(self._settings, price_table(), budget)

    def propose(self, context: SearchContext) -> Proposal:
        """Ask for what the campaign's policy wants next; re-ask once if the reply holds no candidate.

        Where that is to plan, the model names ideas first, in a call of its own, and then codes the first of them.

        Raises UsageError for settings that cannot work (unknown provider or price, unreadable key), and, as
        long as nothing has been spent, BudgetExceeded and ModelUnavailable. Later these two end up in the note
        of a Proposal without a candidate, so that the spend is not lost.
        """
        move = asked_move(context)
        excerpts = excerpts_for(context, move, languages(context.facts.environment))
        exchange = self._open(context, tuple(excerpt.id for excerpt in excerpts))
        try:
            if move.aim is Aim.PLAN:
                reply = exchange.ask(planning_messages(context, move, excerpts))
                move = move.model_copy(update={"ideas": ideas_in(reply.text, move.plan.known)})
            return self._ask(exchange, build_messages(context, move, excerpts), move)
        except (BudgetExceeded, ModelUnavailable) as refusal:
            if exchange.spend == Spend():
                raise
            return _without_candidate(exchange, str(refusal))

    def _open(self, context: SearchContext, knowledge: tuple[str, ...]) -> Exchange:
        provider = provider_of(self._settings)
        key = self._key.read(provider, self._environ)
        known = [] if key is None else [key.get_secret_value()]
        redactor = Redactor([*known, *ambient_secrets(self._environ)])
        return Exchange(
            client=LiteLlmClient(self._settings, key, redactor, self._transport, self._clock),
            settings=self._settings,
            retry=self._retry,
            budget=context.spec.budget,
            spent=context.spent,
            price=price_of(self._settings, price_table(), context.spec.budget),
            key_advice=self._key.advice(provider),
            clock=self._clock,
            sleep=self._sleep,
            knowledge=knowledge,
        )

    def _ask(self, exchange: Exchange, messages: tuple[Message, ...], move: Move) -> Proposal:
        reasons: list[str] = []
        while len(reasons) < ASKED_AT_MOST:
            reply = exchange.ask(messages)
            found = extract(reply.text, reply.cut_off)
            if found.source is not None:
                return Proposal(
                    candidate=_candidate(found.source, reply, move, self._settings.model),
                    conversation=exchange.conversation(),
                    spend=exchange.spend,
                )
            reasons.append(found.reason or "")
            messages = ask_again(messages, reply.text, reasons[-1])
        return _without_candidate(exchange, f"asked for code in vain: {'; then '.join(reasons)}")


def _candidate(source: str, reply: ChatReply, move: Move, model: str) -> Candidate:
    said = declaration(reply.text)
    return Candidate(
        source=source,
        language=language_of(source),
        generator=GeneratorKind.LLM,
        model=model,
        strategy=said.strategy or move.aim,
        rewrites=said.rewrites,
        parent=move.plan.parent,
        lineage=move.lineage,
    )


def _without_candidate(exchange: Exchange, note: str) -> Proposal:
    return Proposal(candidate=None, conversation=exchange.conversation(), spend=exchange.spend, note=note)
