"""Whatever a worker does or leaves undone, the parent has its answer or its end within the limit plus 2 s."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from everforge.runners.isolation import process_tree
from everforge.runners.isolation.jail import Limits
from everforge.runners.isolation.worker_handle import Worker, WorkerEnded, WorkerTampered, WorkerTimeout

SLACK_S = 2.0
# Finds the result channel as a candidate would: the one socket among its descriptors.
CHANNEL = """
import gc, json, os, socket, struct, threading, time
number = next(n for n in range(3, 64) if os.path.exists(f'/proc/self/fd/{n}')
              and os.readlink(f'/proc/self/fd/{n}').startswith('socket'))

def write(body):
    os.write(number, struct.pack('!I', len(body)) + body)
"""
# The number of the request that is under way lies in the process's memory.
NUMBER = """
import everforge.runners.isolation.exchange as exchange
end = next(one for one in gc.get_objects() if isinstance(one, exchange.AnsweringEnd))
"""


@contextmanager
def within(limit_s: float) -> Iterator[None]:
    began_s = time.monotonic()
    yield
    assert time.monotonic() - began_s < limit_s + SLACK_S


IGNORING = """
import signal, time
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
while True:
    pass
"""
FLOOD = "import os\nwhile True:\n    os.write(1, b'x' * 65536)"
BOMB = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(IGNORING, id="ignores signals"),
        pytest.param(BOMB, id="forks and forks"),
        pytest.param(FLOOD.replace("os.write", "len").replace("1, ", ""), id="spins"),
        pytest.param("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", id="stops itself"),
        pytest.param(f"{CHANNEL}\nos.write(number, b'\\0\\0')\ntime.sleep(300)", id="half a size"),
        pytest.param(
            f"{CHANNEL}\nos.write(number, struct.pack('!I', 99) + b'{{')\ntime.sleep(300)", id="half a message"
        ),
        pytest.param(
            f"{CHANNEL}\nos.write(number, struct.pack('!I', 1 << 22))\nwhile True:\n    os.write(number, b' ')",
            id="a message byte by byte",
        ),
        pytest.param("import threading\nthreading.Thread(target=input).start()\nlist(iter(int, 1))", id="never ends"),
    ],
)
def test_worker_that_does_not_answer_is_ended_in_time(confidant: Any, body: str) -> None:
    if "fork" in body:
        confidant.need_count()
    with within(1.0), confidant.nursery.worker(confidant.limits) as worker, pytest.raises(WorkerTimeout):
        confidant.load(worker, body, timeout_s=1.0)
    assert worker.processes() == []


def test_flood_of_output_stops_at_the_files_limit(confidant: Any) -> None:
    with within(10.0), confidant.nursery.worker(confidant.limits) as worker:
        answer = confidant.load(worker, FLOOD, timeout_s=10.0)
        assert "File too large" in answer["failure"]["line"]
        assert worker.output_tail() == "x" * 8192


def wait_until_stopped(worker: Worker) -> None:
    """Until none of the worker's processes can run; a loaded machine takes its time."""
    deadline_s = time.monotonic() + 20
    while any(state_of(pid) != "T" for pid in worker.processes()):
        if time.monotonic() > deadline_s:
            pytest.fail("the worker did not stop itself")
        time.sleep(0.01)


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def test_worker_that_does_not_read_is_ended_in_time(confidant: Any) -> None:
    stop = "import threading, os, signal\nthreading.Timer(0.05, os.kill, (os.getpid(), signal.SIGSTOP)).start()"
    with confidant.nursery.worker(confidant.limits) as worker:
        assert confidant.load(worker, stop) == {}
        wait_until_stopped(worker)
        with within(1.0), pytest.raises(WorkerTimeout):
            confidant.load(worker, f"import time\ntime.sleep(300)\n#{'x' * (4 << 20)}", timeout_s=1.0)


