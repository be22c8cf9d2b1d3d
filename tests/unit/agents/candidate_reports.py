"""What a process of its own finds of Triton candidates: the interpreter must be chosen before Triton is imported.

For the tests whose cases are in `triton_cases.py`, `triton_window_cases.py` and `product_cases.py`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def reports(cases: Any, mode: str, folder: Path) -> dict[str, Any]:
    """The JSON that a module of cases, run as a script, prints of every candidate in the folder."""
    environment = {**os.environ, "TRITON_CACHE_DIR": str(folder / "cache"), "OMP_NUM_THREADS": "2"}
    command = [sys.executable, cases.__file__, mode, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
