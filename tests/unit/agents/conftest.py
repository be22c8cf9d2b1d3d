"""Puts this directory on the path: its tests share modules that are no tests (`plan_interpreter`, `triton_cases`)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
