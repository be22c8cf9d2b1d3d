"""Does a compiler really compile? One small function through each, as `everforge doctor` tries it.

A compiler that is on PATH but lacks its headers (no Python.h, no OpenMP, a CUDA toolkit without its host
compiler) fails here, in a second, and not in the first candidate of a campaign.
"""

import os
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

from everforge.model.base import Record
from everforge.model.candidate import Language

# 60 s: icpx takes 10 s for its first SYCL file on a loaded 2-core machine; a compiler beyond this is hung.
_TIMEOUT_S = 60
# The last lines of a failed build say what is missing.
_ERROR_LINES = 3


class CompileResult(Record):
    """Whether a compiler made something of one small function."""

    language: Language
    compiler: str | None
    """Path of the compiler, None if there is none."""
    error: str | None
    """Why it does not work, None if it does."""

    @property
    def works(self) -> bool:
        return self.error is None


_CPP_SOURCE = """\
#include <Python.h>
#include <omp.h>
extern "C" int threads() { return omp_get_max_threads(); }
"""
_CUDA_SOURCE = "__global__ void scale(float* x) { x[threadIdx.x] *= 2.0f; }\n"
_SYCL_SOURCE = """\
#include <sycl/sycl.hpp>
void scale(sycl::queue& q, float* x) { q.parallel_for(8, [=](sycl::id<1> i) { x[i] *= 2.0f; }); }
"""


def check_cpp() -> CompileResult:
    """A shared object with Python's headers and OpenMP, as PyTorch's extension loader builds candidates."""
    compiler = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++")
    include = sysconfig.get_path("include")
    flags = ["-std=c++20", "-shared", "-fPIC", "-fopenmp", f"-I{include}"]
    return _check(Language.CPP, "no C++ compiler on PATH", compiler, flags, "check.cpp", _CPP_SOURCE)


def check_cuda() -> CompileResult:
    """An object file from nvcc, on PATH or below CUDA_HOME."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH") or "/usr/local/cuda"
    compiler = shutil.which("nvcc") or shutil.which("nvcc", path=f"{home}/bin")
    absent = "no nvcc on PATH or in CUDA_HOME"
    return _check(Language.CUDA, absent, compiler, ["-c"], "check.cu", _CUDA_SOURCE)


def check_sycl() -> CompileResult:
    """An object file from icpx."""
    compiler = shutil.which("icpx")
    return _check(Language.SYCL, "no icpx on PATH", compiler, ["-fsycl", "-c"], "check.cpp", _SYCL_SOURCE)


def _check(
    language: Language, absent: str, compiler: str | None, flags: list[str], name: str, source: str
) -> CompileResult:
    if compiler is None:
        return CompileResult(language=language, compiler=None, error=absent)
    with tempfile.TemporaryDirectory(prefix="everforge-doctor-") as folder:
        (Path(folder) / name).write_text(source, encoding="utf-8")
        error = _compile_error([compiler, *flags, name, "-o", "check.out"], folder)
    return CompileResult(language=language, compiler=compiler, error=error)


def _compile_error(command: list[str], folder: str) -> str | None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{command[0]} did not finish in {_TIMEOUT_S} s"
    except OSError as error:
        return f"{command[0]} cannot be started: {error.strerror}"
    if done.returncode == 0:
        return None
    lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
    return "\n".join(lines[:_ERROR_LINES]) or f"{command[0]} ended with code {done.returncode}"
