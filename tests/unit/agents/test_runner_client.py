"""The runner client against a real HTTP server on a Unix socket that speaks the contract, and breaks it."""

import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from everforge.agents.runner_client import Patience, RunnerClient
from everforge.errors import DeviceFault, HarnessFault, TaskError
from everforge.model.base import Record
from everforge.model.device import DeviceKind
from everforge.model.session import (
    Failure,
    OpenSession,
    Outcome,
    Progress,
    RunTrial,
    SessionOpened,
)
from everforge.testing import samples

TOKEN = "correct horse"
EVALUATION = samples.evaluation()
OPENED = SessionOpened(session_id="s1", facts=samples.task_facts())
OPEN = OpenSession(task=samples.task_spec(), device=DeviceKind.CPU)
TRIAL = RunTrial(trial_id="t1", candidate=samples.candidate())


class Handler(BaseHTTPRequestHandler):
    """Answers every request with the lines its server was given."""

    protocol_version = "HTTP/1.1"
    server: "RunnerStandIn"

    def do_GET(self) -> None:
        self._answer(b"")

    def do_DELETE(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        self.server.seen.append((f"{self.command} {self.path}", body))
        authorised = self.headers["Authorization"] == f"Bearer {TOKEN}"
        self.send_response(200 if authorised else 401)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        refusal = [Failure(kind="harness", message="bad token").model_dump_json().encode()]
        for line in self.server.lines if authorised else refusal:
            self.wfile.write(f"{len(line) + 1:x}\r\n".encode() + line + b"\n\r\n")
        if not self.server.cut:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        return


class RunnerStandIn(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Serves fixed lines; with `cut`, the connection ends in the middle of the answer."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        self.lines: list[bytes] = []
        self.cut = False
        self.seen: list[tuple[str, bytes]] = []
        super().__init__(str(path), Handler)

    def get_request(self) -> tuple[object, tuple[str, int]]:  # type: ignore[override]
        connection, _ = super().get_request()
        return connection, ("local", 0)

    def says(self, *records: Record) -> None:
        self.lines = [record.model_dump_json().encode() for record in records]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunnerStandIn]:
    with RunnerStandIn(tmp_path / "socket") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def client(server: RunnerStandIn) -> RunnerClient:
    return RunnerClient(Path(str(server.server_address)), TOKEN, lambda: "; log: out of luck", Patience(beat_s=5.0))


def silent(_progress: Progress) -> None:
    return


def test_trial_returns_the_evaluation_after_its_progress(server: RunnerStandIn, client: RunnerClient) -> None:
    server.says(Progress(stage="compile"), Progress(stage="time"), Outcome(evaluation=EVALUATION))
    stages: list[str] = []
    assert client.run_trial("s1", TRIAL, lambda progress: stages.append(progress.stage)) == EVALUATION
    assert stages == ["compile", "time"]


def test_requests_carry_the_record_to_its_route(server: RunnerStandIn, client: RunnerClient) -> None:
    server.says(Outcome(evaluation=EVALUATION))
    client.run_trial("s1", TRIAL, silent)
    route, body = server.seen[0]
    assert route == "POST /v1/sessions/s1/trials"
    assert RunTrial.model_validate_json(body) == TRIAL


def test_source_beyond_latin_1_arrives_unchanged(server: RunnerStandIn, client: RunnerClient) -> None:
    candidate = samples.candidate("√σ² ≤ ε")
    server.says(Outcome(evaluation=EVALUATION))
    client.run_trial("s1", RunTrial(trial_id="t1", candidate=candidate), silent)
    assert RunTrial.model_validate_json(server.seen[0][1]).candidate == candidate


def test_session_and_environment_are_read_from_the_outcome(server: RunnerStandIn, client: RunnerClient) -> None:
    server.says(Outcome(session=OPENED))
    assert client.open_session(OPEN, silent) == OPENED
    server.says(Outcome(environment=samples.environment()))
    assert client.environment(DeviceKind.CPU) == samples.environment()
    assert server.seen[-1][0] == "GET /v1/environment?device=cpu"


def test_closing_a_session_needs_no_outcome(server: RunnerStandIn, client: RunnerClient) -> None:
    client.close_session("s1")
    assert server.seen == [("DELETE /v1/sessions/s1", b"")]


@pytest.mark.parametrize(("kind", "error"), [("usage", TaskError), ("device", DeviceFault), ("harness", HarnessFault)])
def test_failure_raises_the_error_of_its_kind(
    server: RunnerStandIn, client: RunnerClient, kind: str, error: type[Exception]
) -> None:
    server.says(Progress(stage="reference"), Failure(kind=kind, message="the output is constant"))  # type: ignore[arg-type]
    with pytest.raises(error, match=r"^the output is constant$"):
        client.open_session(OPEN, silent)


def test_wrong_token_is_a_harness_fault(server: RunnerStandIn) -> None:
    stranger = RunnerClient(Path(str(server.server_address)), "guess")
    with pytest.raises(HarnessFault, match="bad token"):
        stranger.open_session(OPEN, silent)


def test_answer_without_a_last_line_is_a_harness_fault_with_the_log(
    server: RunnerStandIn, client: RunnerClient
) -> None:
    server.says(Progress(stage="compile"))
    with pytest.raises(HarnessFault, match=r"without a result.*out of luck"):
        client.run_trial("s1", TRIAL, silent)


def test_connection_cut_in_the_middle_is_a_harness_fault(server: RunnerStandIn, client: RunnerClient) -> None:
    server.says(Progress(stage="compile"))
    server.cut = True
    with pytest.raises(HarnessFault, match="out of luck"):
        client.run_trial("s1", TRIAL, silent)


def test_line_that_is_no_record_is_a_harness_fault(server: RunnerStandIn, client: RunnerClient) -> None:
    server.lines = [b"Traceback (most recent call last):"]
    with pytest.raises(HarnessFault, match="not of the protocol: 'Traceback"):
        client.run_trial("s1", TRIAL, silent)


def test_outcome_of_another_kind_is_a_harness_fault(server: RunnerStandIn, client: RunnerClient) -> None:
    server.says(Outcome(session=OPENED))
    with pytest.raises(HarnessFault, match="no evaluation"):
        client.run_trial("s1", TRIAL, silent)


def test_absent_runner_is_a_harness_fault(tmp_path: Path) -> None:
    with pytest.raises(HarnessFault, match="the runner is gone"):
        RunnerClient(tmp_path / "nothing", TOKEN).run_trial("s1", TRIAL, silent)
