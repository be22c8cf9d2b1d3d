"""LiteLLM kept quiet, offline and behind one door; and the chat server's own promises."""

import ast
import http.client
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import everforge.agents
from everforge.testing.chat_server import Answer, ChatServer, Garbage, Refusal, Usage

ROOM = Path(everforge.agents.__file__).parent

# Runs in a process of its own, where nothing has imported LiteLLM yet and no connection can be made.
OFFLINE = """
import sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        raise PermissionError(f"{event} {arguments}")
sys.addaudithook(refuse)
from everforge.agents.llm.chat import ChatTransport, Message, Role
from everforge.agents.llm.client import LiteLlmClient, price_table
from everforge.agents.llm.redact import Redactor
from everforge.clock import SystemClock
from everforge.model.campaign import ModelSettings
import everforge.agents.llm.generator
assert "litellm" not in sys.modules, "imported before it is needed"
for model in ("openai/gpt-4.1", "groq/llama-3.1-8b-instant", "replicate/meta/llama-2-70b-chat"):
    client = LiteLlmClient(ModelSettings(model=model), None, Redactor([]), ChatTransport(), SystemClock())
    assert client.count_tokens((Message(role=Role.USER, content="hello world"),)) > 2
assert len(price_table()) > 1000
import litellm
lists = (litellm.callbacks, litellm.success_callback, litellm.failure_callback, litellm.input_callback)
assert not any(lists), lists
"""


def run_python(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environ},
        timeout=120,
    )


def test_litellm_is_imported_late_offline_and_without_a_word(tmp_path: Path) -> None:
    finished = run_python(OFFLINE, HOME=str(tmp_path), HF_HOME=str(tmp_path), LITELLM_LOG="DEBUG")
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")


def test_disabled_tls_verification_is_refused() -> None:
    finished = run_python("from everforge.agents.llm.client import price_table as p; p()", SSL_VERIFY="False")
    assert finished.returncode != 0
    assert "unset it" in finished.stderr


def test_only_the_client_imports_litellm() -> None:
    importing = set()
    for file in ROOM.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.partition(".")[0] == "litellm" for name in names):
                importing.add(file.relative_to(ROOM).as_posix())
    assert importing == {"llm/client.py"}


def post(server: ChatServer, body: dict[str, object]) -> tuple[int, dict[str, str], bytes]:
    place = urlsplit(server.api_base)
    connection = http.client.HTTPConnection(place.netloc, timeout=10)
    connection.request("POST", f"{place.path}/chat/completions", json.dumps(body), {"X-Test": "1"})
    answer = connection.getresponse()
    parts = answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()
    connection.close()
    return parts


def test_server_answers_in_the_order_of_its_script_and_then_refuses() -> None:
    with ChatServer([Answer(text="one"), Refusal(status=429, retry_after="3"), Garbage(body="{")]) as server:
        first, second, third, fourth = (post(server, {"messages": []}) for _ in range(4))
    assert json.loads(first[2])["choices"][0]["message"]["content"] == "one"
    assert (second[0], second[1]["retry-after"]) == (429, "3")
    assert (third[0], third[2]) == (200, b"{")
    assert fourth[0] == 400


def test_server_records_headers_and_bodies() -> None:
    with ChatServer([Answer(text="one")]) as server:
        post(server, {"messages": [{"role": "user", "content": "hello"}], "model": "m"})
    (request,) = server.requests
    assert request.prompt == "hello"
    assert request.headers["x-test"] == "1"


def test_server_answers_with_what_a_function_makes_of_the_request() -> None:
    with ChatServer(lambda request: Answer(text=request.prompt.upper())) as server:
        answer = post(server, {"messages": [{"role": "user", "content": "hello"}]})
    assert json.loads(answer[2])["choices"][0]["message"]["content"] == "HELLO"


@pytest.mark.parametrize("asked", [True, False])
def test_server_streams_chunks_and_usage_only_if_asked(asked: bool) -> None:
    said = Answer(text="abcdef", usage=Usage(prompt_tokens=5, completion_tokens=2), chunk_chars=4)
    options = {"stream_options": {"include_usage": True}} if asked else {}
    with ChatServer([said]) as server:
        _, headers, body = post(server, {"messages": [], "stream": True, **options})
    events = [line.removeprefix("data: ") for line in body.decode().split("\n\n") if line]
    assert headers["content-type"] == "text/event-stream"
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    texts = [choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"]]
    assert texts == ["", "abcd", "ef", ""]
    assert any("usage" in chunk for chunk in chunks) is asked
