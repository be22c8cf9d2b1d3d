"""Messages between the runner and its child processes: JSON with file descriptors, over a socket pair.

JSON only, never pickle: what comes back from a candidate's process is hostile and must stay data.
Used between `nursery.py` and `zygote.py`, which trust each other; `exchange.py` adds what a hostile end needs.
"""

import array
import contextlib
import json
import os
import socket
import struct
import time
from typing import Any

# 8 MiB: a candidate of 1 MiB fits, whatever of it JSON has to escape.
MESSAGE_LIMIT_BYTES = 8 << 20
HEADER = struct.Struct("!I")
# One message carries at most this many descriptors: inputs, state and outputs of one call.
_DESCRIPTOR_LIMIT = 16

Message = dict[str, Any]
Descriptors = tuple[int, ...]


class ChannelClosed(Exception):
    """The other end is gone, or what it sent is not a message."""


class ChannelTimeout(Exception):
    """The other end did not answer in time."""


class Channel:
    """One end of a socket pair."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    @staticmethod
    def pair() -> tuple["Channel", socket.socket]:
        """A channel for this process and the raw socket for the other one."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return Channel(ours), theirs

    def send(self, message: Message, descriptors: Descriptors = (), *, timeout_s: float | None = None) -> None:
        """Send one message; the descriptors are duplicated into the other process.

        Raises ChannelTimeout if the other end does not read it in time, or ChannelClosed.
        """
        self._send(framed(message), descriptors, timeout_s)

    def _send(self, data: bytes, descriptors: Descriptors, timeout_s: float | None) -> None:
        try:
            self._connection.settimeout(timeout_s)
            sent = socket.send_fds(self._connection, [data], list(descriptors))
            self._connection.sendall(data[sent:])
        except TimeoutError as error:
            raise ChannelTimeout from error
        except OSError as error:
            raise ChannelClosed(str(error)) from error

    def receive(self, timeout_s: float | None = None) -> tuple[Message, Descriptors]:
        """The next message and its descriptors. Raises ChannelTimeout, or ChannelClosed on anything odd."""
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        descriptors: list[int] = []
        try:
            (size,) = HEADER.unpack(self._read(HEADER.size, deadline_s, descriptors))
            if size > MESSAGE_LIMIT_BYTES:
                raise ChannelClosed(f"a message of {size} bytes is over the limit of {MESSAGE_LIMIT_BYTES}")
            message = json.loads(self._read(size, deadline_s, descriptors))
        except (OSError, ValueError, RecursionError) as error:
            close_all(descriptors)
            if isinstance(error, TimeoutError):
                raise ChannelTimeout from error
            raise ChannelClosed(str(error)) from error
        if not isinstance(message, dict):
            close_all(descriptors)
            raise ChannelClosed("a message must be a JSON object")
        return message, tuple(descriptors)

    def _read(self, size: int, deadline_s: float | None, descriptors: list[int]) -> bytes:
        data = bytearray()
        while len(data) < size:
            self._connection.settimeout(None if deadline_s is None else max(deadline_s - time.monotonic(), 1e-6))
            chunk, ancillary, _, _ = self._connection.recvmsg(
                size - len(data), socket.CMSG_SPACE(_DESCRIPTOR_LIMIT * 4)
            )
            for level, kind, payload in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    numbers = array.array("i")
                    numbers.frombytes(payload[: len(payload) - len(payload) % numbers.itemsize])
                    descriptors.extend(numbers)
            if not chunk:
                raise ChannelClosed("the other end is gone")
            data += chunk
        return bytes(data)

    def close(self) -> None:
        """Close this end; the other one sees the end of the stream."""
        self._connection.close()


def framed(message: Message) -> bytes:
    """A message as bytes: its size, then its JSON."""
    body = json.dumps(message, allow_nan=False).encode()
    return HEADER.pack(len(body)) + body


def close_all(descriptors: list[int] | Descriptors) -> None:
    """Close descriptors, whatever state they are in."""
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)
