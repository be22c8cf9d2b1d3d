"""Requests to a hostile process and its answers: each answer must name the request it is for.

A candidate shares its process with the worker's loop and can find the descriptor the answers go through, so anything
may be written on it, at any time. What is well formed but cannot be an answer is a forgery and raises ChannelForged; a
message that breaks off is the end of the process and raises ChannelClosed. A forgery made while the request is under
way, with its number read from the process's memory, passes here: what is answered is believed no further than the
parent can check it. The real answer then follows a request it was not for, and is found out there.

`worker_handle.py` holds the asking end; `zygote.py` gives the answering one to the worker's loop.
"""

import contextlib
import json
import math
import re
import secrets
import select
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from everforge.runners.isolation.channel import HEADER, Channel, ChannelClosed, ChannelTimeout, framed

# 4 MiB: a traceback or the description of ten thousand outputs fits, a flood does not.
ANSWER_LIMIT_BYTES = 4 << 20
# The caller may look after the worker this often while it waits: memory taken at 10 GB/s is seen within 2 GB.
_WATCH_S = 0.2
# JSON may escape half a character; text that holds one can be neither printed nor recorded.
_HALF_CHARACTER = re.compile(rb"\\u[dD][89a-fA-F]")


class ChannelForged(Exception):
    """What arrived is not the answer to the request; `evidence` says in one sentence what it was instead."""

    def __init__(self, evidence: str) -> None:
        super().__init__(evidence)
        self.evidence = evidence


class AnsweringEnd(Channel):
    """The worker's end: takes a request's number with it and puts it on the answer."""

    _number: object = None

    def receive(self, timeout_s: float | None = None) -> tuple[dict[str, Any], tuple[int, ...]]:
        """The next request and its descriptors. Raises ChannelClosed."""
        message, descriptors = super().receive(timeout_s)
        self._number = message["number"]
        return message["request"], descriptors

    def send(
        self, message: dict[str, Any], descriptors: tuple[int, ...] = (), *, timeout_s: float | None = None
    ) -> None:
        """Answer the last request. Raises ValueError if the answer is too large to be one."""
        if descriptors:
            raise ValueError("an answer carries no descriptors: whoever asks takes none from a hostile process")
        data = framed({"number": self._number, "answer": message})
        if len(data) > ANSWER_LIMIT_BYTES:
            raise ValueError(f"an answer of {len(data)} bytes is over the limit of {ANSWER_LIMIT_BYTES}")
        self._send(data, (), timeout_s)
        self._number = None


class AskingEnd:
    """The parent's end: sends one request at a time and reads its answer, by a deadline."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        connection.setblocking(False)

    @staticmethod
    def pair() -> tuple["AskingEnd", socket.socket]:
        """An asking end for this process and the raw socket for the other one."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return AskingEnd(ours), theirs

    def ask(
        self, message: dict[str, Any], descriptors: tuple[int, ...], deadline_s: float, watch: Callable[[], None]
    ) -> dict[str, Any]:
        """Send a request and return its answer, by the monotonic clock; `watch` is called every 0.2 s meanwhile.

        Raises ChannelTimeout, ChannelClosed, ChannelForged, and whatever `watch` raises.
        """
        wait = _Wait(self._connection, deadline_s, watch)
        number = secrets.token_hex(16)
        request = framed({"number": number, "request": message})
        with _broken_off():
            self._refuse_more("its process wrote on the result channel although nothing was asked")
            self._send(request, descriptors, wait)
            (size,) = HEADER.unpack(self._read(HEADER.size, wait))
            if size > ANSWER_LIMIT_BYTES:
                raise ChannelForged(f"its process announced an answer of {size} bytes on the result channel")
            body = self._read(size, wait)
            self._refuse_more("its process wrote more than one answer to a request")
        return _answer_of(body, number)

    def _send(self, data: bytes, descriptors: tuple[int, ...], wait: "_Wait") -> None:
        rest = memoryview(data)
        while rest:
            try:
                sent = socket.send_fds(self._connection, [rest], list(descriptors))
            except BlockingIOError:  # the other end does not read
                wait.until(select.POLLOUT)
                continue
            rest, descriptors = rest[sent:], ()

    def _read(self, size: int, wait: "_Wait") -> bytes:
        """Exactly so many bytes; descriptors that come with them are dropped by the kernel."""
        data = bytearray()
        while len(data) < size:
            wait.until(select.POLLIN)
            with contextlib.suppress(BlockingIOError):
                chunk = self._connection.recv(min(size - len(data), 1 << 16))
                if not chunk:
                    raise ChannelClosed("the other end is gone")
                data += chunk
        return bytes(data)

    def _refuse_more(self, evidence: str) -> None:
        with contextlib.suppress(BlockingIOError):
            if self._connection.recv(1, socket.MSG_PEEK):
                raise ChannelForged(evidence)

    def close(self) -> None:
        """Close this end; the other one sees the end of the stream."""
        self._connection.close()


class _Wait:
    """Waiting for one exchange: its deadline, and the watch kept meanwhile however busy the other end is."""

    def __init__(self, connection: socket.socket, deadline_s: float, watch: Callable[[], None]) -> None:
        self._poll = select.poll()
        self._connection = connection
        self._deadline_s = deadline_s
        self._watch = watch
        self._watch_at_s = time.monotonic() + _WATCH_S

    def until(self, event: int) -> None:
        """Return once the connection is ready, or once it is time to look again. Raises ChannelTimeout."""
        self._poll.register(self._connection, event)
        while (now_s := time.monotonic()) < self._deadline_s:
            if now_s >= self._watch_at_s:
                self._watch()
                self._watch_at_s = now_s + _WATCH_S
            if self._poll.poll(max(min(self._deadline_s, self._watch_at_s) - now_s, 0) * 1000):
                return
        raise ChannelTimeout


@contextlib.contextmanager
def _broken_off() -> Iterator[None]:
    """Whatever the socket refuses means that the other end, or this one, is closed."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise ChannelClosed(str(error)) from error


def _answer_of(body: bytes, number: str) -> dict[str, Any]:
    """The answer in a message's body. Raises ChannelForged."""
    try:
        message = json.loads(body, parse_constant=_refuse_constant, parse_float=_finite)
        if _HALF_CHARACTER.search(body):
            message = json.loads(json.dumps(message, ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError):
        raise ChannelForged("its process wrote something that is not JSON on the result channel") from None
    answer = message.get("answer") if isinstance(message, dict) else None
    if not isinstance(answer, dict):
        raise ChannelForged("its process wrote something that is not an answer on the result channel")
    if message.get("number") != number:
        raise ChannelForged("its process answered another request than the one that was made")
    return answer


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse_constant(text)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
