"""What the jail costs: starting, stopping and ending a worker, and system calls under the filter.

`python benchmarks/jail_cost.py` on Linux, x86_64 or aarch64. The numbers in `runners/isolation/seccomp.py`,
`runners/isolation/process_tree.py` and `runners/isolation/jail.py` are from it.
"""

import fcntl
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from everforge.runners.isolation import kernel_calls, seccomp
from everforge.runners.isolation.jail import Limits
from everforge.runners.isolation.nursery import Nursery
from everforge.runners.isolation.worker_handle import Worker

PROCESSES = 200
FORKING = f"""
import os, time
for _ in range({PROCESSES - 1}):
    if os.fork() == 0:
        time.sleep(300)
"""
STOPS = 20
CALLS = 200_000
FORKS = 200
ROUNDS = 5


def fork_and_exec() -> None:
    """Start `true` and wait for it."""
    child = os.fork()
    if child == 0:
        os.execv("/bin/true", ["true"])
    os.waitpid(child, 0)


def median_us(work: Callable[[], object], count: int) -> float:
    """Microseconds for each call: the median of some rounds."""
    rounds = []
    for _ in range(ROUNDS):
        began_s = time.perf_counter()
        for _ in range(count):
            work()
        rounds.append((time.perf_counter() - began_s) / count * 1e6)
    return statistics.median(rounds)


def measure() -> dict[str, float]:
    """The three loops, by name."""
    return {
        "getppid": median_us(os.getppid, CALLS),
        "fcntl": median_us(lambda: fcntl.fcntl(0, fcntl.F_GETFD), CALLS),
        "fork, exec, wait": median_us(fork_and_exec, FORKS),
    }


def load(worker: Worker, source: str) -> None:
    """Have the worker import a candidate."""
    message = {"op": "load", "device": "cpu", "tf32": False, "source": f"{source}\nclass ModelNew: pass\n"}
    worker.ask(message, deadline_s=time.monotonic() + 60)


def measure_worker(nursery: Nursery, source: str) -> dict[str, float]:
    """Milliseconds to start a worker that runs `source`, to stop it and continue it (medians), and to end it."""
    limits = Limits(cpu_seconds=60, address_bytes=None, file_bytes=1 << 20, processes=2 * PROCESSES)
    began_s = time.perf_counter()
    with nursery.worker(limits) as worker:
        load(worker, source)
        times_s = {"start": time.perf_counter() - began_s}
        rounds = [stop_and_continue_s(worker) for _ in range(STOPS)]
        times_s["stop"], times_s["continue"] = (statistics.median(column) for column in zip(*rounds, strict=True))
        began_s = time.perf_counter()
        worker.end()
        times_s["end"] = time.perf_counter() - began_s
    return {name: time_s * 1e3 for name, time_s in times_s.items()}


def stop_and_continue_s(worker: Worker) -> tuple[float, float]:
    """Seconds until all is stopped, and until all is continued."""
    began_s = time.perf_counter()
    with worker.frozen():
        stopped_s = time.perf_counter()
    return stopped_s - began_s, time.perf_counter() - stopped_s


def measure_workers() -> None:
    """Print the medians for a worker of one process, and for one of many."""
    with tempfile.TemporaryDirectory() as root:
        Path(root).chmod(0o711)
        nursery = Nursery(Path(root))
        print("layers:", ", ".join(nursery.layers))
        for name, source in (("one process", ""), (f"{PROCESSES} processes", FORKING)):
            rounds = [measure_worker(nursery, source) for _ in range(ROUNDS)]
            medians = {step: statistics.median(one[step] for one in rounds) for step in rounds[0]}
            print(f"{name}:", ", ".join(f"{step} {time_ms:.2f} ms" for step, time_ms in medians.items()))
        nursery.close()


def main() -> None:
    """Print a line for each kind of worker, then one for each loop."""
    measure_workers()
    without = measure()
    kernel_calls.forbid_new_privileges()
    seccomp.apply()
    for name, time_us in measure().items():
        print(f"{name}: {without[name]:.2f} us without, {time_us:.2f} us with the filter")


if __name__ == "__main__":
    main()
