"""While somebody else has the turn nothing of a candidate runs, and afterwards all of it does."""

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from everforge.runners.isolation import process_tree
from everforge.runners.isolation.jail import Limits
from everforge.runners.isolation.worker_handle import WorkerTampered, WorkerTimeout

# Threads, children, grandchildren of a thread that is not the first, and processes that come and go.
BUSY = """
import os, threading

def spin():
    while True:
        pass

def fork_and_spin():
    if os.fork() == 0:
        spin()
    spin()

def come_and_go():
    while True:
        if (child := os.fork()) == 0:
            os._exit(0)
        os.waitpid(child, 0)

for target in (spin, fork_and_spin, come_and_go):
    threading.Thread(target=target, daemon=True).start()
if os.fork() == 0:
    os.setsid()
    spin()
"""


def ticks_of(pids: list[int]) -> dict[int, list[str]]:
    return {pid: process_tree._fields(f"/proc/{pid}/stat")[11:15] for pid in pids}


def test_nothing_of_a_busy_worker_runs_while_it_is_frozen(confidant: Any) -> None:
    with confidant.nursery.worker(confidant.limits) as worker:
        assert confidant.load(worker, BUSY) == {}
        for _ in range(5):
            with worker.frozen():
                assert process_tree.running(worker._pid) == []
                before = ticks_of(worker.processes())
                assert len(before) >= 3
                spend_cpu_s(0.03)  # three ticks, in which a running one would have used some
                assert ticks_of(worker.processes()) == before
        assert confidant.load(worker, "") == {}


def spend_cpu_s(seconds: float) -> None:
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        pass


def test_worker_answers_after_it_was_frozen(confidant: Any) -> None:
    with confidant.nursery.worker(confidant.limits) as worker:
        for number in range(20):
            with worker.frozen():
                pass
            assert confidant.ask(worker, f"found = {number}") == number


def test_request_to_a_frozen_worker_waits_and_times_out(confidant: Any) -> None:
    with confidant.nursery.worker(confidant.limits) as worker, pytest.raises(WorkerTimeout), worker.frozen():
        confidant.load(worker, "", timeout_s=0.3)


def test_worker_that_ended_is_frozen_without_ado(confidant: Any) -> None:
    with confidant.nursery.worker(confidant.limits) as worker:
        worker.end()
        with worker.frozen():
            pass


def test_process_that_was_continued_meanwhile_is_tampering(confidant: Any) -> None:
    with confidant.nursery.worker(confidant.limits) as worker:
        confidant.load(worker, "")
        [process] = worker.processes()
        with pytest.raises(WorkerTampered, match="although they were stopped"), worker.frozen():
            os.kill(process, signal.SIGCONT)
        assert worker.processes() == []


def fail_after(act: Any, *arguments: Any) -> None:
    act(*arguments)
    raise NotADirectoryError


def test_error_in_the_others_turn_is_not_hidden(confidant: Any) -> None:
    with confidant.nursery.worker(confidant.limits) as worker:
        [process] = worker.processes()
        with pytest.raises(NotADirectoryError), worker.frozen():
            fail_after(os.kill, process, signal.SIGCONT)
        assert confidant.load(worker, "") == {}


@pytest.mark.parametrize(
    "waking",
    [
        pytest.param("libc.timer_create(1, (ctypes.c_char * 64)(*bytes(8), 18), ctypes.byref(timer))", id="timer"),
        pytest.param("fcntl.fcntl(os.pipe()[0], 10, signal.SIGCONT)", id="readiness of a descriptor"),
    ],
)
def test_kernel_sends_no_signal_on_a_candidates_behalf(confidant: Any, waking: str) -> None:
    confidant.need("seccomp")
    body = f"""
import ctypes, fcntl, os, signal
libc = ctypes.CDLL(None, use_errno=True)
timer = ctypes.c_void_p()
try:
    found = 'refused' if {waking} == -1 else 'done'
except OSError:
    found = 'refused'
"""
    assert confidant.find(body) == "refused"


def test_fork_bomb_is_frozen_and_ended(confidant: Any) -> None:
    confidant.need_count()
    bomb = "import os\nif os.fork() == 0:\n    while True:\n        try: os.fork()\n        except OSError: pass"
    with confidant.nursery.worker(Limits(20, None, 1 << 20, 200)) as worker:
        assert confidant.load(worker, bomb) == {}
        with worker.frozen():
            assert process_tree.running(worker._pid) == []
        began_s = time.monotonic()
        worker.end()
        assert time.monotonic() - began_s < 2.0


def test_first_thread_that_ended_hides_none_of_the_others(confidant: Any) -> None:
    body = """
import ctypes, os, threading
if os.fork() == 0:
    def spin():
        while True:
            pass
    threading.Thread(target=spin).start()
    ctypes.CDLL(None).syscall({exit_thread}, 0)
"""
    numbers = {"x86_64": 60, "aarch64": 93}
    with confidant.nursery.worker(confidant.limits) as worker:
        confidant.load(worker, body.format(exit_thread=numbers[os.uname().machine]))
        with worker.frozen():
            assert process_tree.running(worker._pid) == []


def test_cpu_time_of_ended_children_counts(confidant: Any) -> None:
    body = """
import os, time
if (child := os.fork()) == 0:
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    os._exit(0)
os.waitpid(child, 0)
"""
    with confidant.nursery.worker(confidant.limits) as worker:
        before_s = worker.cpu_seconds()
        confidant.load(worker, body)
        assert worker.cpu_seconds() - before_s >= 0.28
        with worker.frozen():
            frozen_s = worker.cpu_seconds()
            spend_cpu_s(0.05)
            assert worker.cpu_seconds() == frozen_s


def test_stopping_gives_up_at_its_deadline() -> None:
    stopped = threading.Event()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:

        def keep_going() -> None:
            while not stopped.is_set():
                child.send_signal(signal.SIGCONT)

        thread = threading.Thread(target=keep_going)
        thread.start()
        with pytest.raises(process_tree.NotStopped):
            process_tree.stop(os.getpid(), time.monotonic())
        stopped.set()
        thread.join()
    finally:
        child.communicate(b"\n")
