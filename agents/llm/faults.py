"""Turns whatever a failed call raised into a ChatFault: retryable or not, billed or not, free of secrets.

LiteLLM maps a refused request, a dropped connection and a broken body all to status 500, so the chain of
causes is read as well; by class names, since the HTTP libraries underneath differ from provider to provider.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from everforge.agents.llm.chat import ChatFault, Usage
from everforge.agents.llm.redact import Redactor
from everforge.agents.llm.retry import retry_after_seconds

# The request never left: nothing can have been billed.
_NOT_SENT = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout", "ClientConnectorError"})
_TIMED_OUT = frozenset({"ReadTimeout", "WriteTimeout", "Timeout", "APITimeoutError", "TimeoutError"})
# 408 request timeout, 409 lock conflict, 425 too early, 429 rate limit; and every 5xx.
_RETRYABLE = frozenset({408, 409, 425, 429})


def fault_of(error: BaseException, lost: Usage, redactor: Redactor, now_s: float) -> ChatFault:
    """The fault behind an exception; `lost` is what is billed if the endpoint had begun to answer."""
    status = _refusing_status(error)
    names = {type(link).__name__ for link in _chain(error)}
    return ChatFault(
        reason=_reason(error, status, names, redactor),
        retryable=status is None or status in _RETRYABLE or status >= 500,
        key_refused=status in (401, 403),
        retry_after_s=retry_after_seconds(_retry_after_header(error), now_s),
        usage=None if status is not None or names & _NOT_SENT else lost,
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _refusing_status(error: BaseException) -> int | None:
    """The HTTP status an endpoint refused with; None where the answer was lost or there was none.

    A 4xx from LiteLLM is a refusal even without an HTTP answer behind it: it refused the request itself.
    """
    status = getattr(error, "status_code", None)
    if not isinstance(status, int):
        return None
    answered = any(type(link).__name__ == "HTTPStatusError" for link in _chain(error))
    refused_unasked = 400 <= status < 500 and status != 408
    return status if answered or refused_unasked else None


def _reason(error: BaseException, status: int | None, names: set[str], redactor: Redactor) -> str:
    said = redactor.error(str(error))
    if status is not None:
        return f"HTTP {status}: {said}"
    if names & _NOT_SENT:
        return f"no connection: {said}"
    if names & _TIMED_OUT:
        return f"no answer in time: {said}"
    return f"answer lost: {said}"


def _retry_after_header(error: BaseException) -> str | None:
    for link in _chain(error):
        headers: Any = getattr(getattr(link, "response", None), "headers", None)
        value = headers.get("retry-after") if isinstance(headers, Mapping) else None
        if isinstance(value, str):
            return value
    return None
