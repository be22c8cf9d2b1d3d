"""A real HTTP server that speaks the chat-completions protocol from a script: the stand-in for a model.

Tests of the LLM client and of whole campaigns point `api_base` at it. It listens on the loopback interface
alone, on a port the kernel picks, and answers each request with the next step of its script, or with what a
function makes of the request. It misbehaves on demand: errors, dropped connections, silence, garbage.
"""

import contextlib
import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Self

from pydantic import Field

from everforge.model.base import Record

# About four characters make a token in English; only tests compare these numbers, nobody pays by them.
_CHARS_PER_TOKEN = 4


class ChatRequest(Record):
    """One request as the server saw it; header names in lower case."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def streamed(self) -> bool:
        """Whether the client asked for server-sent events."""
        return bool(self.body.get("stream"))

    @property
    def prompt(self) -> str:
        """Every message's text, one after the other."""
        return "\n".join(str(message.get("content", "")) for message in self.body.get("messages", []))


class Usage(Record):
    """Tokens the server claims; None in an Answer computes them from the lengths of the texts."""

    prompt_tokens: int
    completion_tokens: int


class Answer(Record):
    """A well-formed reply. `usage_sent=False` leaves usage out, as many endpoints do in streams."""

    text: str
    usage: Usage | None = None
    usage_sent: bool = True
    finish_reason: str = "stop"
    chunk_chars: int = Field(64, gt=0, description="Characters in one event of a stream")


class Refusal(Record):
    """An HTTP error: 429, 500, 401, …"""

    status: int
    message: str = "refused by the script"
    retry_after: str | None = Field(None, description="The Retry-After header: seconds or an HTTP date")


class Drop(Record):
    """An answer whose connection closes in the middle; `text` is what a stream delivers before that."""

    text: str = "```python\nimport torch\n"


class Garbage(Record):
    """Status 200 with a body that is not the protocol."""

    body: str = '{"choices": [{"message": {"content": "half a'
    content_type: str = "application/json"


class Silence(Record):
    """Accepts the request and says nothing until the server closes: what a client's time limit is for."""


Step = Answer | Refusal | Drop | Garbage | Silence
Script = Iterable[Step] | Callable[[ChatRequest], Step]


