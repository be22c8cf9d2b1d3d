"""The one door to language models: a call through LiteLLM, to any provider or OpenAI-compatible endpoint.

`exchange.py` calls it. LiteLLM is imported here alone, on the first call (two seconds), and kept quiet: no
download of price lists or tokenizers, no `.env` file, no callbacks, no retries of its own, TLS verified.
"""

import contextlib
import logging
import os
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from pydantic import SecretStr

from everforge.agents.llm.chat import ChatFault, ChatReply, ChatTransport, Message, Usage
from everforge.agents.llm.faults import fault_of
from everforge.agents.llm.redact import Redactor
from everforge.clock import Clock
from everforge.errors import UsageError
from everforge.model.campaign import ModelSettings

# 131072 tokens, the longest reply a manifest may ask for, at 8 characters each.
REPLY_CHARS_LIMIT = 1 << 20

# Sent where an endpoint of the user's own needs no key: the OpenAI protocol has no way to send none.
NO_KEY = "none"

_LOGGERS = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy")


@cache
def _litellm() -> Any:
    """LiteLLM, set up before and after its import.

    Raises UsageError where the environment turns TLS verification off.
    """
    if os.environ.get("SSL_VERIFY", "").strip().lower() in ("false", "0", "no", "off"):
        raise UsageError(
            "SSL_VERIFY turns off TLS verification, which would send the API key to anyone: "
            "unset it, and name your own authority in SSL_CERT_FILE"
        )
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # the price list as shipped, not from the network
    os.environ["LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS"] = "True"
    os.environ["LITELLM_MODE"] = "PRODUCTION"  # any other mode reads a .env file into this process
    for name in _LOGGERS:
        logging.getLogger(name).disabled = True  # it logs requests and their headers
    import litellm

    litellm.suppress_debug_info = True
    litellm.disable_hf_tokenizer_download = True
    litellm.drop_params = True  # a temperature for a model that has none is left out, not an error
    return litellm


def provider_of(settings: ModelSettings) -> str:
    """The provider LiteLLM will call; a bare name at an `api_base` is an OpenAI-compatible endpoint.

    Raises UsageError for a name without a provider and without an `api_base`.
    """
    litellm = _litellm()
    try:
        return str(litellm.get_llm_provider(model=settings.model, api_base=settings.api_base)[1])
    except litellm.exceptions.BadRequestError:
        if settings.api_base is not None:
            return "openai"
    raise UsageError(
        f"llm.model {settings.model!r} names no provider LiteLLM knows: write it as provider/model, "
        "such as openai/gpt-4.1, or set llm.apiBase to an OpenAI-compatible endpoint"
    )


def lacks_key(settings: ModelSettings) -> bool:
    """Whether LiteLLM says that the model's provider needs a key and finds none in the environment."""
    found: Mapping[str, Any] = _litellm().validate_environment(model=settings.model)
    return not found["keys_in_environment"] and bool(found["missing_keys"])


def price_table() -> Mapping[str, Mapping[str, Any]]:
    """LiteLLM's price list, as shipped with the installed version."""
    table: Mapping[str, Mapping[str, Any]] = _litellm().model_cost
    return table


