"""What entries on processors are worth on this machine: the code before over the code after, by time.

    python benchmarks/knowledge_effects.py [ID …]

Each form is a program of its own, on one thread; the two run in turns, so that whatever else the machine does falls on
both. A program times one call many times and tells the median. Where an entry quotes a ratio, it is from here.
"""

import argparse
import os
import statistics
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from everforge.model.interval import Interval, bootstrap
from everforge.model.knowledge import KnowledgeEntry
from everforge.search.knowledge_base import knowledge

FLAGS = ("-O3", "-std=c++17", "-march=native", "-fopenmp", "-w")
# Turns of each program, and calls within one: some seconds an entry, an interval of a few per cent on a quiet machine.
TURNS = 15
CALLS = 200

_PROGRAM = """
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>
{code}
{data}

int main() {{
    using Clock = std::chrono::steady_clock;
    std::vector<double> times_us;
    volatile float sink = 0.0f;
    for (int number = 0; number < {calls}; ++number) {{
        asm volatile("" : : "r"(x) : "memory");  // what is in x is unknown: nothing is computed ahead
        const auto begun = Clock::now();
        sink = {expression};
        times_us.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begun).count());
    }}
    std::nth_element(times_us.begin(), times_us.begin() + {calls} / 2, times_us.end());
    std::printf("%f\\n", times_us[{calls} / 2]);
}}
"""


@dataclass(frozen=True)
class Case:
    """What an entry's function is called on."""

    data: str
    call: str
    size: str


CASES = {
    "cpu-several-accumulators": Case("static float x[4096];", "sum(x, 4096)", "4096 floats, in the first-level cache"),
    "cpu-transposes-by-tiles": Case(
        "static float x[2048 * 2048], out[2048];", "(column_sums(x, out, 2048, 2048), out[7])", "2048 × 2048 floats"
    ),
    "cpu-openmp-not-threads": Case("static float x[16384];", "(scale(x, 16384, 1.0f), x[7])", "16384 floats"),
}


def built(code: str, case: Case, path: Path) -> Path:
    """A program that prints the median time of a call, in microseconds."""
    source = path.with_suffix(".cpp")
    source.write_text(_PROGRAM.format(code=code, data=case.data, expression=case.call, calls=CALLS))
    subprocess.run(["g++", *FLAGS, "-o", str(path), str(source)], check=True)
    return path


def time_us(program: Path) -> float:
    """One run of a program."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([str(program)], env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def ratio(entry: KnowledgeEntry, case: Case) -> tuple[Interval, float]:
    """The time before over the time after, and the latter in microseconds."""
    if entry.example is None or entry.example.before is None:
        raise ValueError(f"{entry.id} has nothing to compare")
    with tempfile.TemporaryDirectory() as folder:
        before = built(entry.example.before, case, Path(folder, "before"))
        after = built(entry.example.after, case, Path(folder, "after"))
        pairs = [(time_us(before), time_us(after)) for _ in range(TURNS)]
    ratios = [slow / fast for slow, fast in pairs]
    return bootstrap(ratios, statistics.median, seed=0), statistics.median(fast for _, fast in pairs)


def main() -> None:
    """Print a line for each entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ids", nargs="*", metavar="ID", help=f"one of {', '.join(CASES)}; all where none is given")
    chosen = parser.parse_args().ids or list(CASES)
    entries = {entry.id: entry for entry in knowledge()}
    for name in chosen:
        found, after_us = ratio(entries[name], CASES[name])
        print(
            f"{name}: {found.value:.1f}x [{found.low:.1f}, {found.high:.1f}] on {CASES[name].size}, {after_us:.2f} us"
        )


if __name__ == "__main__":
    main()
