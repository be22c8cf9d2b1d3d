"""The text of a file that the user named, or a message saying why there is none; for all commands that take one."""

from pathlib import Path

from everforge.errors import UsageError


def read_text(path: Path, what: str, refusal: type[UsageError] = UsageError) -> str:
    """The text of a task, a candidate, a manifest. Raises `refusal` saying which file and why it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise refusal(f"{path}: no such {what} file; check the path") from None
    except IsADirectoryError:
        raise refusal(f"{path}: is a directory; name one {what} file in it") from None
    except UnicodeDecodeError as error:
        raise refusal(f"{path}: not UTF-8 text at byte {error.start}; a {what} is a text file") from None
    except OSError as error:
        raise refusal(f"{path}: cannot read the {what}: {error.strerror}") from None
