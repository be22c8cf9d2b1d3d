"""Where the model's API key comes from; the key itself is read late and handed to the client alone.

`generator.py` reads it for each proposal, so that a key replaced on disk (a rotated Secret) is picked up.
"""

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, SecretStr

from everforge.errors import UsageError
from everforge.model.base import Record

_CREDENTIAL_ENDINGS = ("_KEY", "_TOKEN", "_SECRET", "_PASSWORD", "_CREDENTIALS")
# Shorter values are words such as `production`, which may stand in any source.
_CREDENTIAL_CHARS = 16


class ApiKeySource(Record):
    """Names of the places a key may be; never the key.

    Looked up in this order: the file, the variable, the provider's own variable (`OPENAI_API_KEY`, …).
    """

    file: Path | None = Field(None, description="File that holds the key and nothing else: a mounted Secret")
    variable: str = Field("EVERFORGE_API_KEY", description="Environment variable, before the provider's own")

    def read(self, provider: str, environ: Mapping[str, str]) -> SecretStr | None:
        """The key for a provider, None if there is none.

        Raises UsageError for a file that cannot be read or a text that cannot be a key; never quotes it.
        """
        if self.file is not None:
            return _checked(_text_of(self.file), f"API key file {self.file}")
        for variable in (self.variable, _own_variable(provider)):
            if environ.get(variable, "").strip():
                return _checked(environ[variable], f"environment variable {variable}")
        return None

    def advice(self, provider: str) -> str:
        """What to do about a key that is missing or refused."""
        if self.file is not None:
            return f"check the key in {self.file}"
        return f"set {self.variable} or {_own_variable(provider)}, or name a file that holds the key"


def ambient_secrets(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Credentials that LiteLLM may find in the environment by itself (cloud logins, other providers' keys)."""
    return tuple(
        value
        for name, value in environ.items()
        if name.upper().endswith(_CREDENTIAL_ENDINGS) and len(value) >= _CREDENTIAL_CHARS
    )


def _own_variable(provider: str) -> str:
    return f"{provider.upper()}_API_KEY"


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"API key file {file} cannot be read: {type(error).__name__}") from None


def _checked(text: str, place: str) -> SecretStr:
    """HTTP libraries quote an ill-formed header in full when they refuse it, so it must not get that far."""
    key = text.strip()
    if not key or not all("!" <= character <= "~" for character in key):
        raise UsageError(f"{place} does not hold an API key: one line of ASCII without spaces expected")
    return SecretStr(key)