class LiteLlmClient:
    """Calls one model; knows its key, and lets it out nowhere."""

    def __init__(
        self,
        settings: ModelSettings,
        key: SecretStr | None,
        redactor: Redactor,
        transport: ChatTransport,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._provider = provider_of(settings)
        self._key = key.get_secret_value() if key is not None else None
        self._redactor = redactor
        self._transport = transport
        self._clock = clock

    def count_tokens(self, messages: tuple[Message, ...]) -> int:
        """Prompt tokens of these messages, by the tokenizer LiteLLM has for the model."""
        return int(_litellm().token_counter(model=self._settings.model, messages=_as_dicts(messages)))

    def complete(self, messages: tuple[Message, ...], max_tokens: int) -> ChatReply | ChatFault:
        """One call, no retry: the reply, or why there is none."""
        prompt_tokens = self.count_tokens(messages)
        received: list[str] = []
        try:
            response = _litellm().completion(**self._request(messages, max_tokens))
            if not self._transport.stream:
                return self._whole(response, prompt_tokens)
            with contextlib.closing(_StreamEnd(response)):
                return self._collected(response, received, prompt_tokens)
        except Exception as error:  # noqa: BLE001 - LiteLLM lets out whatever a parser raised
            lost = self._lost(received, prompt_tokens, max_tokens)
            return fault_of(error, lost, self._redactor, self._clock.now_s())

    def _request(self, messages: tuple[Message, ...], max_tokens: int) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self._settings.model,
            "messages": _as_dicts(messages),
            "custom_llm_provider": self._provider,
            "max_tokens": max_tokens,
            "timeout": self._transport.timeout_s,
            "num_retries": 0,
            "max_retries": 0,
        }
        if self._transport.stream:
            request |= {"stream": True, "stream_options": {"include_usage": True}}
        key = self._key or (NO_KEY if self._settings.api_base else None)
        optional = {
            "api_base": self._settings.api_base,
            "api_key": key,
            "temperature": self._settings.temperature,
        }
        return request | {name: value for name, value in optional.items() if value is not None}

    def _whole(self, response: Any, prompt_tokens: int) -> ChatReply:
        choice = response.choices[0]
        text = choice.message.content or ""
        return self._reply(text, getattr(response, "usage", None), choice.finish_reason, prompt_tokens)

    def _collected(self, chunks: Iterable[Any], received: list[str], prompt_tokens: int) -> ChatReply:
        """The reply of a stream; `received` fills up as it comes, for the books should it break off."""
        deadline_s = self._clock.monotonic_s() + self._transport.timeout_s
        usage, finish_reason, characters = None, None, 0
        for chunk in chunks:
            if self._clock.monotonic_s() > deadline_s:
                raise TimeoutError(f"the stream went on for more than {self._transport.timeout_s:g} s")
            usage = getattr(chunk, "usage", None) or usage
            for choice in chunk.choices:
                received.append(choice.delta.content or "")
                characters += len(received[-1])
                finish_reason = choice.finish_reason or finish_reason
            if characters > REPLY_CHARS_LIMIT:
                break
        return self._reply("".join(received), usage, finish_reason, prompt_tokens)

    def _reply(self, text: str, usage: Any, finish_reason: str | None, prompt_tokens: int) -> ChatReply:
        kept = text[:REPLY_CHARS_LIMIT]
        return ChatReply(
            text=self._redactor.text(_encodable(kept)),
            usage=_usage(usage) or self._counted(kept, prompt_tokens),
            cut_off=finish_reason == "length" or len(text) > REPLY_CHARS_LIMIT,
        )

    def _lost(self, received: list[str], prompt_tokens: int, max_tokens: int) -> Usage:
        """A stream is billed for what came; an answer lost as a whole, at worst for all it may have had."""
        if self._transport.stream:
            return self._counted("".join(received), prompt_tokens)
        return Usage(prompt_tokens=prompt_tokens, completion_tokens=max_tokens)

    def _counted(self, text: str, prompt_tokens: int) -> Usage:
        written = _litellm().token_counter(model=self._settings.model, text=_encodable(text))
        return Usage(prompt_tokens=prompt_tokens, completion_tokens=int(written))


class _StreamEnd:
    """Closes the connection under a stream that is not read to its end; LiteLLM's wrapper has no close."""

    def __init__(self, stream: Any) -> None:
        self._close = getattr(getattr(stream, "completion_stream", None), "close", None)

    def close(self) -> None:
        if callable(self._close):
            self._close()


def _usage(usage: Any) -> Usage | None:
    """The endpoint's own count; None where it gave none (LiteLLM then fills in zeros)."""
    prompt_tokens = getattr(usage, "prompt_tokens", None)
    completion_tokens = getattr(usage, "completion_tokens", None)
    if not prompt_tokens or completion_tokens is None:
        return None
    return Usage(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)


def _encodable(text: str) -> str:
    """The text without lone surrogates, which JSON can carry and no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _as_dicts(messages: tuple[Message, ...]) -> list[dict[str, str]]:
    return [{"role": str(message.role), "content": message.content} for message in messages]
