"""Name and password for a repository or registry that is not for everybody, from a Secret mounted into the agent's pod.

`git_task.py` and `oci_task.py` give them to the server that the task names and to the one that hands out a registry's
tokens, by TLS alone, and to nobody else. The keys are Everforge's own: a Secret that was made for something else has
none of that name, so that whoever may create a KernelOptimization cannot have another's password sent to a server of
their choice.
"""

import base64
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

from everforge.errors import UsageError

USERNAME_KEY, PASSWORD_KEY = "task-username", "task-password"
# Servers of this machine, which are spoken to without TLS.
LOCAL = ("localhost", "127.0.0.1")


@dataclass(frozen=True)
class Login:
    """A name and its password, which shows in no representation."""

    username: str
    password: str = field(repr=False)

    @classmethod
    def mounted_at(cls, directory: Path) -> "Login":
        """The login of a mounted Secret. Raises UsageError, which names the key that is missing."""
        return cls(_read(directory / USERNAME_KEY), _read(directory / PASSWORD_KEY))

    @property
    def basic(self) -> str:
        """The value of an Authorization header (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode("ascii")

    def url_of(self, server: str) -> str:
        """The URL of a server with the login in it, as git keeps credentials in files; never to be shown."""
        parts = urlsplit(server)
        return f"{parts.scheme}://{quote(self.username, safe='')}:{quote(self.password, safe='')}@{parts.netloc}"


def is_private(url: str) -> bool:
    """Whether nobody on the way can read what is sent there."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOCAL)


def _read(path: Path) -> str:
    try:
        # What is made by `kubectl create secret --from-file` often ends with a line feed, which no password does.
        return path.read_text(encoding="utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the Secret of spec.task.secretName has no readable key {path.name}: {error}") from None
