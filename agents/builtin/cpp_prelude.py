"""What every C++ candidate starts with: includes, vectors, and of the functions on them those its kernels call.

`cpp_emitter.py` puts it in front of the kernels.
"""

import re

from everforge.agents.builtin.cpp_folds import FOLDS
from everforge.agents.builtin.cpp_functions import ELEMENTARY
from everforge.agents.builtin.cpp_vectors import ACCESS, TEAMS, VECTORS
from everforge.agents.builtin.cpp_windows import WINDOWED

_FUNCTIONS = ELEMENTARY | FOLDS | WINDOWED


def prelude(kernels: str, lanes: int) -> str:
    """Includes, vectors, access, and of the functions those that `kernels` calls, directly or not."""
    needed: set[str] = set()
    text = kernels
    for name in reversed(_FUNCTIONS):
        if re.search(rf"\b{name}[(< ]", text):
            needed.add(name)
            text += _FUNCTIONS[name]
    functions = "".join(body for name, body in _FUNCTIONS.items() if name in needed)
    return _INCLUDES.format(lanes=lanes) + VECTORS + ACCESS + TEAMS + functions


_INCLUDES = """#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif
#if defined(__linux__)
#include <sys/mman.h>
#endif
#define LANES {lanes}
"""
