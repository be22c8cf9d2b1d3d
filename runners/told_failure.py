"""What a worker tells of a failure, as the parent takes it: strictly, since a candidate may have written it.

Read by `trial.py` and `clock/race.py` from answers of workers; `worker.py` makes them.
"""

from typing import Annotated, Any

from pydantic import ConfigDict, StringConstraints, ValidationError

from everforge.model.base import Record

# Above what `worker.py` sends: a line of 500 characters and the end of a traceback.
_Line = Annotated[str, StringConstraints(max_length=2000)]
_Text = Annotated[str, StringConstraints(max_length=20000)]


class ToldFailure(Record):
    """A failure inside a worker: of the build or of a run, one line, and the end of the traceback."""

    model_config = ConfigDict(strict=True)

    build: bool
    memory: bool
    line: _Line
    traceback: _Text


class Misreported(Exception):
    """An answer speaks of a failure in a form that no honest worker gives it."""


def told_failure(answer: dict[str, Any]) -> ToldFailure | None:
    """The failure an answer tells of; None if it tells of none. Raises Misreported."""
    if "failure" not in answer:
        return None
    try:
        return ToldFailure.model_validate(answer["failure"])
    except (ValidationError, RecursionError) as error:
        raise Misreported("its process told of a failure in a form that no honest one gives it") from error
