"""The corpus beside the tests is imported by its plain name, as `score.py` imports it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from corpus import Bench


@pytest.fixture(scope="session")
def bench() -> Iterator[Bench]:
    """One warm process, and one session for each task, for all tests of the corpus on this machine's CPU."""
    with Bench() as bench:
        yield bench
