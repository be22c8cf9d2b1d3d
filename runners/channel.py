"""Messages between the runner and its child processes: JSON with file descriptors, over a socket pair.

JSON only, never pickle: what comes back from a candidate's process is hostile and must stay data.
Used by `zygote.py` and `worker.py` in the children and by `worker_handle.py` in the parent.
"""

import array
import contextlib
import json
import os
import select
import socket
import struct
import time
from typing import Any

# 4 MiB: a traceback or a build log fits, a flood does not.
MESSAGE_LIMIT_BYTES = 4 << 20
_HEADER = struct.Struct("!I")
# One message carries at most this many descriptors: inputs, state and outputs of one call.
_DESCRIPTOR_LIMIT = 16


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

    def send(self, message: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
        """Send one message; the descriptors are duplicated into the other process."""
        body = json.dumps(message, allow_nan=False).encode()
        data = _HEADER.pack(len(body)) + body
        try:
            self._connection.settimeout(None)
            sent = socket.send_fds(self._connection, [data], list(descriptors))
            self._connection.sendall(data[sent:])
        except OSError as error:
            raise ChannelClosed(str(error)) from error

    def receive(self, timeout_s: float | None = None) -> tuple[dict[str, Any], tuple[int, ...]]:
        """The next message and its descriptors. Raises ChannelTimeout, or ChannelClosed on anything odd."""
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        descriptors: list[int] = []
        try:
            (size,) = _HEADER.unpack(self._read(_HEADER.size, deadline_s, descriptors))
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

    def readable(self, timeout_s: float) -> bool:
        """Whether something, or the end of the stream, arrives within the time."""
        try:
            return bool(select.select([self._connection], [], [], timeout_s)[0])
        except (OSError, ValueError) as error:
            raise ChannelClosed("this end was closed") from error

    def close(self) -> None:
        """Close this end; the other one sees the end of the stream."""
        self._connection.close()


def close_all(descriptors: list[int] | tuple[int, ...]) -> None:
    """Close descriptors, whatever state they are in."""
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)
