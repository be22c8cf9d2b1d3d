"""The loop of a worker process: build a module, call it, time it, as the parent asks. Started by `zygote.py`.

It shares its process with hostile code, so nothing it answers is believed without the parent's own check:
outputs are compared by the parent, and times are bounded by the parent's clock.
"""

import traceback
from typing import Any

from everforge.runners.isolation.channel import Channel, ChannelClosed, close_all
from everforge.runners.isolation.kernel_calls import keep_freed_memory
from everforge.runners.slots import Slots
from everforge.runners.timed_calls import TimedCalls

_BUILD_FAILURES = {
    *("CompilationError", "CompileTimeAssertionFailure", "OutOfResources", "PTXASError"),  # Triton
    *("CalledProcessError", "SyntaxError", "NotACandidate"),
}
# The end of a traceback holds the error; 6 kB hold a compiler's first errors too.
_TRACEBACK_CHARACTERS = 6000


def failure_of(error: BaseException) -> dict[str, Any]:
    """What went wrong, as data: whether it was the build, one line, and the end of the traceback."""
    names = {type(link).__name__ for link in _chain(error)}
    text = "".join(traceback.format_exception(error))
    built = bool(names & _BUILD_FAILURES) or "Error building extension" in text
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return {
        "build": built,
        "memory": "OutOfMemoryError" in names or "MemoryError" in names,
        "line": f"{type(error).__name__}: {line}"[:500],
        "traceback": text[-_TRACEBACK_CHARACTERS:],
    }


def _chain(error: BaseException) -> list[BaseException]:
    links: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in links:
        links.append(current)
        current = current.__cause__ or current.__context__
    return links


def run_worker(channel: Channel) -> None:
    """Answer requests until the parent closes the channel."""
    keep_freed_memory()
    slots = Slots()
    parts = (slots, TimedCalls(slots))
    operations = {name: getattr(part, name) for part in parts for name in part.OPERATIONS}
    while True:
        try:
            message, descriptors = channel.receive()
        except ChannelClosed:
            return
        try:
            answer = operations[message["op"]](message, descriptors)
        except BaseException as error:  # noqa: BLE001 - a candidate may raise anything, SystemExit included: all of it is data
            answer = {"failure": failure_of(error)}
        close_all(descriptors)
        channel.send(answer)
