"""Starting a runner process: what it may see, how its death is told, that nothing of it stays behind."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from everforge.agents.runner_process import RUNNER, LocalRunner, runner_environment, start_local_runner
from everforge.errors import HarnessFault

# A runner that is ready at once, keeps what it was given beside its socket, and ends with its standard input.
STAND_IN = """
import os, pathlib, sys
directory = pathlib.Path(sys.argv[-1]).parent
(directory / "token").write_text(sys.stdin.readline())
(directory / "environment").write_text(chr(10).join(os.environ))
(directory / "arguments").write_text(chr(10).join(sys.argv[1:]))
print("ready", flush=True)
sys.stdin.read()
"""


def started(program: str) -> LocalRunner:
    return start_local_runner(ready_s=60.0, program=("-c", program))


def left_behind(tmp_path: Path) -> list[str]:
    return [path.name for path in tmp_path.iterdir()]


@pytest.fixture(autouse=True)
def _private_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_keys_and_tokens_never_reach_the_runner() -> None:
    environment = {
        "PATH": "/bin",
        "CUDA_VISIBLE_DEVICES": "0",
        "OPENAI_API_KEY": "k",
        "CUDA_SECRET_TOKEN": "t",
        "PYTHONPATH": "/checkout/src",
        "PYTHONSTARTUP": "/elsewhere.py",
        "NVIDIA_API_KEY": "k",
    }
    assert runner_environment(environment) == {
        "PATH": "/bin",
        "CUDA_VISIBLE_DEVICES": "0",
        "PYTHONPATH": "/checkout/src",
    }


def test_runner_gets_its_token_on_standard_input_and_a_scrubbed_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret")
    runner = started(STAND_IN)
    [directory] = tmp_path.iterdir()
    token = (directory / "token").read_text().strip()
    environment = (directory / "environment").read_text().splitlines()
    runner.close()
    assert len(token) > 30
    assert "ANTHROPIC_API_KEY" not in environment
    assert "PATH" in environment


def test_runner_is_told_its_device_only_if_it_is_to_use_another_than_the_first(tmp_path: Path) -> None:
    told = []
    for index in (None, 1):
        runner = start_local_runner(ready_s=60.0, program=("-c", STAND_IN), device_index=index)
        [directory] = tmp_path.iterdir()
        told.append((directory / "arguments").read_text().splitlines()[:-2])
        runner.close()
    assert told == [[], ["--device-index", "1"]]


def test_closed_runner_leaves_no_process_and_no_directory(tmp_path: Path) -> None:
    runner = started(STAND_IN)
    runner.close()
    runner.close()
    with pytest.raises(ProcessLookupError):
        os.killpg(runner.pid, 0)
    assert left_behind(tmp_path) == []


def test_runner_that_dies_at_the_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(HarnessFault, match=r"(?s)ended; its process: exit status 1.*no module named torch"):
        started("raise SystemExit('no module named torch')")
    assert left_behind(tmp_path) == []


def test_runner_whose_client_is_killed_ends_and_leaves_nothing(tmp_path: Path) -> None:
    client = (
        "import sys, tempfile; tempfile.tempdir = sys.argv[1]\n"
        "from everforge.agents.runner_process import start_local_runner\n"
        "print(start_local_runner().pid, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", client, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        pid = int(process.stdout.readline()) if process.stdout is not None else 0
        [directory] = tmp_path.iterdir()
        assert (directory / "socket").is_socket()
        runner = os.pidfd_open(pid)
        process.kill()
    # A pidfd becomes readable when its process ends.
    assert select.select([runner], [], [], 60.0)[0] == [runner]
    os.close(runner)
    assert left_behind(tmp_path) == []


def test_runner_whose_client_is_gone_before_it_is_ready_leaves_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "runner"
    directory.mkdir()
    command = [sys.executable, *RUNNER, "--device-index", "1", "--socket", str(directory / "socket")]
    read_end, write_end = os.pipe()
    os.close(read_end)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=write_end) as process:
        os.close(write_end)
        process.communicate(b"token\n", timeout=120)
    assert process.returncode == 0
    assert left_behind(tmp_path) == []


def test_killed_runner_leaves_its_files_where_its_client_removes_them(tmp_path: Path) -> None:
    runner = start_local_runner()
    [directory] = tmp_path.iterdir()
    assert list(directory.glob("everforge-*"))
    os.kill(runner.pid, signal.SIGKILL)
    runner.close()
    assert left_behind(tmp_path) == []


def test_runner_that_is_never_ready_is_ended(tmp_path: Path) -> None:
    with pytest.raises(HarnessFault, match=r"was not ready after 0\.1 s"):
        start_local_runner(ready_s=0.1, program=("-c", "import sys; sys.stdin.read(); sys.stdin.read()"))
    assert left_behind(tmp_path) == []