def test_worker_that_closes_its_channel_and_lives_on_is_ended(confidant: Any) -> None:
    body = f"{CHANNEL}\nos.close(number)\nwhile True:\n    pass"
    with within(0.5), confidant.nursery.worker(confidant.limits) as worker:
        with pytest.raises(WorkerEnded, match="closed its channel"):
            confidant.load(worker, body)
        assert worker.processes() == []


def test_child_that_keeps_the_channel_open_does_not_hide_the_workers_end(confidant: Any) -> None:
    body = "import os, time\nif os.fork() == 0:\n    time.sleep(300)\nos._exit(3)"
    ended = pytest.raises(WorkerEnded, match="exit code 3")
    with within(1.0), confidant.nursery.worker(confidant.limits) as worker, ended:
        confidant.load(worker, body)


@pytest.mark.parametrize("trusted", [False, True], ids=["jailed", "trusted"])
def test_two_hundred_processes_are_ended_at_once(confidant: Any, trusted: bool) -> None:
    if not trusted:
        confidant.need_count()
    body = "import os, time\nfor _ in range(200):\n    if os.fork() == 0:\n        os.setsid()\n        time.sleep(300)"
    limits = None if trusted else Limits(20, None, 1 << 20, 256)
    with confidant.nursery.worker(limits) as worker:
        confidant.load(worker, body)
        everything = worker.processes()
        assert len(everything) == 201
        with within(0.0):
            worker.end()
    # Killed they are; giving back their memory can take a busy machine longer than the end waits.
    deadline_s = time.monotonic() + 30
    while any(is_alive(pid) for pid in everything):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Neither gone nor dead without its parent having noticed."""
    return process_tree._fields(f"/proc/{pid}/stat")[:1] not in ([], ["Z"])


@pytest.mark.parametrize(
    ("body", "evidence"),
    [
        pytest.param("write(b'{}')", "not an answer", id="instead of its answer"),
        pytest.param('write(b\'{"number": "0", "answer": {}}\')', "another request", id="with a guessed number"),
        pytest.param("os.write(number, b'\\xff' * 4)", "announced", id="with a size beyond all answers"),
        pytest.param("write(b'correct')", "not JSON", id="as text"),
    ],
)
def test_forged_answer_is_tampering(confidant: Any, body: str, evidence: str) -> None:
    with confidant.nursery.worker(confidant.limits) as worker:
        with within(1.0), pytest.raises(WorkerTampered, match=evidence):
            confidant.load(worker, f"{CHANNEL}\n{body}\ntime.sleep(300)")
        assert worker.processes() == []


def test_answer_in_advance_is_tampering(confidant: Any) -> None:
    """Nothing tells this forgery from the loop's own answer; the loop's own comes after it and gives it away."""
    body = f"{CHANNEL}{NUMBER}\nwrite(json.dumps(dict(number=end._number, answer={{}})).encode())"
    with confidant.nursery.worker(confidant.limits) as worker, pytest.raises(WorkerTampered):
        load_each(confidant, worker, body, "", "")


def test_what_a_leftover_thread_writes_between_requests_is_tampering(confidant: Any) -> None:
    body = f"{CHANNEL}\nthreading.Timer(0.2, lambda: (write(b'{{}}'), open('done', 'w'))).start()"
    waiting = "import os\nwhile not os.path.exists('done'): pass"
    with confidant.nursery.worker(confidant.limits) as worker:
        confidant.load(worker, body)
        with pytest.raises(WorkerTampered):
            load_each(confidant, worker, waiting, waiting)


def load_each(confidant: Any, worker: Worker, *bodies: str) -> None:
    for body in bodies:
        confidant.load(worker, body)


def test_output_cannot_be_turned_into_another_file(confidant: Any, tmp_path: Any) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the answer")
    body = f"""
import os
print('mine', flush=True)
for name in os.listdir('.'):
    if name.startswith('output'):
        os.unlink(name)
os.symlink({str(secret)!r}, 'output.txt')
"""
    with confidant.nursery.worker(confidant.limits) as worker:
        confidant.load(worker, body)
        assert worker.output_tail() == "mine\n"
