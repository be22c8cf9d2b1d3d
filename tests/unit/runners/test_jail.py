"""A hostile process harms nothing but itself: whatever it does, the parent learns how it ended and goes on."""

import os
import select
import time
from pathlib import Path
from typing import Any

import pytest

from everforge.runners.isolation.jail import Limits
from everforge.runners.isolation.nursery import Nursery
from everforge.runners.isolation.worker_handle import Worker, WorkerEnded, WorkerOutOfMemory, WorkerTimeout

LIMITS = Limits(cpu_seconds=20, address_bytes=None, file_bytes=1 << 20, processes=64)


def load(worker: Worker, body: str, timeout_s: float = 20.0) -> dict[str, Any]:
    """Import a candidate whose module-level code is `body`."""
    source = f"{body}\nclass ModelNew:\n    pass\n"
    message = {"op": "load", "device": "cpu", "tf32": False, "source": source}
    return worker.ask(message, deadline_s=time.monotonic() + timeout_s)


def traceback_of(nursery: Nursery, body: str, limits: Limits = LIMITS) -> str:
    """What the worker reports when importing `body` fails."""
    with nursery.worker(limits) as worker:
        answer = load(worker, body)
    assert "failure" in answer, answer
    return str(answer["failure"]["traceback"])


@pytest.mark.parametrize(
    ("body", "how"),
    [
        pytest.param("import os; os._exit(0)", "exit code 0", id="exit 0"),
        pytest.param("import os; os._exit(7)", "exit code 7", id="exit 7"),
        pytest.param("import ctypes; ctypes.string_at(0)", "SIGSEGV", id="segmentation fault"),
        pytest.param("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL", id="kill itself"),
    ],
)
def test_end_of_a_worker_is_reported(nursery: Nursery, body: str, how: str) -> None:
    with nursery.worker(LIMITS) as worker, pytest.raises(WorkerEnded, match=how):
        load(worker, body)


def test_hang_is_ended_at_the_deadline(nursery: Nursery) -> None:
    began_s = time.monotonic()
    with nursery.worker(LIMITS) as worker, pytest.raises(WorkerTimeout):
        load(worker, "while True: pass", timeout_s=1.0)
    assert time.monotonic() - began_s < 10


def test_exception_is_data_and_the_worker_lives_on(nursery: Nursery) -> None:
    with nursery.worker(LIMITS) as worker:
        assert "ValueError: broken" in load(worker, "raise ValueError('broken')")["failure"]["line"]
        assert "SystemExit" in load(worker, "raise SystemExit(0)")["failure"]["line"]
        assert load(worker, "") == {}


@pytest.mark.parametrize("limits", [pytest.param(LIMITS, id="jailed"), pytest.param(None, id="trusted")])
def test_workers_end_with_the_warm_process(tmp_path: Path, limits: Limits | None) -> None:
    nursery = Nursery(tmp_path)
    try:
        with nursery.worker(limits) as worker:
            load(worker, "")  # it is there once it answers
            [process] = worker.processes()
            end = os.pidfd_open(process)
            nursery.close()
            # A pidfd becomes readable when its process ends; the worker itself waits for a request meanwhile.
            assert select.select([end], [], [], 10.0)[0] == [end]
            os.close(end)
    finally:
        nursery.close()


def test_fork_bomb_stops_at_the_limit(nursery: Nursery) -> None:
    if "uid" not in nursery.layers:
        pytest.skip("this machine lets no worker have a user of its own, so processes cannot be counted")
    text = traceback_of(nursery, "import os, time\nwhile True:\n    if os.fork() == 0: time.sleep(30)")
    assert "BlockingIOError" in text


def test_orphans_die_with_the_worker(nursery: Nursery) -> None:
    mark = f"orphan-{os.getpid()}"
    body = f"import os, sys\nif os.fork() == 0:\n    os.setsid()\n    os.execvp('sleep', ['{mark}', '300'])"
    with nursery.worker(LIMITS) as worker:
        load(worker, body)
        assert wait_until(lambda: processes_named(mark))
    assert wait_until(lambda: not processes_named(mark))


def processes_named(name: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().split(b"\0")[0].decode()
        except OSError:
            continue
        if command == name:
            found.append(path.parent.name)
    return found


def wait_until(done: Any, timeout_s: float = 10.0) -> bool:
    deadline_s = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.02)
    return True


def test_file_over_the_limit_is_refused(nursery: Nursery) -> None:
    assert "File too large" in traceback_of(nursery, "open('big', 'wb').write(bytes(2 << 20))")


