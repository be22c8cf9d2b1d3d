"""Keeps secrets out of everything that leaves the client: records, logs, exceptions, the prompt itself."""

import re
import urllib.parse
from collections.abc import Iterable

# No provider's key is shorter; a placeholder such as `none` must not blank that word out of every source.
MIN_SECRET_CHARS = 8
ERROR_CHARS_LIMIT = 400
MARK = "[redacted]"

# What a credential looks like when it is not ours: another key quoted by a gateway, a token in a URL.
_CREDENTIALS = re.compile(
    r"\b(?:sk|pk|key|gsk|xai|hf|AIza)[-_][\w\-]{12,}"
    r"|(?i:\bbearer\s+)[^\s\"',]+"
    r"|(?i:\b(?:api[-_]?key|x-api-key|access[-_]?token|authorization)[\"']?\s*[=:]\s*[\"']?(?:bearer|basic)?\s*)[^\s\"'&,}]+"
)


class Redactor:
    """Replaces known secrets by a mark, and in error texts whatever looks like one."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted(
            {form for secret in secrets if len(secret) >= MIN_SECRET_CHARS for form in _forms(secret)},
            key=len,
            reverse=True,
        )

    def text(self, text: str) -> str:
        """The text without the secrets themselves; code and prose are otherwise untouched."""
        for secret in self._secrets:
            text = text.replace(secret, MARK)
        return text

    def error(self, text: str) -> str:
        """One line fit for a log or an exception: no secret, nothing that looks like one, bounded."""
        line = " ".join(_CREDENTIALS.sub(MARK, self.text(text)).split())
        printable = "".join(character if character.isprintable() else "?" for character in line)
        left_out = len(printable) - ERROR_CHARS_LIMIT
        if left_out <= 0:
            return printable
        return f"{printable[:ERROR_CHARS_LIMIT]}… ({left_out} more characters)"


def _forms(secret: str) -> tuple[str, ...]:
    return (secret, urllib.parse.quote(secret, safe=""))
