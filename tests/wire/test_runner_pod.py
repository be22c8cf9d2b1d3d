"""A real runner on a TCP port: cut lines, strangers, two clients, signals, and its death in the middle of a trial."""

import contextlib
import http.client
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from everforge.errors import HarnessFault, TaskError
from everforge.model.candidate import Candidate, GeneratorKind, language_of
from everforge.model.device import DeviceKind
from everforge.model.evaluation import Evaluation
from everforge.model.session import EvaluationSettings, OpenSession, Progress, RunTrial
from everforge.model.task import TaskSpec, Variant
from everforge.model.verdict import ExitCode

TASK = """
import torch
from torch import nn

rows = 8

class Model(nn.Module):
    def forward(self, x):
        return torch.softmax(x, dim=1)

def get_inputs():
    return [torch.randn(rows, 32)]

def get_init_inputs():
    return []
"""
# Loads for as long as counting takes, about 0.1 s for a million: a trial that can be caught at work.
CANDIDATE = """
import torch
from torch import nn

counted = sum(1 for _ in range({millions} * 1_000_000))

class ModelNew(nn.Module):
    def forward(self, x):
        return torch.softmax(x, dim=1)
"""
SETTINGS = EvaluationSettings(timeout_s=60, min_rounds=3, max_rounds=4, timing_seconds=0.5, memory_bytes=1 << 30)
StartPod = Callable[..., Any]

# One worker for all: each would open a session of its own, which takes most of their time.
pytestmark = pytest.mark.xdist_group("wire")


def opening(rows: int = 8) -> OpenSession:
    task = TaskSpec(name="softmax", source=TASK, variants=(Variant(name="main", constants={"rows": rows}),))
    return OpenSession(task=task, device=DeviceKind.CPU, settings=SETTINGS)


def trial(trial_id: str, millions: int = 0) -> RunTrial:
    source = CANDIDATE.format(millions=millions)
    made = Candidate(source=source, language=language_of(source), generator=GeneratorKind.USER)
    return RunTrial(trial_id=trial_id, candidate=made, timed=False)


def ignore(_progress: Progress) -> None:
    return


@pytest.fixture(scope="module")
def pod(start_pod: StartPod) -> Any:
    return start_pod()


@pytest.fixture(scope="module")
def session_id(pod: Any) -> str:
    return str(pod.client().open_session(opening(), ignore).session_id)