class ChatServer:
    """Context manager around the server; `api_base` is where to send requests, `requests` what came.

    A script that has run out answers 400, which no client retries, so a surplus call fails its test at once.
    """

    def __init__(self, script: Script) -> None:
        self._next_step = script if callable(script) else _one_by_one(iter(script))
        self._lock = threading.Lock()
        self._requests: list[ChatRequest] = []
        self._closing = threading.Event()
        self._connections: set[socket.socket] = set()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self))
        self._server.daemon_threads = False  # closing waits for every handler, so no thread outlives a test
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="chat-server")

    @property
    def api_base(self) -> str:
        """Base URL for a client."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def requests(self) -> tuple[ChatRequest, ...]:
        """Every request so far, in order of arrival."""
        with self._lock:
            return tuple(self._requests)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._cut_connections()
        self._server.server_close()

    def step_for(self, request: ChatRequest) -> Step:
        """Record a request and decide the answer; one at a time, so scripts need no locks."""
        with self._lock:
            self._requests.append(request)
            return self._next_step(request)

    def wait_for_close(self) -> None:
        """Block until the server is being closed."""
        self._closing.wait()

    def opened(self, connection: socket.socket) -> None:
        """Remember a connection, to cut it should its client neither read nor close."""
        with self._lock:
            self._connections.add(connection)

    def closed(self, connection: socket.socket) -> None:
        """Forget a connection."""
        with self._lock:
            self._connections.discard(connection)

    def _cut_connections(self) -> None:
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


def _one_by_one(steps: Iterator[Step]) -> Callable[[ChatRequest], Step]:
    over = Refusal(status=400, message="the script of replies is over")
    return lambda _request: next(steps, over)


def _handler_for(chat: ChatServer) -> type[http.server.BaseHTTPRequestHandler]:
    """The handler class bound to one server."""

    class Handler(_ChatHandler):
        server_of_chat = chat

    return Handler


class _ChatHandler(http.server.BaseHTTPRequestHandler):
    """Answers one request per connection."""

    protocol_version = "HTTP/1.1"
    server_of_chat: ChatServer

    def setup(self) -> None:
        super().setup()
        self.server_of_chat.opened(self.connection)

    def finish(self) -> None:
        self.server_of_chat.closed(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Say nothing on stderr."""

    def do_POST(self) -> None:
        request = self._read_request()
        step = self.server_of_chat.step_for(request)
        self.close_connection = True
        # A client may give up first: its right, and often the point of the test.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._act(step, request)

    def _read_request(self) -> ChatRequest:
        length = int(self.headers.get("Content-Length", "0"))
        headers = {name.lower(): value for name, value in self.headers.items()}
        return ChatRequest(path=self.path, headers=headers, body=json.loads(self.rfile.read(length)))

    def _act(self, step: Step, request: ChatRequest) -> None:
        match step:
            case Answer() if request.streamed:
                self._send_stream(step, request)
            case Answer():
                self._send(200, json.dumps(_completion(step, request)))
            case Refusal():
                self._send_refusal(step)
            case Drop():
                self._drop(step, request)
            case Garbage():
                self._send(200, step.body, content_type=step.content_type)
            case Silence():
                self.server_of_chat.wait_for_close()

    def _send(self, status: int, body: str, content_type: str = "application/json", **headers: str) -> None:
        payload = body.encode("utf-8", "surrogatepass")
        self._send_head(status, content_type, {"Content-Length": str(len(payload)), **headers})
        self.wfile.write(payload)

    def _send_head(self, status: int, content_type: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": content_type, "Connection": "close", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send_refusal(self, step: Refusal) -> None:
        body = json.dumps({"error": {"message": step.message, "type": "scripted", "code": str(step.status)}})
        extra = {} if step.retry_after is None else {"Retry-After": step.retry_after}
        self._send(step.status, body, **extra)

    def _send_stream(self, step: Answer, request: ChatRequest) -> None:
        self._send_head(200, "text/event-stream", {"Transfer-Encoding": "chunked"})
        for event in _events(step, request):
            self._send_chunk(f"data: {json.dumps(event)}\n\n")
        self._send_chunk("data: [DONE]\n\n")
        self._send_chunk("")

    def _send_chunk(self, text: str) -> None:
        payload = text.encode("utf-8", "surrogatepass")
        self.wfile.write(f"{len(payload):x}\r\n".encode() + payload + b"\r\n")

    def _drop(self, step: Drop, request: ChatRequest) -> None:
        answer = Answer(text=step.text)
        if request.streamed:
            self._send_head(200, "text/event-stream", {"Transfer-Encoding": "chunked"})
            for event in _text_events(answer, request):
                self._send_chunk(f"data: {json.dumps(event)}\n\n")
        else:
            payload = json.dumps(_completion(answer, request)).encode()
            self._send_head(200, "application/json", {"Content-Length": str(len(payload))})
            self.wfile.write(payload[: len(payload) // 2])
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)


def _usage(step: Answer, request: ChatRequest) -> dict[str, int]:
    usage = step.usage or Usage(
        prompt_tokens=max(1, len(request.prompt) // _CHARS_PER_TOKEN),
        completion_tokens=max(1, len(step.text) // _CHARS_PER_TOKEN),
    )
    total = usage.prompt_tokens + usage.completion_tokens
    return {**usage.model_dump(), "total_tokens": total}


def _envelope(request: ChatRequest, kind: str) -> dict[str, Any]:
    return {"id": "chat-1", "object": kind, "created": 0, "model": request.body.get("model", "scripted")}


def _completion(step: Answer, request: ChatRequest) -> dict[str, Any]:
    message = {"role": "assistant", "content": step.text}
    choice = {"index": 0, "message": message, "finish_reason": step.finish_reason}
    usage = {"usage": _usage(step, request)} if step.usage_sent else {}
    return {**_envelope(request, "chat.completion"), "choices": [choice], **usage}


def _chunk(request: ChatRequest, delta: dict[str, str], finish_reason: str | None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {**_envelope(request, "chat.completion.chunk"), "choices": [choice]}


def _text_events(step: Answer, request: ChatRequest) -> Iterator[dict[str, Any]]:
    yield _chunk(request, {"role": "assistant", "content": ""}, None)
    for start in range(0, len(step.text), step.chunk_chars):
        yield _chunk(request, {"content": step.text[start : start + step.chunk_chars]}, None)


def _events(step: Answer, request: ChatRequest) -> Iterator[dict[str, Any]]:
    yield from _text_events(step, request)
    yield _chunk(request, {}, step.finish_reason)
    asked = (request.body.get("stream_options") or {}).get("include_usage")
    if step.usage_sent and asked:
        closing = _envelope(request, "chat.completion.chunk")
        yield {**closing, "choices": [], "usage": _usage(step, request)}
