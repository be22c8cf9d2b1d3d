"""What scheduling does to the time of a two-thread kernel beside busy processes; the reason for `Worker.precedence`.

Run by hand, as root: `python benchmarks/precedence.py`. Prints the 10th, 50th and 90th percentile of 200 calls for
each way to be scheduled, with as many spinning processes beside it as there are cores.
"""

import multiprocessing
import os
import statistics
import sys
import time

import torch

CALLS = 200


def spin() -> None:
    """Keep a core busy."""
    while True:
        pass


def measure(policy: str) -> None:
    """Time softmax calls under one policy, in a process of its own so that its threads are its own."""
    if policy == "nice -20":
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    if policy == "real-time":
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    values, times_us = torch.rand(64, 16384), []
    for _ in range(CALLS):
        began_ns = time.perf_counter_ns()
        torch.softmax(values, 1)
        times_us.append((time.perf_counter_ns() - began_ns) / 1e3)
    tenths = statistics.quantiles(times_us, n=10)
    print(f"{policy:<12}{tenths[0]:>10.0f}{tenths[4]:>10.0f}{tenths[8]:>10.0f} us")


def main() -> None:
    """Measure each policy twice."""
    multiprocessing.set_start_method("spawn")
    hogs = [multiprocessing.Process(target=spin, daemon=True) for _ in range(os.cpu_count() or 1)]
    for hog in hogs:
        hog.start()
    print(f"{os.cpu_count()} cores, {len(hogs)} busy processes beside; torch {torch.__version__}", file=sys.stderr)
    for policy in ("ordinary", "nice -20", "real-time") * 2:
        process = multiprocessing.Process(target=measure, args=(policy,))
        process.start()
        process.join()
    for hog in hogs:
        hog.kill()


if __name__ == "__main__":
    main()