def status_of(address: tuple[str, int], path: str, **request: Any) -> tuple[int, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection(*address, timeout=30)
    with contextlib.closing(connection):
        connection.request(request.pop("method", "GET"), path, **request)
        response = connection.getresponse()
        response.read()
        return response.status, response.headers


def in_thread(work: Callable[[], Evaluation]) -> "contextlib.AbstractContextManager[Any]":
    @contextlib.contextmanager
    def running() -> Any:
        with ThreadPoolExecutor(1) as pool:
            yield pool.submit(work)

    return running()


def test_health_is_told_to_anybody(pod: Any) -> None:
    assert [status_of(pod.address, path)[0] for path in ("/healthz", "/readyz")] == [200, 200]


def test_stranger_learns_nothing_but_that_the_token_is_wrong(pod: Any, session_id: str) -> None:
    with pytest.raises(HarnessFault, match="the token is missing or wrong"):
        pod.client(token="f" * 64).run_trial(session_id, trial("stranger"), ignore)
    for path in ("/v1/environment?device=cpu", "/v1/anything"):
        assert status_of(pod.address, path)[0] == 401


def test_stranger_with_a_large_body_is_told_so_too(pod: Any) -> None:
    body = b"x" * (4 << 20)
    assert status_of(pod.address, "/v1/sessions", method="POST", body=body)[0] == 401


def test_flood_is_refused_before_it_is_read(pod: Any) -> None:
    headers = {"Authorization": "Bearer " + "0123456789abcdef" * 4, "Content-Length": str(1 << 40)}
    assert status_of(pod.address, "/v1/sessions", method="POST", headers=headers, body=b"")[0] == 413


def test_trial_cut_off_is_finished_and_its_outcome_kept_for_the_same_id(
    pod: Any, session_id: str, line_to: Callable[..., Any]
) -> None:
    line = line_to(pod.address)
    cuts: list[str] = []

    def cut_once(progress: Progress) -> None:
        if not cuts:
            cuts.append(progress.stage)
            line.cut()

    evaluation = pod.client(line.address).run_trial(session_id, trial("cut", millions=20), cut_once)
    assert cuts
    assert line.connections == 2
    assert evaluation.verdict.is_correct
    # The seconds of its stages differ from one evaluation to the next: equal ones are one.
    assert pod.client().run_trial(session_id, trial("cut", millions=20), ignore) == evaluation


def test_client_that_vanishes_finds_its_trial_when_it_is_back(pod: Any, session_id: str) -> None:
    class Vanished(BaseException):
        pass

    def vanish(_progress: Progress) -> None:
        raise Vanished

    with pytest.raises(Vanished):
        pod.client().run_trial(session_id, trial("vanished", millions=20), vanish)
    # A new agent knows no session id: it opens the same task again, and pays for no baseline again.
    again = pod.client().open_session(opening(), ignore)
    assert again.session_id == session_id
    assert again.facts.device_seconds == 0
    stages: list[str] = []
    first = pod.client().run_trial(session_id, trial("vanished", millions=20), lambda it: stages.append(it.stage))
    assert first.verdict.is_correct
    assert pod.client().run_trial(session_id, trial("vanished", millions=20), ignore) == first


def test_two_clients_with_one_trial_get_one_measurement(pod: Any, session_id: str) -> None:
    request = trial("shared", millions=20)
    begun = threading.Event()
    with in_thread(lambda: pod.client().run_trial(session_id, request, lambda _: begun.set())) as first:
        assert begun.wait(60)
        assert pod.client().run_trial(session_id, request, ignore) == first.result(60)


def test_second_client_is_refused_while_the_first_is_served_and_waits_its_turn(pod: Any, session_id: str) -> None:
    begun = threading.Event()
    with in_thread(lambda: pod.client().run_trial(session_id, trial("one", 40), lambda _: begun.set())) as first:
        assert begun.wait(60)
        headers = {"Authorization": "Bearer " + "0123456789abcdef" * 4}
        body = trial("two").model_dump_json()
        path = f"/v1/sessions/{session_id}/trials"
        status, told = status_of(pod.address, path, method="POST", body=body, headers=headers)
        assert (status, told["Retry-After"]) == (409, "2")
        assert pod.client().run_trial(session_id, trial("two"), ignore).verdict.is_correct
        assert first.result(60).verdict.is_correct


def test_session_in_use_gives_way_to_no_other_task(pod: Any, session_id: str) -> None:
    headers = {"Authorization": "Bearer " + "0123456789abcdef" * 4}
    body = opening(rows=16).model_dump_json()
    status, told = status_of(pod.address, "/v1/sessions", method="POST", body=body, headers=headers)
    assert status == 409
    assert 0 < int(told["Retry-After"]) <= 60


def test_task_that_cannot_be_one_is_refused_over_tcp_as_on_a_socket(start_pod: StartPod) -> None:
    pod = start_pod("--idle-seconds", "1")
    request = opening()
    broken = request.model_copy(update={"task": request.task.model_copy(update={"source": "x = 1"})})
    with pytest.raises(TaskError):
        pod.client().open_session(broken, ignore)
    assert pod.process.wait(60) == 0  # nobody asked for anything for 1 s


def test_runner_told_to_end_finishes_and_delivers_what_is_under_way(start_pod: StartPod) -> None:
    pod = start_pod()
    constant = TASK.replace("torch.softmax(x, dim=1)", "torch.zeros_like(x)")
    request = opening()
    degenerate = request.model_copy(update={"task": request.task.model_copy(update={"source": constant})})
    with pytest.raises(TaskError, match="constant"):
        pod.client().open_session(degenerate, lambda _: pod.process.send_signal(signal.SIGTERM))
    assert pod.process.wait(60) == 0


def test_runner_says_that_it_gave_up_what_was_under_way(start_pod: StartPod) -> None:
    pod = start_pod("--grace-seconds", "0.2")
    with pytest.raises(HarnessFault):
        pod.client().open_session(opening(), lambda _: pod.process.send_signal(signal.SIGTERM))
    assert pod.process.wait(60) == ExitCode.TERMINATED


def test_runner_killed_at_work_is_a_machine_fault_after_a_while(start_pod: StartPod) -> None:
    pod = start_pod()
    with pytest.raises(HarnessFault, match="the runner is gone"):
        pod.client().open_session(opening(), lambda _: pod.process.kill())


def test_token_may_come_in_a_file_instead_of_its_digest(start_pod: StartPod, token_file: Path) -> None:
    pod = start_pod("--token-file", str(token_file))
    asked = {"path": "/v1/environment?device=cpu"}
    assert (
        status_of(pod.address, **asked, headers={"Authorization": f"Bearer {token_file.read_text().strip()}"})[0] == 200
    )
    assert status_of(pod.address, **asked, headers={"Authorization": "Bearer other"})[0] == 401


@pytest.mark.parametrize("digest", ["", "sha256:", "f" * 64, "sha256:" + "F" * 64])
def test_digest_that_is_none_is_refused(digest: str) -> None:
    command = [sys.executable, "-m", "everforge.runners", "--listen", "127.0.0.1:0", f"--token-digest={digest}"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert ended.returncode == 2
    assert "is not sha256:" in ended.stderr


@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        ("", 0o400, "must hold a token of 32 characters"),
        ("short", 0o400, "it holds 5"),
        ("0123456789abcdef" * 4, 0o444, "mount the Secret with defaultMode 0440"),
    ],
)
def test_token_that_is_none_or_anybodys_is_refused(tmp_path: Path, text: str, mode: int, message: str) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    file.chmod(mode)
    command = [sys.executable, "-m", "everforge.runners", "--listen", "127.0.0.1:0", "--token-file", str(file)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert ended.returncode == 2
    assert message in ended.stderr.replace("\n", " ")