def test_memory_over_the_address_limit_is_refused(nursery: Nursery) -> None:
    limits = Limits(20, nursery.address_bytes + (256 << 20), 1 << 20, 64)
    assert "alloc" in traceback_of(nursery, "import torch\ntorch.ones(1 << 28)", limits)


def test_resident_memory_is_watched_where_addresses_are_not_limited(nursery: Nursery) -> None:
    with nursery.worker(LIMITS) as worker:
        worker.memory_limit_bytes = 512 << 20
        with pytest.raises(WorkerOutOfMemory, match="more than 512 MiB"):
            load(worker, "import time\nhoard = bytearray(b'x') * (1 << 30)\ntime.sleep(20)")


def test_environment_is_empty_of_the_users(nursery: Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERFORGE_TEST_SECRET", "do-not-tell")
    text = traceback_of(nursery, "import os\nraise ValueError(sorted(os.environ))")
    assert "SECRET" not in text
    assert "TMPDIR" in text


def test_network_is_out_of_reach(nursery: Nursery) -> None:
    if "network" not in nursery.layers:
        pytest.skip("this machine allows no network namespace")
    text = traceback_of(nursery, "import socket\nsocket.create_connection(('127.0.0.1', 22), timeout=2)")
    assert "Address family not supported" in text if "seccomp" in nursery.layers else "unreachable" in text


def test_other_processes_are_out_of_sight(nursery: Nursery) -> None:
    if not {"pids", "files"} <= set(nursery.layers):
        pytest.skip("this machine allows no pid and mount namespace")
    seen = traceback_of(nursery, "import os\nraise ValueError([int(p) for p in os.listdir('/proc') if p.isdigit()])")
    assert str(os.getpid()) not in seen
    assert "[1, 2]" in seen


def test_files_of_others_are_out_of_sight(nursery: Nursery, tmp_path: Path) -> None:
    if "files" not in nursery.layers:
        pytest.skip("this machine allows no mount namespace")
    secret = tmp_path / "expected.pt"
    secret.write_text("the answer")
    assert "FileNotFoundError" in traceback_of(nursery, f"open({str(secret)!r})")


def test_worker_is_another_user(nursery: Nursery) -> None:
    if "uid" not in nursery.layers:
        pytest.skip("only root can give a worker a user of its own")
    uids = {traceback_of(nursery, "import os\nraise ValueError(os.getuid())").splitlines()[-1] for _ in range(2)}
    assert len(uids) == 2
    assert not any(line.endswith(f" {os.getuid()}") for line in uids)


def test_nothing_is_carried_from_one_worker_to_the_next(nursery: Nursery) -> None:
    with nursery.worker(LIMITS) as worker:
        assert load(worker, "import torch\ntorch.stolen = 1\nopen('left', 'w').write('x')") == {}
    with nursery.worker(LIMITS) as worker:
        text = load(worker, "import os, torch\nraise ValueError(hasattr(torch, 'stolen'), os.listdir('.'))")
        assert "(False," in text["failure"]["traceback"]
        assert "left" not in text["failure"]["traceback"].splitlines()[-1]


def test_flood_of_output_is_cut_to_its_end(nursery: Nursery) -> None:
    with nursery.worker(Limits(20, None, 64 << 20, 64)) as worker:
        load(worker, "for i in range(10**6): print(i)\nprint(end='', flush=True)")
        assert worker.output_tail().endswith("999999\n")
        assert len(worker.output_tail()) <= 8192


def test_many_workers_leave_nothing_behind(nursery: Nursery) -> None:
    for _ in range(5):
        with nursery.worker(LIMITS) as worker:
            answer = load(worker, "import os\nraise ValueError(os.getcwd())")
            directory = Path(answer["failure"]["line"].removeprefix("ValueError: "))
            assert directory.is_dir()
        assert not directory.exists()


def test_precedence_lasts_as_long_as_a_turn(nursery: Nursery) -> None:
    def policies(worker: Worker) -> set[int]:
        return {os.sched_getscheduler(pid) for pid in worker.processes()}

    with nursery.worker(LIMITS) as worker:
        load(worker, "")
        assert policies(worker) == {os.SCHED_OTHER}
        with worker.precedence():
            if may_be_preferred():
                assert policies(worker) == {os.SCHED_RR}
        assert policies(worker) == {os.SCHED_OTHER}


def may_be_preferred() -> bool:
    """Whether this process may give itself precedence: root without its privileges may not."""
    policy = os.sched_getscheduler(0)
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        os.sched_setscheduler(0, policy, os.sched_param(0))
    except PermissionError:
        return False
    return True
