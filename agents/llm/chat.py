"""The words of a chat with a model: messages, replies, faults; `client.py` makes them, `exchange.py` acts."""

from enum import StrEnum

from pydantic import Field

from everforge.model.base import Record


class Role(StrEnum):
    """Who speaks."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class Message(Record):
    """One turn."""

    role: Role
    content: str


class Usage(Record):
    """Tokens of one call."""

    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)

    @property
    def total(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens


class ChatReply(Record):
    """What the model answered; secrets redacted, text bounded."""

    text: str
    usage: Usage
    cut_off: bool = Field(False, description="Ended because it was too long, not because it was done")


class ChatFault(Record):
    """A call without an answer."""

    reason: str = Field(description="One line, free of secrets")
    retryable: bool
    key_refused: bool = Field(False, description="401 or 403: the endpoint does not know the key")
    retry_after_s: float | None = Field(None, description="How long the endpoint asked to wait")
    usage: Usage | None = Field(
        None, description="What may have been billed although the answer was lost; None if surely nothing"
    )


class ChatTransport(Record):
    """How calls are made."""

    stream: bool = Field(False, description="Server-sent events; survives gateways that cut idle connections")
    timeout_s: float = Field(
        600.0, gt=0, description="Longest silence, and longest stream: 8k tokens at 20 a second take 410 s"
    )


def transcript(messages: tuple[Message, ...]) -> str:
    """The messages as one text, as a Conversation keeps them."""
    return "\n\n".join(f"[{message.role}]\n{message.content}" for message in messages)
